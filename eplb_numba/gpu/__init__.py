"""How do the rules run on a GPU?  A block of lanes for each problem, on the caller's stream.

It has the face of ``cpu``, and what the two give is the same, bit for bit.  A plan is two launches: each node of each try of a
layer is placed, and the best try of each layer is delivered.  Where there are groups to be assigned to nodes, or several tries
to be told apart, that is a launch before.  Where a packing has several starts, these are made beside each other and the best
one is settled, twice if replicas may have to lie together.  A plan that is to last takes three more.  Nothing is read back,
but for the width of log2phy where the caller has not fixed it: then a last launch lists the slots.

Only this folder compiles and launches with numba.cuda; ``backend`` and ``info`` ask it which GPU there is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Guest
from ..loads import planned_dtype
from ..rules.place import Placement, placement_arrays
from ..rules.rows import Packs, Replicas
from ..rules.terms import PACKED, WHERE_CHEAP, Layout, Tactics
from .block import COPYING_LANES, LANES, LASTING_LANES, MANY_LANES
from .kernels import KEPT_APART, KERNELS, PUT_TOGETHER
from .memory import InGlobal, InShared, Room, Work, allocate, check_items, shared_end
from .site import Site, check_gpu, device, site_of

__all__ = ["Workshop", "pack", "plan", "replicate"]


class Results(NamedTuple):
    """What a plan is written to: arrays of the caller's library, and how kernels see them."""

    placement: Placement
    log2phy: Any
    seen_placement: Placement
    seen_log2phy: Any


class Order(NamedTuple):
    """A launch, and what it reads of the site beside what it was given: "weight", "steps" or nothing."""

    launch: Any
    reads: str | None


def plan(guest: Guest, layout: Layout, tactics: Tactics, width: int | None) -> tuple[Placement, Any]:
    """Plan all layers of a weight; give the placement and log2phy, as wide as the largest replica count unless it is fixed."""
    num_layers = guest.shape[-2]
    dtype = planned_dtype(guest)
    with site_of(guest, dtype, tactics) as site:
        room = allocate(site.empty, num_layers, layout, tactics, dtype, _lasts(site, tactics))
        results = _results(site, num_layers, layout, dtype, width)
        _start(_orders(site, layout, tactics, room, results, lists=width is not None), site)
        placement, log2phy = results.placement, results.log2phy
        if width is None:
            width = int(site.hand_back(placement.logcnt).max())
            log2phy = site.empty((num_layers, layout.num_logical, width), np.int64)
            given = results.seen_placement, device.see(log2phy)
            _start([_order(KERNELS.list_slots, site, None, num_layers, *given, lanes=COPYING_LANES)], site)
        return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


class Workshop:
    """Plans all layers of weights of one shape and type, again and again in the same memory of one GPU.

    That is allocated by the library of the first weight.  CUDA's driver may refuse to free Numba's own memory where no GPU is
    current, and nobody knows in which thread a planner ends.
    """

    def __init__(self, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], width: int, gpu: int) -> None:
        check_items(layout)
        check_gpu(gpu)
        self._num_layers, self._layout, self._tactics, self._dtype, self._width = num_layers, layout, tactics, dtype, width
        self._room: Room | None = None
        self._results: dict[Any, Results] = {}
        self._orders: dict[Any, list[Order]] = {}

    def plan(self, guest: Guest) -> tuple[Placement, Any]:
        """Plan a weight; give the placement and log2phy, which its library allocates when it first comes."""
        with site_of(guest, self._dtype, self._tactics) as site:
            if self._room is None:
                lasts = bool(self._tactics.is_lasting)
                self._room = allocate(site.empty, self._num_layers, self._layout, self._tactics, self._dtype, lasts)
            if guest.library not in self._results:
                self._results[guest.library] = _results(site, self._num_layers, self._layout, self._dtype, self._width)
            results = self._results[guest.library]
            # The orders for one weight serve all that lie like it.
            weight = site.weight
            key = guest.library, weight.dtype, device.is_dense(weight), len(weight) > 1
            if key not in self._orders:
                self._orders[key] = _orders(site, self._layout, self._tactics, self._room, results, lists=True)
            _start(self._orders[key], site)
            return Placement(*map(site.hand_back, results.placement)), site.hand_back(results.log2phy)


def pack(guest: Guest, layout: Layout, tactics: Tactics) -> Packs:
    """Pack the items of all rows of a weight."""
    with site_of(guest, planned_dtype(guest), tactics) as site:
        room = allocate(site.empty, guest.shape[0], layout, _plainest(tactics), planned_dtype(guest), False)
        packs = Packs(*(site.empty(guest.shape, np.int64) for _ in range(2)))
        orders, reads, loads = _taken_in(site, room.work, False)
        given = *loads, site.most, layout, tactics, room.scratch, Packs(*map(device.see, packs))
        _start([*orders, _order(KERNELS.pack, site, reads, guest.shape[0], *given)], site)
        return Packs(*map(site.hand_back, packs))


def replicate(guest: Guest, layout: Layout, tactics: Tactics) -> Replicas:
    """Replicate the experts of all rows of a weight."""
    slots = (guest.shape[0], layout.num_replicas)
    with site_of(guest, planned_dtype(guest), tactics) as site:
        room = allocate(site.empty, guest.shape[0], layout, _plainest(tactics), planned_dtype(guest), False)
        replicas = Replicas(*(site.empty(shape, np.int64) for shape in (slots, slots, guest.shape)))
        orders, reads, loads = _taken_in(site, room.work, False)
        given = *loads, site.most, layout, room.scratch, Replicas(*map(device.see, replicas))
        _start([*orders, _order(KERNELS.replicate, site, reads, guest.shape[0], *given)], site)
        return Replicas(*map(site.hand_back, replicas))


