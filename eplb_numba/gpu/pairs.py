"""How do the lanes of a block find the best swap of two items for two?  It is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import swap
from ..rules.scratch import recall
from ..rules.swap import may_swap
from ..rules.words import barrier, best_lane, lane, lanes, mine, mine_from
from .instructions import quotient

__all__: list[str] = []


def _best_pair_swap(tools, heavy, light, copies, least):  # type: ignore[no-untyped-def]
    def best_pair_swap(tools, heavy, light, copies, least):  # type: ignore[no-untyped-def]
        """Let each lane take a pair of the light pack, or share one with others, and try it against those of the heavy one.

        Pairs are counted: a swap is the heavy pack's pair * pairs + the light pack's, which is in the order of its number.
        """
        _, items, _, desk, _ = recall(tools)
        packing = desk.trial
        slots = packing.slots
        pairs = quotient(slots * (slots - 1), 2)
        leaving, coming = desk.pairs.sums, desk.pairs.gains  # what each pair of either pack weighs
        for pair in mine(pairs):
            one, other = _unfold(pair, slots)
            leaving[pair] = packing.loads[heavy * slots + one] + packing.loads[heavy * slots + other]
            coming[pair] = packing.loads[light * slots + one] + packing.loads[light * slots + other]
        gap = packing.pack_loads[heavy] - packing.pack_loads[light]
        barrier()
        most, swap = _most_by_pairs(leaving, coming, pairs, gap, least)
        if swap < 0:
            return least, np.int64(-1)
        if copies > 0 and not _may_swap_pairs(items, packing, heavy, light, slots, swap, pairs, copies):
            # There may be others that gain as much.
            found = np.int64(-1)
            for other in mine_from(swap + 1, pairs * pairs):
                pair = quotient(other, pairs)
                delta = leaving[pair] - coming[other - pair * pairs]
                if min(delta, gap - delta) == most and _may_swap_pairs(
                    items, packing, heavy, light, slots, other, pairs, copies
                ):
                    found = np.int64(other)
                    break
            is_found, swap = best_lane(packing.loads.dtype.type(found >= 0), found)
            if is_found == 0:
                return least, np.int64(-1)
        one, other = _unfold(quotient(swap, pairs), slots)
        three, four = _unfold(swap - quotient(swap, pairs) * pairs, slots)
        return most, ((one * slots + other) * slots + three) * slots + four

    return best_pair_swap


@jit
def _most_by_pairs(leaving, coming, pairs, gap, least):  # type: ignore[no-untyped-def]
    """Give the most that any swap of pairs gains, and the first one that does, or (least, -1).

    Where fewer of the light pack's pairs are left than there are lanes, several lanes share one.
    """
    gain, swap = least, np.int64(-1)
    for first in range(0, pairs, lanes()):
        width = min(lanes(), pairs - first)
        sharing = quotient(lanes(), width)
        share = quotient(lane(), width)
        if share < sharing:
            mine = first + lane() - share * width
            back = coming[mine]
            for pair in range(share, pairs, 4 * sharing):
                # Four at a time, for reading takes longest; beyond the end some are tried twice, which does no harm.
                second = min(pair + sharing, pairs - 1)
                third = min(second + sharing, pairs - 1)
                fourth = min(third + sharing, pairs - 1)
                one, two, three, four = leaving[pair], leaving[second], leaving[third], leaving[fourth]
                gain, swap = _better_of(one - back, gap, pair * pairs + mine, gain, swap)
                gain, swap = _better_of(two - back, gap, second * pairs + mine, gain, swap)
                gain, swap = _better_of(three - back, gap, third * pairs + mine, gain, swap)
                gain, swap = _better_of(four - back, gap, fourth * pairs + mine, gain, swap)
    return best_lane(gain, swap)


@jit
def _better_of(delta, gap, rival, gain, swap):  # type: ignore[no-untyped-def]
    """Keep the swap that gains more, or the first of those that gain as much: lanes do not meet them in their order."""
    better = min(delta, gap - delta)
    if better > gain or (better == gain and rival < swap):
        return better, np.int64(rival)
    return gain, swap


@jit
def _may_swap_pairs(items, packing, heavy, light, slots, swap, pairs, copies):  # type: ignore[no-untyped-def]
    """Tell whether a swap of pairs leaves at most copies replicas of an expert in both packs."""
    pair = quotient(swap, pairs)
    one, other = _unfold(pair, slots)
    three, four = _unfold(swap - pair * pairs, slots)
    return may_swap(items, packing, heavy, light, slots, one, other, three, four, copies)


@jit
def _unfold(pair, slots):  # type: ignore[no-untyped-def]
    """Give the two slots of a pair: of 0, all with 0; then all with 1; and so on."""
    one, rest = np.int64(0), np.int64(pair)
    while rest >= slots - 1 - one:
        rest -= slots - 1 - one
        one += 1
    return one, one + 1 + rest


overload(swap.best_pair_swap, target="cuda")(_best_pair_swap)
