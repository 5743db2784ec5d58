"""Does a swap leave few enough replicas of an expert in both packs?  A lane can look alone, or a warp together."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import register_jitable as jit

from ..rules.words import mine
from .instructions import added
from .strips import rest

__all__ = ["all_may_swap", "may_swap_one"]

LOW = np.uint32(0xFFFF)  # a pack has fewer than 2**16 slots, so two counts go into one number


@jit
def may_swap_one(items, packing, heavy, light, slots, leaving, coming, copies):  # type: ignore[no-untyped-def]
    """Tell what `may_swap` does of a swap of one for one; each lane may ask about another one."""
    heavy_items, light_items = rest(packing.items, heavy * slots), rest(packing.items, light * slots)
    leaves, comes = np.int32(items.experts[heavy_items[leaving]]), np.int32(items.experts[light_items[coming]])
    if items.counts[leaves] <= copies and items.counts[comes] <= copies:
        return True
    held_there, held_here, slot = np.int32(0), np.int32(0), np.int32(0)
    while slot < slots:
        there, here = np.int32(items.experts[light_items[slot]]), np.int32(items.experts[heavy_items[slot]])
        held_there = np.int32(held_there + ((there == leaves) & (slot != coming)))
        held_here = np.int32(held_here + ((here == comes) & (slot != leaving)))
        slot = np.int32(slot + 1)
    return (held_there < copies) & (held_here < copies)


@jit
def all_may_swap(items, packing, heavy, light, leaving, leaving_too, coming, coming_too, copies):  # type: ignore[no-untyped-def]
    """Tell what `may_swap` does of a swap that all lanes of the warp ask about: each looks at some of the slots."""
    slots = np.int32(packing.slots)
    heavy_items, light_items = rest(packing.items, heavy * slots), rest(packing.items, light * slots)
    leaves, leaves_too = np.int32(items.experts[heavy_items[leaving]]), np.int32(items.experts[heavy_items[leaving_too]])
    comes, comes_too = np.int32(items.experts[light_items[coming]]), np.int32(items.experts[light_items[coming_too]])
    there, here = np.uint32(0), np.uint32(0)
    for slot in mine(slots):
        if slot != leaving and slot != leaving_too:
            here = np.uint32(here + _found(np.int32(items.experts[heavy_items[slot]]), comes, comes_too))
        if slot != coming and slot != coming_too:
            there = np.uint32(there + _found(np.int32(items.experts[light_items[slot]]), leaves, leaves_too))
    there, here = added(there), added(here)
    several = leaving != leaving_too
    return _has_room(there, several & (leaves == leaves_too), copies) & _has_room(here, several & (comes == comes_too), copies)


@jit
def _found(expert, one, other):  # type: ignore[no-untyped-def]
    return np.uint32(np.uint32(expert == one) + (np.uint32(expert == other) << np.uint32(16)))


@jit
def _has_room(held, is_twice_one, copies):  # type: ignore[no-untyped-def]
    """Tell whether a pack that holds so many replicas of each expert may take one of each, or two where both are one."""
    taken = np.uint32(np.uint32(1) + np.uint32(is_twice_one))
    most = np.uint32(copies)
    return ((held & LOW) + taken <= most) & ((held >> np.uint32(16)) + taken <= most)
