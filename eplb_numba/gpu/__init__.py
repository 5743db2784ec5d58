"""How do the rules run on a GPU?  A block of lanes for each problem, on the caller's stream; only this folder says numba.cuda.

It has the face of ``cpu``, and what the two give is the same, bit for bit.  A plan is two launches: each node of each try of a
layer is placed, and the best try of each layer is delivered.  Where there are groups to be assigned to nodes, that is a launch
before.  Where a packing has several starts, these are made beside each other and the best one is settled, twice if replicas
may have to lie together.  A plan that is to last takes three more.  Nothing is read back, but for the width of log2phy where
the caller has not fixed it: then a last launch lists the slots.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from ..arrays import Guest
from ..loads import planned_dtype
from ..rules.place import Placement, placement_arrays
from ..rules.rows import Packs, Replicas
from ..rules.terms import PACKED, WHERE_CHEAP, Layout, Tactics
from .block import COPYING_LANES, LANES, LASTING_LANES, OFFER_BYTES
from .kernels import KEPT_APART, KERNELS, PUT_TOGETHER
from .memory import FEWEST_BLOCKS, Starts, Work, allocate
from .site import Site, check_capability, empty, see, site_of

__all__ = ["Workshop", "pack", "plan", "replicate"]


class Results(NamedTuple):
    """What a plan is written to: arrays of the caller's library, and how kernels see them."""

    placement: Placement
    log2phy: Any
    seen_placement: Placement
    seen_log2phy: Any


def plan(guest: Guest, layout: Layout, tactics: Tactics, width: int | None) -> tuple[Placement, Any]:
    """Plan all layers of a weight; give the placement and log2phy, as wide as the largest replica count unless it is fixed."""
    num_layers = guest.shape[-2]
    dtype = planned_dtype(guest)
    with site_of(guest, dtype, tactics) as site:
        works = allocate(site.empty, num_layers, layout, tactics, dtype, bool(tactics.is_lasting) and len(site.steps) > 1)
        results = _results(site, num_layers, layout, dtype, width)
        _plan(site, layout, tactics, *works, results, lists=width is not None)
        placement, log2phy = results.placement, results.log2phy
        if width is None:
            width = int(site.hand_back(placement.logcnt).max())
            log2phy = site.empty((num_layers, layout.num_logical, width), np.int64)
            _launch(KERNELS.list_slots, site.stream, num_layers, results.seen_placement, see(log2phy), lanes=COPYING_LANES)
        return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


class Workshop:
    """Plans all layers of weights of one shape and type, again and again in the same memory of one GPU."""

    def __init__(self, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], width: int, gpu: int) -> None:
        self._num_layers, self._layout, self._tactics, self._dtype, self._width = num_layers, layout, tactics, dtype, width
        with cuda.gpus[gpu]:
            check_capability(gpu)
            self._works = allocate(empty, num_layers, layout, tactics, dtype, bool(tactics.is_lasting))
        self._results: dict[Any, Results] = {}

    def plan(self, guest: Guest) -> tuple[Placement, Any]:
        """Plan a weight; give the placement and log2phy, which its library allocates when it first comes."""
        with site_of(guest, self._dtype, self._tactics) as site:
            if guest.library not in self._results:
                self._results[guest.library] = _results(site, self._num_layers, self._layout, self._dtype, self._width)
            results = self._results[guest.library]
            _plan(site, self._layout, self._tactics, *self._works, results, lists=True)
            return Placement(*map(site.hand_back, results.placement)), site.hand_back(results.log2phy)


def pack(guest: Guest, layout: Layout, tactics: Tactics) -> Packs:
    """Pack the items of all rows of a weight."""
    with site_of(guest, planned_dtype(guest), tactics) as site:
        work, _ = allocate(site.empty, guest.shape[0], layout, _plainest(tactics), planned_dtype(guest), False)
        packs = Packs(*(site.empty(guest.shape, np.int64) for _ in range(2)))
        weight = _planned_weight(site, work, False)
        seen = Packs(*map(see, packs))
        _launch(KERNELS.pack, site.stream, guest.shape[0], weight, site.most, layout, tactics, work, seen, scratch=work)
        return Packs(*map(site.hand_back, packs))


def replicate(guest: Guest, layout: Layout, tactics: Tactics) -> Replicas:
    """Replicate the experts of all rows of a weight."""
    slots = (guest.shape[0], layout.num_replicas)
    with site_of(guest, planned_dtype(guest), tactics) as site:
        work, _ = allocate(site.empty, guest.shape[0], layout, _plainest(tactics), planned_dtype(guest), False)
        replicas = Replicas(*(site.empty(shape, np.int64) for shape in (slots, slots, guest.shape)))
        weight = _planned_weight(site, work, False)
        seen = Replicas(*map(see, replicas))
        _launch(KERNELS.replicate, site.stream, guest.shape[0], weight, site.most, layout, work, seen, scratch=work)
        return Replicas(*map(site.hand_back, replicas))


