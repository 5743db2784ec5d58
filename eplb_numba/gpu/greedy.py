"""How does a warp pack greedily?  Each lane keeps a pack of its own in its registers, and the lightest ones win the items."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import greedy
from ..rules.greedy import make_way
from ..rules.scratch import AT_ONCE
from ..rules.words import barrier, best_lane, lane
from .block import ALL, WARP
from .elements import four_of
from .instructions import NONE, added, among, either, lowest, meet_warp
from .ranks import is_first_lowest, lowest_of
from .rounds import pack_in_rounds
from .strips import on_line

__all__: list[str] = []

FEW = 5  # items that are packed one by one in the time that it takes to pack some at once


def _pack_greedily(items, desk, copies):  # type: ignore[no-untyped-def]
    def pack_greedily(items, desk, copies):  # type: ignore[no-untyped-def]
        if len(desk.trial.pack_loads) <= WARP:
            _pack_by_lanes(items, desk.order, copies, desk.trial, desk.fill, on_line(desk.bracket.values))
        else:
            pack_in_rounds(items, desk, copies)

    return pack_greedily


@jit
def _pack_by_lanes(items, order, copies, packing, fill, offers):  # type: ignore[no-untyped-def]
    """Do what `pack_greedily` does; the block is a single warp.

    A pack offers its load as long as it has room.  Mostly many packs get an item at once; where they are few, some items are
    packed one by one, and twice as many the next time.
    """
    own, num_packs, count = np.int32(lane()), np.int32(len(packing.pack_loads)), np.int32(len(order))
    load, place = items.loads.dtype.type(0), np.int32(own * np.int32(packing.slots))  # of the next item
    end = place
    if own < num_packs:
        end = np.int32(place + np.int32(packing.slots))
    rank, begin, burst = own, np.int32(0), np.int32(FEW if num_packs >= FEW else WARP)
    while begin < count:
        at_once = np.int32(0)
        if num_packs >= FEW:
            at_once, load, place = _pack_at_once(items, order, copies, packing, begin, own, rank, load, place, end)
            begin = np.int32(begin + at_once)
        if begin < count and at_once < FEW:
            until = min(np.int32(begin + burst), count)
            load, place = _pack_one_by_one(items, order, copies, packing, fill, begin, until, own, load, place, end)
            begin, burst = until, min(np.int32(burst + burst), np.int32(WARP))
        if num_packs >= FEW and begin < count:
            rank = _rank_of_offer(_offer(load, place < end), own, num_packs, offers)
    if own < num_packs:
        packing.pack_loads[own] = load
    barrier()


@jit
def _offer(load, has_room):  # type: ignore[no-untyped-def]
    return either(has_room, load, type(load)(np.inf))


@jit
def _pack_at_once(items, order, copies, packing, begin, own, rank, load, place, end):  # type: ignore[no-untyped-def]
    """Give the next items to the lightest packs, one each, as far as one by one they would go there, too.

    That is to all packs that are lighter than any pack becomes with the item that its rank would give it, up to one that may
    not take it.  Gives how many items that are, and this lane's load and next place.
    """
    count = np.int32(len(order))
    item = np.int32(order[min(np.int32(begin + rank), np.int32(count - 1))])
    item_load = items.loads[item]
    takes = (np.int32(begin + rank) < count) & (place < end)
    lowest_then = lowest_of(_offer(load + item_load, takes & (np.int32(place + 1) < end)))
    at_once = max(np.int32(cuda.popc(among(_offer(load, place < end) < lowest_then))), np.int32(1))
    if copies > 0:
        expert = np.int32(items.experts[item])
        is_limited = takes & (np.int32(items.counts[expert]) > np.int32(copies))
        if among(is_limited) != 0:
            held = np.int32(0)
            if is_limited:
                held = _held(items, expert, packing, np.int32(own * np.int32(packing.slots)), place)
            at_once = min(at_once, lowest(either(held >= np.int32(copies), rank, NONE)))
    at_once = min(at_once, np.int32(count - begin))
    if takes & (rank < at_once):
        packing.items[place] = item
        load, place = load + item_load, np.int32(place + 1)
    return at_once, load, place


@jit
def _rank_of_offer(offer, own, num_packs, offers):  # type: ignore[no-untyped-def]
    """Tell how many packs are lighter than this lane's, or as light and of a lower number; only of those with room."""
    size = np.int32(np.int32(num_packs + np.int32(2 * AT_ONCE - 1)) & np.int32(-2 * AT_ONCE))
    meet_warp()
    if own < size:
        offers[own] = offer
    meet_warp()
    rank, rival = np.int32(0), np.int32(0)
    while rival < size:
        one, two, three, four = four_of(offers, rival)
        five, six, seven, eight = four_of(offers, np.int32(rival + AT_ONCE))
        rank = np.int32(rank + np.int32((one < offer) + (two < offer)) + np.int32((three < offer) + (four < offer)))
        rank = np.int32(rank + np.int32((five < offer) + (six < offer)) + np.int32((seven < offer) + (eight < offer)))
        rival = np.int32(rival + 2 * AT_ONCE)
    has_room = offer < type(offer)(np.inf)
    ranks = added(either(has_room, np.uint32(np.uint32(1) << np.uint32(rank)), np.uint32(0)))
    if cuda.popc(ranks) != cuda.popc(among(has_room)):  # some have the same
        rival = np.int32(0)
        while rival < own:
            rank = np.int32(rank + (offers[rival] == offer))
            rival = np.int32(rival + 1)
    return rank


