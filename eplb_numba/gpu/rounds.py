"""How does a warp pack greedily onto more packs than it has lanes?  It ranks them, and gives an item each to many at once."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import register_jitable as jit

from ..rules.greedy import holds, pack_one_by_one
from ..rules.sort import sort_descending
from ..rules.sums import largest_of
from ..rules.words import barrier, lane, mine
from .block import WARP
from .instructions import lowest
from .ranks import lowest_of

__all__ = ["pack_in_rounds"]

PART = 8  # of the packs: if no more get an item at once, it takes less to pack some one by one
BURST = 8  # items that are packed one by one at first


@jit
def pack_in_rounds(items, desk, copies):  # type: ignore[no-untyped-def]
    """Do what `pack_greedily` does; the block is a single warp."""
    packing, count = desk.trial, np.int32(len(desk.order))
    num_packs = np.int32(len(packing.pack_loads))
    for pack in mine(num_packs):
        packing.pack_loads[pack], desk.fill[pack], desk.ranking[pack] = 0, 0, pack
    barrier()
    packed, burst = np.int32(0), np.int32(BURST)
    while packed < count:
        at_once = _pack_at_once(items, desk, copies, packed, count, num_packs)
        packed = np.int32(packed + at_once)
        if packed < count and at_once < num_packs // PART:
            end = min(np.int32(packed + burst), count)
            pack_one_by_one(items, desk, copies, packed, end)
            packed, burst = end, np.int32(burst + burst)
        if packed < count:
            _rank_packs(desk, num_packs)


@jit
def _pack_at_once(items, desk, copies, packed, count, num_packs):  # type: ignore[no-untyped-def]
    """Give the next items to the lightest packs, one each, as far as one by one they would go there, too; tell how many.

    That is to all packs that are lighter than any pack becomes with the item that its rank gives it, up to one that may not
    take it.
    """
    packing, fill, order, slots = desk.trial, desk.fill, desk.order, np.int32(desk.trial.slots)
    most = min(num_packs, np.int32(count - packed))
    lightest_then = packing.pack_loads.dtype.type(np.inf)
    rank = np.int32(lane())
    while rank < most:
        pack = _pack_of_rank(desk, rank, num_packs)
        load = packing.pack_loads[pack] + items.loads[order[np.int32(packed + rank)]]
        if np.int32(fill[pack]) + 1 < slots:  # else it will not be asked again
            lightest_then = min(lightest_then, load)
        rank = np.int32(rank + WARP)
    lightest_then = lowest_of(lightest_then)
    end, rank = most, np.int32(lane())
    while rank < end:
        pack = _pack_of_rank(desk, rank, num_packs)
        is_next = (rank == 0) | (packing.pack_loads[pack] < lightest_then)
        if (not is_next) | (np.int32(fill[pack]) == slots):
            end = rank
        elif copies > 0:
            expert = np.int64(items.experts[order[np.int32(packed + rank)]])
            if items.counts[expert] > copies and holds(items, expert, copies, pack, slots, packing, fill):
                end = rank
        rank = np.int32(rank + WARP)
    end, rank = lowest(end), np.int32(lane())
    while rank < end:
        pack = _pack_of_rank(desk, rank, num_packs)
        item, filled = np.int32(order[np.int32(packed + rank)]), np.int32(fill[pack])
        packing.items[np.int32(np.int32(pack * slots) + filled)] = item
        packing.pack_loads[pack] += items.loads[item]
        fill[pack] = np.int32(filled + 1)
        rank = np.int32(rank + WARP)
    barrier()
    return end


@jit
def _rank_packs(desk, num_packs):  # type: ignore[no-untyped-def]
    """Rank the packs, the heaviest first and of equal ones the last; full ones are as heavy as any.

    They are sorted the other way round, so that `_pack_of_rank` finds the first of equal ones first.
    """
    packing = desk.trial
    keys, heaviest = desk.keys[:num_packs], largest_of(packing.pack_loads)
    for turn in mine(num_packs):
        pack = np.int32(turn)
        has_room = np.int32(desk.fill[pack]) < np.int32(packing.slots)
        keys[np.int32(np.int32(num_packs - 1) - pack)] = packing.pack_loads[pack] if has_room else heaviest
    barrier()
    sort_descending(keys, desk.ranking, desk.spare, desk.marks)


@jit
def _pack_of_rank(desk, rank, num_packs):  # type: ignore[no-untyped-def]
    """Give the pack that is lighter than all but so many."""
    last = np.int32(num_packs - 1)
    return np.int32(last - np.int32(desk.ranking[np.int32(last - rank)]))
