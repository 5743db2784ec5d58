"""How do the lanes of a block find the best swap of two items for two?  It is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import swap
from ..rules.scratch import AT_ONCE, recall
from ..rules.swap import may_swap
from ..rules.words import barrier, best_lane, lane, mine_from, parts
from .apart import all_may_swap
from .block import ALL, WARP, WARP_BITS
from .elements import four_of
from .instructions import NONE, among, first_of, meet_warp
from .ranks import highest_of
from .strips import on_line, rest

__all__: list[str] = []

PAIR_BITS, SLOT_BITS = 11, 6  # of the numbers of a pair and of a slot: MOST_PAIR_SLOTS have fewer


def _best_pair_swap(tools, heavy, light, copies, least):  # type: ignore[no-untyped-def]
    def best_pair_swap(tools, heavy, light, copies, least):  # type: ignore[no-untyped-def]
        """Let each lane take a pair of the light pack, or share one with others, and try it against those of the heavy one.

        Pairs are counted in the order of their slots, and swaps go by the heavy pack's pair, then by the light pack's.
        """
        _, items, _, desk, _ = recall(tools)
        packing = desk.trial
        slots = np.int32(packing.slots)
        pairs = np.int32(np.int32(slots * np.int32(slots - 1)) >> np.int32(1))
        leaving, coming, both = on_line(desk.pairs.sums), desk.pairs.gains, desk.pairs.slots
        _weigh_pairs(rest(packing.loads, heavy * slots), rest(packing.loads, light * slots), pairs, both, leaving, coming)
        gap = packing.pack_loads[heavy] - packing.pack_loads[light]
        most, heavy_pair, light_pair = _most_by_pairs(leaving, coming, pairs, gap, least)
        if heavy_pair < 0:
            return least, np.int64(-1), np.int64(-1), np.int64(-1), np.int64(-1)
        one, other = _slots_of(both, heavy_pair)
        three, four = _slots_of(both, light_pair)
        if copies > 0 and not all_may_swap(items, packing, heavy, light, one, other, three, four, copies):
            # There may be others that gain as much.
            found = np.int64(-1)
            for rival in mine_from(heavy_pair * pairs + light_pair + 1, pairs * pairs):
                pair, back = parts(rival, pairs)
                delta = leaving[pair] - coming[back]
                if _gain_of(delta, gap) == most and _may_swap_pairs(
                    items, packing, heavy, light, slots, both, pair, back, copies
                ):
                    found = np.int64(rival)
                    break
            is_found, swap = best_lane(packing.loads.dtype.type(found >= 0), found)
            if is_found == 0:
                return least, np.int64(-1), np.int64(-1), np.int64(-1), np.int64(-1)
            pair, back = parts(swap, pairs)
            one, other = _slots_of(both, pair)
            three, four = _slots_of(both, back)
        return most, np.int64(one), np.int64(other), np.int64(three), np.int64(four)

    return best_pair_swap


@jit
def _weigh_pairs(heavy_loads, light_loads, pairs, both, leaving, coming):  # type: ignore[no-untyped-def]
    """Note what the pairs of two packs weigh; the last one several times, for some are read at once."""
    pair = np.int32(lane())
    while pair < np.int32(pairs + np.int32(AT_ONCE - 1)):
        one, other = _slots_of(both, min(pair, np.int32(pairs - 1)))
        leaving[pair], coming[pair] = heavy_loads[one] + heavy_loads[other], light_loads[one] + light_loads[other]
        pair = np.int32(pair + WARP)
    barrier()


@jit
def _most_by_pairs(leaving, coming, pairs, gap, least):  # type: ignore[no-untyped-def]
    """Give the most that any swap of pairs gains, and the two pairs of the first one that does; the first is -1 if none does.

    Each lane takes a pair of the light pack; where half as many are left as there are lanes, or fewer, several share one.
    It finds out how much a swap for that gains, and only where nobody gains more, by which pair of the heavy pack.
    """
    gain, swap = least, np.int32(-1)
    first = np.int32(0)
    while first < pairs:
        bits = min(np.int32(WARP_BITS), np.int32(32 - np.int32(cuda.clz(np.int32(pairs - first - 1)))))
        own = min(np.int32(first + np.int32(lane() & np.int32(np.int32(1 << bits) - 1))), np.int32(pairs - 1))
        back, best = coming[own], coming.dtype.type(0)
        pair = np.int32(np.int32(lane() >> bits) * AT_ONCE)
        step = np.int32(np.int32(WARP >> bits) * AT_ONCE)
        while pair < pairs:
            one, two, three, last = four_of(leaving, pair)
            better = max(_gain_of(one - back, gap), _gain_of(two - back, gap))
            best = max(best, max(better, max(_gain_of(three - back, gap), _gain_of(last - back, gap))))
            pair = np.int32(pair + step)
        most = highest_of(best)
        if most > gain or (most == gain and swap >= 0):
            number, ties = NONE, among(best == most)
            # As much as before is of interest only with an earlier pair of the heavy pack: the light pack's come in order.
            end = pairs if most > gain else np.int32(swap >> np.int32(PAIR_BITS))
            while ties != 0:
                rival = np.int32(first_of(ties))
                heavy_pair = _first_that_gains(most, leaving, end, cuda.shfl_sync(ALL, back, rival), gap)
                light_pair = cuda.shfl_sync(ALL, own, rival)
                if heavy_pair < end:
                    number = min(number, np.int32(np.int32(heavy_pair << np.int32(PAIR_BITS)) | light_pair))
                    end = np.int32(heavy_pair + 1)  # lanes that share a pair do not come in order
                ties = np.uint32(ties & np.uint32(ties - np.uint32(1)))
            # Lanes do not meet swaps in the order of their numbers.
            gain, swap = most, number if most > gain else min(swap, number)
        first = np.int32(first + np.int32(1 << bits))
    meet_warp()  # the next search weighs other pairs
    return gain, swap >> np.int32(PAIR_BITS), swap & np.int32((1 << PAIR_BITS) - 1)


@jit
def _first_that_gains(gain, leaving, end, back, gap):  # type: ignore[no-untyped-def]
    """Give the first pair of the heavy pack that gains so much when it goes for one that weighs back, or the end."""
    first, found = np.int32(0), np.uint32(0)
    while found == 0 and first < end:
        pair = min(np.int32(first + lane()), np.int32(end - 1))
        found = among(_gain_of(leaving[pair] - back, gap) == gain)
        first = np.int32(first + WARP)
    return end if found == 0 else np.int32(np.int32(first - WARP) + first_of(found))


@jit
def _gain_of(delta, gap):  # type: ignore[no-untyped-def]
    return min(delta, gap - delta)


@jit
def _may_swap_pairs(items, packing, heavy, light, slots, both, heavy_pair, light_pair, copies):  # type: ignore[no-untyped-def]
    """Tell whether a swap of pairs leaves at most copies replicas of an expert in both packs."""
    one, other = _slots_of(both, heavy_pair)
    three, four = _slots_of(both, light_pair)
    return may_swap(items, packing, heavy, light, slots, one, other, three, four, copies)


@jit
def _slots_of(both, pair):  # type: ignore[no-untyped-def]
    """Give the two slots of a pair."""
    slots = np.int32(both[pair])
    return np.int32(slots >> np.int32(SLOT_BITS)), np.int32(slots & np.int32((1 << SLOT_BITS) - 1))


def _list_pairs(pairs, slots):  # type: ignore[no-untyped-def]
    def list_pairs(pairs, slots):  # type: ignore[no-untyped-def]
        """Note all pairs with slot 0, then all with slot 1, and so on: as swaps are counted."""
        one, before, slots = np.int32(0), np.int32(-1), np.int32(slots)
        while one < slots - 1:
            other = np.int32(np.int32(one + 1) + lane())
            while other < slots:
                pairs.slots[np.int32(before + other)] = np.int32(np.int32(one << np.int32(SLOT_BITS)) | other)
                other = np.int32(other + WARP)
            one, before = np.int32(one + 1), np.int32(before + np.int32(slots - np.int32(one + 2)))
        barrier()

    return list_pairs


overload(swap.list_pairs, target="cuda")(_list_pairs)
overload(swap.best_pair_swap, target="cuda")(_best_pair_swap)