@jit
def _pack_one_by_one(items, order, copies, packing, fill, begin, until, own, load, place, end):  # type: ignore[no-untyped-def]
    """Give items, no more than there are lanes, to the lightest pack one after the other; give this lane's load and place."""
    num_packs, slots = np.int32(len(packing.pack_loads)), np.int32(packing.slots)
    first = np.int32(own * slots)
    # Each lane looks up one of the items: reading them one by one takes longest.
    own_item = np.int32(order[min(np.int32(begin + own), np.int32(until - 1))])
    own_load, own_expert, several = items.loads[own_item], np.int32(0), np.uint32(0)
    if copies > 0:
        own_expert = np.int32(items.experts[own_item])
        several = among(np.int32(items.counts[own_expert]) > np.int32(copies))
    turn, held = np.int32(-1), np.int32(0)
    index, size = np.int32(0), np.int32(until - begin)
    while index < size:
        item, item_load = cuda.shfl_sync(ALL, own_item, index), cuda.shfl_sync(ALL, own_load, index)
        bid, is_limited = _offer(load, place < end), np.uint32(several & np.uint32(1)) == 1
        if is_limited:
            expert = cuda.shfl_sync(ALL, own_expert, index)
            if expert != turn:
                turn, held = expert, _held(items, expert, packing, first, place)
            bid = _offer(bid, held < np.int32(copies))
            if lowest_of(bid) == np.inf:
                # Each pack with room holds as many of the expert as it may.
                if own < num_packs:
                    packing.pack_loads[own], fill[own] = load, np.int32(place - first)
                _, pack = best_lane(-_offer(load, place < end), own)
                made = make_way(items, item, copies, pack, slots, packing, fill)
                item, item_load = np.int32(made), items.loads[made]
                if own < num_packs:
                    load = packing.pack_loads[own]
                bid, turn = _offer(load, place < end), np.int32(-1)
        if is_first_lowest(bid, own):
            packing.items[place] = item
            load, place, held = load + item_load, np.int32(place + 1), np.int32(held + is_limited)
        index, several = np.int32(index + 1), np.uint32(several >> np.uint32(1))
    return load, place


@jit
def _held(items, expert, packing, first, last):  # type: ignore[no-untyped-def]
    """Count the replicas of an expert in a pack of this lane's own; who makes way there does so between barriers."""
    held, place = np.int32(0), first
    while place < last:
        held = np.int32(held + (np.int32(items.experts[packing.items[place]]) == expert))
        place = np.int32(place + 1)
    return held


overload(greedy.pack_greedily, target="cuda")(_pack_greedily)
