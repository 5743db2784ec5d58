"""What is launched for a plan, and in which order?"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..rules.placement import Placement
from ..rules.rows import Packs, Replicas
from ..rules.terms import WHERE_CHEAP, Layout, Tactics
from .block import COPYING_LANES, LANES, LASTING_LANES, MANY_LANES
from .kernels import KERNELS
from .memory import KEPT_APART, PUT_TOGETHER, InGlobal, InShared, Room, Work, shared_end
from .site import Site, device

__all__ = ["Order", "lasts", "order_to_list", "orders_of_plan", "orders_to_pack", "orders_to_replicate", "start"]


class Order(NamedTuple):
    """A launch, and what it reads of the site beside what it was given: "weight", "steps" or nothing."""

    launch: Any
    reads: str | None


def lasts(site: Site, tactics: Tactics) -> bool:
    """Tell whether a plan is to last: the policy wants it, and there are steps that may differ."""
    return bool(tactics.is_lasting) and len(site.steps) > 1


def orders_of_plan(
    site: Site, layout: Layout, tactics: Tactics, room: Room, placement: Placement, log2phy: Any, *, lists: bool
) -> list[Order]:
    """Prepare all that decides; slots are listed with it if log2phy is wide enough for any."""
    work, scratch, _, starts = room
    num_layers, num_tries = work.stage_values.shape[:2]
    is_lasting = lasts(site, tactics)
    orders, reads, loads = _taken_in(site, work, is_lasting)
    given = *loads, site.most, layout, tactics, work, scratch
    if layout.num_groups > layout.num_nodes or num_tries > 1 or starts is not None:
        orders.append(_order(KERNELS.assign, site, reads, num_layers * work.assigners, *given))
    parts, prepared = num_layers * num_tries * layout.num_nodes, work.prepared.values.shape[1]
    if prepared > 0:
        orders.append(_order(KERNELS.prepare, site, reads, num_layers * prepared, *given))
    if starts is None:
        orders.append(_order(KERNELS.place, site, reads, parts, *given))
    else:
        # In few registers there is not room for addresses and loads of 64 bits.
        by_few = isinstance(scratch, InShared) and work.loads.dtype.itemsize == 4
        kernel = KERNELS.place_start_by_few if by_few else KERNELS.place_start
        for together in (KEPT_APART, PUT_TOGETHER) if tactics.apart == WHERE_CHEAP else (KEPT_APART,):
            orders.append(_order(kernel, site, reads, parts * tactics.starts, *given, starts, together))
    listed = placement, log2phy, lists and not is_lasting
    orders.append(_order(KERNELS.deliver, site, None, num_layers, layout, tactics, work, *listed, lanes=COPYING_LANES))
    if is_lasting:
        orders += _lasting_orders(site, layout, tactics, room, placement, log2phy, lists)
    return orders


def _lasting_orders(
    site: Site, layout: Layout, tactics: Tactics, room: Room, placement: Placement, log2phy: Any, lists: bool
) -> tuple[Order, Order, Order]:
    """Prepare what makes a delivered plan last."""
    work = room.work
    num_layers = len(work.sound)
    window_bytes = work.window_values.nbytes // num_layers if work.window_from > 0 else 0
    # A lane looks at a slot; for float64 many lanes would have too few registers.
    by_many = layout.node_slots > LASTING_LANES and work.loads.dtype.itemsize == 4
    kernel, lanes = (KERNELS.outlast_by_many, MANY_LANES) if by_many else (KERNELS.outlast, LASTING_LANES)
    read = layout, work, placement
    outlast = layout, tactics, work, room.scratch, room.outlook
    listed = layout, work, placement, log2phy, lists
    return (
        _order(KERNELS.read_window, site, "steps", num_layers, *read, lanes=LASTING_LANES, more_bytes=window_bytes),
        _order(kernel, site, None, num_layers * layout.num_nodes, *outlast, lanes=lanes),
        _order(KERNELS.deliver_again, site, None, num_layers, *listed, lanes=COPYING_LANES),
    )


def order_to_list(site: Site, placement: Placement, log2phy: Any) -> Order:
    """Prepare what lists the slots of a placement, once it is known how wide log2phy must be."""
    return _order(KERNELS.list_slots, site, None, len(log2phy), placement, log2phy, lanes=COPYING_LANES)


def orders_to_pack(site: Site, layout: Layout, tactics: Tactics, room: Room, packs: Packs) -> list[Order]:
    """Prepare what packs the items of each row."""
    orders, reads, loads = _taken_in(site, room.work, False)
    given = *loads, site.most, layout, tactics, room.scratch, packs
    return [*orders, _order(KERNELS.pack, site, reads, len(packs.pack_index), *given)]


def orders_to_replicate(site: Site, layout: Layout, room: Room, replicas: Replicas) -> list[Order]:
    """Prepare what replicates the experts of each row."""
    orders, reads, loads = _taken_in(site, room.work, False)
    given = *loads, site.most, layout, room.scratch, replicas
    return [*orders, _order(KERNELS.replicate, site, reads, len(replicas.logcnt), *given)]


def _taken_in(site: Site, work: Work, is_lasting: bool) -> tuple[list[Order], str | None, tuple[Any, ...]]:
    """Bring a weight to (1, layers, experts) in the planned type: the caller's own memory where it is that already.

    Give what has to be ordered for that, and what is read afterwards: something of the site, or the loads that are given.
    A plan that is to last looks at the loads again, where the first launches leave them.
    """
    weight = site.weight
    if len(weight) == 1 and weight.dtype == work.loads.dtype and device.is_dense(weight) and not is_lasting:
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


def start(orders: list[Order], site: Site) -> None:
    """Start launches one after the other on the site's stream."""
    for launch, reads in orders:
        launch.start(site.stream, None if reads is None else getattr(site, reads))