def _plainest(tactics: Tactics) -> Tactics:
    """Give tactics of one try from one start: rows that are only packed or replicated need memory for no more."""
    return tactics._replace(restarts=1, starts=1, groups=PACKED)


def _lasts(site: Site, tactics: Tactics) -> bool:
    """Tell whether a plan is to last: the policy wants it, and there are steps that may differ."""
    return bool(tactics.is_lasting) and len(site.steps) > 1


def _results(site: Site, num_layers: int, layout: Layout, dtype: np.dtype[Any], width: int | None) -> Results:
    """Let the caller's library allocate what a plan is written to."""
    placement = Placement(*(site.empty(shape, kind) for shape, kind in placement_arrays(num_layers, layout, dtype)))
    shape = (1, 1, 1) if width is None else (num_layers, layout.num_logical, width)
    log2phy = site.empty(shape, np.int64)
    return Results(placement, log2phy, Placement(*map(device.see, placement)), device.see(log2phy))


def _orders(site: Site, layout: Layout, tactics: Tactics, room: Room, results: Results, *, lists: bool) -> list[Order]:
    """Prepare all that decides; slots are listed with it if log2phy is wide enough for any."""
    work, scratch, _, starts = room
    num_layers, num_tries = work.stage_values.shape[:2]
    lasts = _lasts(site, tactics)
    orders, reads, loads = _taken_in(site, work, lasts)
    given = *loads, site.most, layout, tactics, work, scratch
    if layout.num_groups > layout.num_nodes or num_tries > 1 or starts is not None:
        orders.append(_order(KERNELS.assign, site, reads, num_layers * num_tries, *given))
    parts = num_layers * num_tries * layout.num_nodes
    if starts is None:
        orders.append(_order(KERNELS.place, site, reads, parts, *given))
    else:
        for together in (KEPT_APART, PUT_TOGETHER) if tactics.apart == WHERE_CHEAP else (KEPT_APART,):
            orders += [
                _order(KERNELS.place_start, site, reads, parts * tactics.starts, *given, starts, together),
                _order(KERNELS.settle, site, reads, parts, *given, starts, together),
            ]
    listed = results.seen_placement, results.seen_log2phy, lists and not lasts
    orders.append(_order(KERNELS.deliver, site, None, num_layers, layout, tactics, work, *listed, lanes=COPYING_LANES))
    if lasts:
        orders += _lasting_orders(site, layout, tactics, room, results, lists)
    return orders


def _lasting_orders(
    site: Site, layout: Layout, tactics: Tactics, room: Room, results: Results, lists: bool
) -> tuple[Order, Order, Order]:
    """Prepare what makes a delivered plan last."""
    work, placement = room.work, results.seen_placement
    num_layers = len(work.sound)
    window_bytes = work.window_values.nbytes // num_layers if work.window_from > 0 else 0
    # A lane looks at a slot; for float64 many lanes would have too few registers.
    by_many = layout.node_slots > LASTING_LANES and work.loads.dtype.itemsize == 4
    kernel, lanes = (KERNELS.outlast_by_many, MANY_LANES) if by_many else (KERNELS.outlast, LASTING_LANES)
    read = layout, work, placement
    outlast = layout, tactics, work, room.scratch, room.outlook
    listed = layout, work, placement, results.seen_log2phy, lists
    return (
        _order(KERNELS.read_window, site, "steps", num_layers, *read, lanes=LASTING_LANES, more_bytes=window_bytes),
        _order(kernel, site, None, num_layers * layout.num_nodes, *outlast, lanes=lanes),
        _order(KERNELS.deliver_again, site, None, num_layers, *listed, lanes=COPYING_LANES),
    )


def _taken_in(site: Site, work: Work, lasts: bool) -> tuple[list[Order], str | None, tuple[Any, ...]]:
    """Bring a weight to (1, layers, experts) in the planned type: the caller's own memory where it is that already.

    Give what has to be ordered for that, and what is read afterwards: something of the site, or the loads that are given.
    A plan that is to last looks at the loads again, where the first launches leave them.
    """
    weight = site.weight
    if len(weight) == 1 and weight.dtype == work.loads.dtype and device.is_dense(weight) and not lasts:
        return [], "weight", ()
    given = site.zero, site.top, site.most, work
    return [_order(KERNELS.intake, site, "weight", weight.shape[1], *given, lanes=COPYING_LANES)], None, (work.loads,)


def _order(
    kernel: Any,
    site: Site,
    reads: str | None,
    problems: int,
    *given: Any,
    lanes: int | None = None,
    more_bytes: int = 0,
) -> Order:
    """Prepare the launch of a block for each problem or, where blocks have scratch of their own, for as many as have any."""
    in_global = (space for space in given if isinstance(space, InGlobal))
    in_shared = (space for space in given if isinstance(space, InShared))
    problems = min([problems, *(len(space.values) for space in in_global)])
    shared_bytes = shared_end(*in_shared) + more_bytes
    first = None if reads is None else getattr(site, reads)
    return Order(device.Launch(kernel, problems, lanes or LANES, shared_bytes, first, *given), reads)


def _start(orders: list[Order], site: Site) -> None:
    """Start launches one after the other on the site's stream."""
    for launch, reads in orders:
        launch.start(site.stream, None if reads is None else getattr(site, reads))
