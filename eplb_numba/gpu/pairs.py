"""How do the lanes of a block find the best swap of two items for two?  It is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import swap
from ..rules.scratch import recall
from ..rules.swap import may_swap
from ..rules.words import barrier, best_lane, lane, lanes, mine_from, parts
from .apart import all_may_swap
from .block import WARP
from .instructions import among, quotient
from .strips import rest

__all__: list[str] = []

PAIR_BITS = 11  # of the number of a pair: MOST_PAIR_SLOTS have fewer


def _best_pair_swap(tools, heavy, light, copies, least):  # type: ignore[no-untyped-def]
    def best_pair_swap(tools, heavy, light, copies, least):  # type: ignore[no-untyped-def]
        """Let each lane take a pair of the light pack, or share one with others, and try it against those of the heavy one.

        Pairs are counted in the order of their slots, and swaps go by the heavy pack's pair, then by the light pack's.
        """
        _, items, _, desk, _ = recall(tools)
        packing = desk.trial
        slots = np.int32(packing.slots)
        pairs = np.int32(slots * np.int32(slots - 1)) >> np.int32(1)
        leaving, coming = desk.pairs.sums, desk.pairs.gains  # what each pair of either pack weighs
        _weigh_pairs(rest(packing.loads, heavy * slots), rest(packing.loads, light * slots), slots, leaving, coming)
        gap = packing.pack_loads[heavy] - packing.pack_loads[light]
        most, heavy_pair, light_pair = _most_by_pairs(leaving, coming, pairs, gap, least)
        if heavy_pair < 0:
            return least, np.int64(-1), np.int64(-1), np.int64(-1), np.int64(-1)
        one, other = _unfold_together(heavy_pair, slots)
        three, four = _unfold_together(light_pair, slots)
        if copies > 0 and not all_may_swap(items, packing, heavy, light, one, other, three, four, copies):
            # There may be others that gain as much.
            found = np.int64(-1)
            for rival in mine_from(heavy_pair * pairs + light_pair + 1, pairs * pairs):
                pair, back = parts(rival, pairs)
                delta = leaving[pair] - coming[back]
                if min(delta, gap - delta) == most and _may_swap_pairs(
                    items, packing, heavy, light, slots, pair, back, copies
                ):
                    found = np.int64(rival)
                    break
            is_found, swap = best_lane(packing.loads.dtype.type(found >= 0), found)
            if is_found == 0:
                return least, np.int64(-1), np.int64(-1), np.int64(-1), np.int64(-1)
            pair, back = parts(swap, pairs)
            one, other = _unfold_together(pair, slots)
            three, four = _unfold_together(back, slots)
        return most, np.int64(one), np.int64(other), np.int64(three), np.int64(four)

    return best_pair_swap


@jit
def _weigh_pairs(heavy_loads, light_loads, slots, leaving, coming):  # type: ignore[no-untyped-def]
    """Note what the pairs of two packs weigh: all with slot 0, then all with slot 1, and so on."""
    one, before = np.int32(0), np.int32(-1)
    while one < slots - 1:
        heavy_load, light_load = heavy_loads[one], light_loads[one]
        other = np.int32(np.int32(one + 1) + lane())
        while other < slots:
            pair = np.int32(before + other)
            leaving[pair], coming[pair] = heavy_load + heavy_loads[other], light_load + light_loads[other]
            other = np.int32(other + lanes())
        one, before = np.int32(one + 1), np.int32(before + np.int32(slots - np.int32(one + 2)))
    barrier()


@jit
def _most_by_pairs(leaving, coming, pairs, gap, least):  # type: ignore[no-untyped-def]
    """Give the most that any swap of pairs gains, and the two pairs of the first one that does; the first is -1 if none does.

    Where fewer of the light pack's pairs are left than there are lanes, several lanes share one.
    """
    gain, swap = least, np.int32(-1)
    first = np.int32(0)
    while first < pairs:
        width = min(np.int32(lanes()), np.int32(pairs - first))
        sharing = np.int32(quotient(lanes(), width))
        share = np.int32(quotient(lane(), width))
        if share < sharing:
            own = np.int32(np.int32(first + lane()) - np.int32(share * width))
            back = coming[own]
            best, at, pair = least, np.int32(-1), share
            while pair < pairs:
                # Four at a time, for reading takes longest; beyond the end the last one again, which does no harm.
                second = min(np.int32(pair + sharing), np.int32(pairs - 1))
                third = min(np.int32(second + sharing), np.int32(pairs - 1))
                fourth = min(np.int32(third + sharing), np.int32(pairs - 1))
                one, two, three, four = leaving[pair], leaving[second], leaving[third], leaving[fourth]
                best, at = _better_of(one - back, gap, pair, best, at)
                best, at = _better_of(two - back, gap, second, best, at)
                best, at = _better_of(three - back, gap, third, best, at)
                best, at = _better_of(four - back, gap, fourth, best, at)
                pair = np.int32(pair + np.int32(4 * sharing))
            number = np.int32(np.int32(at << np.int32(PAIR_BITS)) | own)
            # A lane does not meet swaps in the order of their numbers.
            if at >= 0 and (best > gain or (best == gain and number < swap)):
                gain, swap = best, number
        first = np.int32(first + lanes())
    gain, number = best_lane(gain, swap)
    swap = np.int32(number)
    return gain, swap >> np.int32(PAIR_BITS), swap & np.int32((1 << PAIR_BITS) - 1)


@jit
def _better_of(delta, gap, rival, gain, pair):  # type: ignore[no-untyped-def]
    """Keep the pair that gains more."""
    better = min(delta, gap - delta)
    if better > gain:
        return better, rival
    return gain, pair


@jit
def _may_swap_pairs(items, packing, heavy, light, slots, heavy_pair, light_pair, copies):  # type: ignore[no-untyped-def]
    """Tell whether a swap of pairs leaves at most copies replicas of an expert in both packs."""
    one, other = _unfold(heavy_pair, slots)
    three, four = _unfold(light_pair, slots)
    return may_swap(items, packing, heavy, light, slots, one, other, three, four, copies)


@jit
def _unfold(pair, slots):  # type: ignore[no-untyped-def]
    """Give the two slots of a pair; each lane may ask about another one."""
    one, left, row = np.int32(0), np.int32(pair), np.int32(slots - 1)
    while left >= row:
        left = np.int32(left - row)
        one, row = np.int32(one + 1), np.int32(row - 1)
    return one, np.int32(np.int32(one + 1) + left)


@jit
def _unfold_together(pair, slots):  # type: ignore[no-untyped-def]
    """Give the two slots of a pair that all lanes of the warp ask about: each looks at two of those that may be the first."""
    own, last = np.int32(lane() & (WARP - 1)), np.int32(slots - 1)
    low = among(_pairs_before(min(own, last), slots) <= pair)
    high = among(_pairs_before(min(np.int32(own + WARP), last), slots) <= pair)
    one = np.int32(np.int32(cuda.popc(low)) + np.int32(cuda.popc(high)) - 1)
    return one, np.int32(np.int32(pair - _pairs_before(one, slots)) + np.int32(one + 1))


@jit
def _pairs_before(one, slots):  # type: ignore[no-untyped-def]
    """Count the pairs whose first slot comes before one."""
    return np.int32(np.int32(one * slots) - (np.int32(one * np.int32(one + 1)) >> np.int32(1)))


overload(swap.best_pair_swap, target="cuda")(_best_pair_swap)
