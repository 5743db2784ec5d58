"""How does a warp pack greedily?  Each lane keeps a pack of its own in its registers, and the lightest wins the item."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda import types
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import greedy
from ..rules.greedy import make_way, pack_by_bracket
from ..rules.words import barrier, best_lane, lane
from .block import ALL, WARP
from .instructions import NONE, added, bits_of, float_of, lowest

__all__: list[str] = []


def _pack_greedily(items, order, copies, packing, fill, sitting_out, bracket):  # type: ignore[no-untyped-def]
    def pack_greedily(items, order, copies, packing, fill, sitting_out, bracket):  # type: ignore[no-untyped-def]
        if len(packing.pack_loads) <= WARP:
            _pack_by_lanes(items, order, copies, packing, fill)
        else:
            pack_by_bracket(items, order, copies, packing, fill, sitting_out, bracket)

    return pack_greedily


@jit
def _pack_by_lanes(items, order, copies, packing, fill):  # type: ignore[no-untyped-def]
    """Do what `pack_by_bracket` does; the block is a single warp."""
    own = lane() & (WARP - 1)
    num_packs, slots, last = len(packing.pack_loads), packing.slots, len(order) - 1
    load, filled, sits_out = items.loads.dtype.type(0), np.int64(0), False
    if own < num_packs:
        fill[own] = 0
    else:
        filled = np.int64(slots)  # there is no such pack
    barrier()
    turn = np.int64(-1)
    own_item, own_load, own_expert, own_count = order[0], load, np.int32(0), np.int32(0)
    for place in range(len(order)):
        index = place & (WARP - 1)
        if index == 0:  # the next items, one a lane: reading them one by one takes longest
            own_item = order[min(place + own, last)]
            own_load = items.loads[own_item]
            if copies > 0:
                own_expert = items.experts[own_item]
                own_count = items.counts[own_expert]
        item, item_load = np.int64(cuda.shfl_sync(ALL, own_item, index)), cuda.shfl_sync(ALL, own_load, index)
        offer = load if filled < slots else items.loads.dtype.type(np.inf)
        if copies > 0:
            expert = np.int64(cuda.shfl_sync(ALL, own_expert, index))
            if expert != turn:
                turn, sits_out = expert, False
            if sits_out:
                offer = items.loads.dtype.type(np.inf)
        lightest, pack = _lightest_lane(offer, own)
        if copies > 0 and cuda.shfl_sync(ALL, own_count, index) > copies:
            while lightest < np.inf and _holds(items, turn, copies, pack, slots, packing, fill):
                if own == pack:
                    sits_out, offer = True, items.loads.dtype.type(np.inf)
                lightest, pack = _lightest_lane(offer, own)
            if lightest == np.inf:
                sits_out = False
                lightest, pack = _lightest_lane(load if filled < slots else items.loads.dtype.type(np.inf), own)
                barrier()
                item = make_way(items, item, copies, pack, slots, packing, fill)
                item_load = items.loads[item]
                if own < num_packs and filled > 0:
                    load = packing.pack_loads[own]
        if own == pack:
            packing.items[pack * slots + filled] = item
            load = lightest + item_load
            filled += 1
            packing.pack_loads[pack] = load
            fill[pack] = filled
        if copies > 0:
            barrier()  # for whoever looks at what it holds
    barrier()


@jit
def _holds(items, expert, copies, pack, slots, packing, fill):  # type: ignore[no-untyped-def]
    """Tell whether a pack holds as many replicas of an expert as it may; each lane looks at some of its items."""
    held = np.uint32(0)
    for position in range(pack * slots + (lane() & (WARP - 1)), pack * slots + fill[pack], WARP):
        if items.experts[packing.items[position]] == expert:
            held = np.uint32(held + 1)
    held = added(held)
    barrier()
    return held >= copies


def _lightest_lane(load, lane):  # type: ignore[no-untyped-def]
    """Give the lowest load of the lanes, none of which is negative, and the first lane that has it."""


@overload(_lightest_lane, target="cuda")
def _lightest_lane_on_gpu(load, lane):  # type: ignore[no-untyped-def]
    if load == types.float32:

        def lightest_lane(load, lane):  # type: ignore[no-untyped-def]
            bits = bits_of(load)  # these sort like their floats
            least = lowest(np.int32(bits))
            return float_of(np.uint32(least)), np.int64(lowest(np.int32(lane) if np.int32(bits) == least else NONE))

        return lightest_lane

    def lightest_lane_wide(load, lane):  # type: ignore[no-untyped-def]
        least, lightest = best_lane(-load, lane)
        return -least, lightest

    return lightest_lane_wide


overload(greedy.pack_greedily, target="cuda")(_pack_greedily)