def _plainest(tactics: Tactics) -> Tactics:
    """Give tactics of one try from one start: rows that are only packed or replicated need memory for no more."""
    return tactics._replace(restarts=1, starts=1, groups=PACKED)


def _results(site: Site, num_layers: int, layout: Layout, dtype: np.dtype[Any], width: int | None) -> Results:
    """Let the caller's library allocate what a plan is written to."""
    placement = Placement(*(site.empty(shape, kind) for shape, kind in placement_arrays(num_layers, layout, dtype)))
    shape = (1, 1, 1) if width is None else (num_layers, layout.num_logical, width)
    log2phy = site.empty(shape, np.int64)
    return Results(placement, log2phy, Placement(*map(see, placement)), see(log2phy))


def _plan(
    site: Site, layout: Layout, tactics: Tactics, work: Work, starts: Starts | None, results: Results, *, lists: bool
) -> None:
    """Launch all that decides; slots are listed with it if log2phy is wide enough for any."""
    num_layers, num_tries = work.stage_values.shape[:2]
    lasts = bool(tactics.is_lasting) and len(site.steps) > 1
    placement, log2phy, stream = results.seen_placement, results.seen_log2phy, site.stream
    weight = _planned_weight(site, work, lasts)
    given = weight, site.most, layout, tactics, work
    if layout.num_groups > layout.num_nodes or starts is not None:
        _launch(KERNELS.assign, stream, num_layers * num_tries, *given, scratch=work)
    parts = num_layers * num_tries * layout.num_nodes
    if starts is None:
        _launch(KERNELS.place, stream, parts, *given, scratch=work)
    else:
        for together in (KEPT_APART, PUT_TOGETHER) if tactics.apart == WHERE_CHEAP else (KEPT_APART,):
            _launch(KERNELS.place_start, stream, parts * tactics.starts, *given, starts, together, scratch=work)
            _launch(KERNELS.settle, stream, parts, *given, starts, together, scratch=work)
    listed = placement, log2phy, lists and not lasts
    _launch(KERNELS.deliver, stream, num_layers, layout, tactics, work, *listed, lanes=COPYING_LANES)
    if lasts:
        _launch_lasting(site, layout, tactics, work, placement, log2phy, lists)


def _launch_lasting(
    site: Site, layout: Layout, tactics: Tactics, work: Work, placement: Placement, log2phy: Any, lists: bool
) -> None:
    """Launch what makes a delivered plan last."""
    stream, num_layers = site.stream, len(work.sound)
    window_bytes = work.window_values.shape[1] * work.window_values.dtype.itemsize if work.window_from > 0 else 0
    _launch(
        KERNELS.read_window,
        stream,
        num_layers,
        site.steps,
        layout,
        work,
        placement,
        lanes=LASTING_LANES,
        more_bytes=window_bytes,
    )
    nodes, outlook_bytes = min(num_layers * layout.num_nodes, len(work.outlook_values)), 0
    if work.outlook_from > 0:
        scratch_bytes = work.values.nbytes + work.integers.nbytes if len(work.values) == 1 else 0
        nodes = num_layers * layout.num_nodes
        outlook_bytes = work.outlook_from - OFFER_BYTES - scratch_bytes  # the gap before it
        outlook_bytes += work.outlook_values.nbytes + work.outlook_integers.nbytes
    _launch(KERNELS.outlast, stream, nodes, layout, tactics, work, scratch=work, lanes=LASTING_LANES, more_bytes=outlook_bytes)
    _launch(KERNELS.deliver_again, stream, num_layers, layout, work, placement, log2phy, lists, lanes=COPYING_LANES)


def _planned_weight(site: Site, work: Work, lasts: bool) -> Any:
    """Give a weight (1, layers, experts) in the planned type: the caller's own memory where it is that already.

    A plan that is to last looks at the loads again, where the first launches leave them.
    """
    weight = site.weight
    if len(weight) == 1 and weight.dtype == work.loads.dtype and weight.flags["C_CONTIGUOUS"] and not lasts:
        return weight
    _launch(KERNELS.intake, site.stream, weight.shape[1], weight, site.zero, site.top, site.most, work, lanes=COPYING_LANES)
    return work.loads


def _launch(
    kernel: Any,
    stream: Any,
    problems: int,
    *arguments: Any,
    scratch: Work | None = None,
    lanes: int | None = None,
    more_bytes: int = 0,
) -> None:
    """Launch a block for each problem or, where blocks have scratch of their own, for as many as have any."""
    shared_bytes = OFFER_BYTES + more_bytes
    if scratch is not None and len(scratch.values) == 1:
        shared_bytes += scratch.values.nbytes + scratch.integers.nbytes
    elif scratch is not None:
        problems = min(problems, len(scratch.values))
    kernel[max(FEWEST_BLOCKS, problems), lanes or LANES, stream, shared_bytes](*arguments)
