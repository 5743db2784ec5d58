"""How do the rules run on a GPU?  A block of lanes for each problem, on the caller's stream.

It has the face of ``cpu``, and what the two give is the same, bit for bit. A block is one warp. A plan is two launches: each
node of each try of a layer is placed, unless another try has shown by then, or shows before it comes to swaps of two for two,
that this one cannot win; and the best try of each layer is delivered. Where there are groups to be assigned to nodes, or
several tries or starts to be told apart, that is a launch before. Where a packing has several starts, these are made beside
each other, and the block that ends last settles which one is kept; twice if replicas may have to lie together. (Starts whose
notes would fill more than 64 MB follow one another instead.) What many blocks have in common is one more launch, and so is to
add up a weight that has several steps, another type than is planned in, or gaps in its memory. A plan that is to last takes
three more, with large blocks. Nothing is read back, but for the width of log2phy where the caller has not fixed it: then a
last launch lists the slots.

Only this folder compiles and launches with numba.cuda; ``backend`` and ``info`` ask it which GPU there is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Guest
from ..loads import planned_dtype
from ..rules.placement import Placement
from ..rules.rows import Packs, Replicas
from ..rules.terms import Layout, Tactics
from .memory import Room, allocate, allocate_for_rows, check_items
from .orders import Order, lasts, order_to_list, orders_of_plan, orders_to_pack, orders_to_replicate, start
from .site import Site, check_gpu, device, empty_results, site_of

__all__ = ["Workshop", "pack", "plan", "replicate"]


class Results(NamedTuple):
    """What a plan is written to: arrays of the caller's library, and how kernels see them."""

    placement: Placement
    log2phy: Any
    seen_placement: Placement
    seen_log2phy: Any


class Recipe(NamedTuple):
    """The launches of a plan as they were prepared for one, to be moved to the memory of the next one like it."""

    orders: list[Order]
    work_bytes: int
    origins: tuple[int, ...]  # where the results were, then the memory to work in


RECIPES: dict[Any, Recipe] = {}  # for all kinds of plans that were made lately
MOST_RECIPES = 64


def plan(guest: Guest, layout: Layout, tactics: Tactics, width: int | None) -> tuple[Placement, Any]:
    """Plan all layers of a weight; give the placement and log2phy, as wide as the largest replica count unless it is fixed."""
    num_layers = guest.shape[-2]
    dtype = planned_dtype(guest)
    with site_of(guest, dtype, tactics) as site:
        placement, log2phy = empty_results(site, num_layers, layout, dtype, width)
        orders, _memory = _prepare(guest, site, layout, tactics, dtype, width, (*placement, log2phy))
        start(orders, site)
        if width is None:
            width = int(site.hand_back(placement.logcnt).max())
            log2phy = site.empty((num_layers, layout.num_logical, width), np.int64)
            start([order_to_list(site, Placement(*map(device.see, placement)), device.see(log2phy))], site)
        return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


def _prepare(
    guest: Guest,
    site: Site,
    layout: Layout,
    tactics: Tactics,
    dtype: np.dtype[Any],
    width: int | None,
    results: tuple[Any, ...],
) -> tuple[list[Order], Any]:
    """Prepare the launches of a plan that is written to such results, or move those of one like it.

    Also gives the memory that they work in, which must stay as it is until they are started.
    """
    key = None
    if device.CAN_MOVE and guest.gpu is not None:
        weight = site.weight
        key = guest.gpu, weight.kind, weight.shape, layout, tactics, dtype, width
        recipe = RECIPES.get(key)
        if recipe is not None:
            memory = site.empty((recipe.work_bytes,), np.uint8)
            to = dict(zip(recipe.origins, map(device.address_of, (*results, memory)), strict=True))
            return [Order(launch.moved(to), reads) for launch, reads in recipe.orders], memory
    room = allocate(site.empty, site.weight.shape[1], layout, tactics, dtype, lasts(site, tactics))
    *placement, log2phy = map(device.see, results)
    seen = Placement(*placement)
    orders = orders_of_plan(site, layout, tactics, room, seen, log2phy, lists=width is not None)
    if key is not None:
        if len(RECIPES) >= MOST_RECIPES:  # the oldest must go
            RECIPES.pop(next(iter(tuple(RECIPES))), None)
        memory = room.work.sound.owner
        RECIPES[key] = Recipe(orders, memory.nbytes, (*map(device.address_of, results), memory.address))
    return orders, room


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
                is_lasting = bool(self._tactics.is_lasting)
                self._room = allocate(site.empty, self._num_layers, self._layout, self._tactics, self._dtype, is_lasting)
            if guest.library not in self._results:
                placement, log2phy = empty_results(site, self._num_layers, self._layout, self._dtype, self._width)
                seen = Placement(*map(device.see, placement)), device.see(log2phy)
                self._results[guest.library] = Results(placement, log2phy, *seen)
            results = self._results[guest.library]
            # The orders for one weight serve all that lie like it.
            weight = site.weight
            key = guest.library, weight.dtype, device.is_dense(weight), len(weight) > 1
            if key not in self._orders:
                seen = results.seen_placement, results.seen_log2phy
                self._orders[key] = orders_of_plan(site, self._layout, self._tactics, self._room, *seen, lists=True)
            start(self._orders[key], site)
            return Placement(*map(site.hand_back, results.placement)), site.hand_back(results.log2phy)


def pack(guest: Guest, layout: Layout, tactics: Tactics) -> Packs:
    """Pack the items of all rows of a weight."""
    with site_of(guest, planned_dtype(guest), tactics) as site:
        room = allocate_for_rows(site.empty, guest.shape[0], layout, tactics, planned_dtype(guest))
        packs = Packs(*(site.empty(guest.shape, np.int64) for _ in range(2)))
        start(orders_to_pack(site, layout, tactics, room, Packs(*map(device.see, packs))), site)
        return Packs(*map(site.hand_back, packs))


def replicate(guest: Guest, layout: Layout, tactics: Tactics) -> Replicas:
    """Replicate the experts of all rows of a weight."""
    slots = (guest.shape[0], layout.num_replicas)
    with site_of(guest, planned_dtype(guest), tactics) as site:
        room = allocate_for_rows(site.empty, guest.shape[0], layout, tactics, planned_dtype(guest))
        replicas = Replicas(*(site.empty(shape, np.int64) for shape in (slots, slots, guest.shape)))
        start(orders_to_replicate(site, layout, room, Replicas(*map(device.see, replicas))), site)
        return Replicas(*map(site.hand_back, replicas))
