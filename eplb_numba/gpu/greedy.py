"""How does a warp pack greedily?  Each lane keeps a pack of its own in its registers, and the lightest wins the item."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import greedy
from ..rules.greedy import make_way, pack_by_bracket
from ..rules.words import barrier, best_lane, lane
from .block import ALL, WARP
from .instructions import among
from .ranks import is_first_lowest, lowest_of

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
    endless = items.loads.dtype.type(np.inf)
    own = np.int32(lane() & (WARP - 1))
    num_packs, slots, count = np.int32(len(packing.pack_loads)), np.int32(packing.slots), np.int32(len(order))
    first = np.int32(own * slots)  # of the pack's places, and the next that is free
    place, end = first, np.int32(first + slots)
    load, offer = items.loads.dtype.type(0), endless
    turn, held = np.int32(-1), np.int32(0)
    if own < num_packs:
        offer = load
    begin = np.int32(0)
    head = min(num_packs, count)  # the heaviest items go to one pack each, in order, if all of them have a load
    if among((own < head) & (items.loads[order[min(own, np.int32(count - 1))]] <= 0)) == 0:
        begin = head
        if own < head:
            item = np.int32(order[own])
            packing.items[place] = item
            place, load = np.int32(place + 1), items.loads[item]
            offer = load if place < end else endless
    while begin < count:
        # The next items, one a lane: reading them one by one takes longest.
        own_item = np.int32(order[min(np.int32(begin + own), np.int32(count - 1))])
        own_load, own_expert, several = items.loads[own_item], np.int32(0), np.uint32(0)
        if copies > 0:
            own_expert = np.int32(items.experts[own_item])
            several = among(np.int32(items.counts[own_expert]) > np.int32(copies))
        index, last = np.int32(0), min(np.int32(WARP), np.int32(count - begin))
        while several == 0 and index < last:  # no number of replicas is limited: that is soon done
            item, item_load = cuda.shfl_sync(ALL, own_item, index), cuda.shfl_sync(ALL, own_load, index)
            if is_first_lowest(offer, own):
                packing.items[place] = item
                place = np.int32(place + 1)
                load += item_load
                offer = load if place < end else endless
            index = np.int32(index + 1)
        while index < last:
            item, item_load = cuda.shfl_sync(ALL, own_item, index), cuda.shfl_sync(ALL, own_load, index)
            bid, is_limited = offer, False
            if np.uint32(several & np.uint32(1)) == 1:
                is_limited = True
                expert = cuda.shfl_sync(ALL, own_expert, index)
                if expert != turn:
                    turn, held = expert, _held(items, expert, packing, first, place)
                if held >= np.int32(copies):
                    bid = endless
                if lowest_of(bid) == endless:
                    # Each pack with room holds as many of the expert as it may.
                    if own < num_packs:
                        packing.pack_loads[own], fill[own] = load, place - first
                    _, pack = best_lane(-offer, own)
                    made = make_way(items, item, copies, pack, slots, packing, fill)
                    item, item_load = np.int32(made), items.loads[made]
                    if own < num_packs and place > first:
                        load = packing.pack_loads[own]
                        offer = load if place < end else endless
                    bid, turn = offer, np.int32(-1)
            if is_first_lowest(bid, own):
                packing.items[place] = item
                place, held = np.int32(place + 1), np.int32(held + is_limited)
                load += item_load
                offer = load if place < end else endless
            index, several = np.int32(index + 1), np.uint32(several >> np.uint32(1))
        begin = np.int32(begin + WARP)
    if own < num_packs:
        packing.pack_loads[own] = load
    barrier()


@jit
def _held(items, expert, packing, first, last):  # type: ignore[no-untyped-def]
    """Count the replicas of an expert in a pack of this lane's own; who makes way there does so between barriers."""
    held, place = np.int32(0), first
    while place < last:
        held = np.int32(held + (np.int32(items.experts[packing.items[place]]) == expert))
        place = np.int32(place + 1)
    return held


overload(greedy.pack_greedily, target="cuda")(_pack_greedily)
