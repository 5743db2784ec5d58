"""Which swap between a heavy and a lighter pack brings the two nearest to each other?

Moving delta = (what leaves the heavy pack) - (what comes back) lowers the larger of the two loads by min(delta, gap - delta),
where gap is the difference of the loads.  The same swap is best for "smallest gap", "smallest maximum" and "smallest sum of
squares", so one search serves every policy.  Packs hold their items heaviest first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .scratch import recall
from .terms import Items, Packing, Pairs, Tools
from .words import barrier, best_lane, inlined_word, lane, lanes, mine, parts, rule, word

__all__ = ["best_pair_swap", "best_swap", "list_pairs", "may_swap"]


@inlined_word
def best_swap(
    items: Items, packing: Packing, heavy: int, light: int, slots: int, copies: int, least: Any
) -> tuple[Any, int, int]:
    """Find the best swap of one item for one; give its gain and two slots, or (least, -1, -1) if none gains more.

    Equal gains go to the lowest leaving slot, then to the lowest coming slot.  copies limits the replicas of one expert in
    a pack; 0 is no limit.
    """
    loads = packing.loads
    gap = packing.pack_loads[heavy] - packing.pack_loads[light]
    gain, best_leaving, best_coming = least, -1, -1
    lightest = loads[light * slots + slots - 1]
    past_middle = 0  # the first coming slot with delta > gap - delta; it only moves on as what leaves gets lighter
    for leaving in range(slots):
        load = loads[heavy * slots + leaving]
        if load - lightest <= gain:
            break  # nor can anything lighter gain more
        while past_middle < slots:
            delta = load - loads[light * slots + past_middle]
            if delta > gap - delta:
                break
            past_middle += 1
        found_here = False
        for coming in range(past_middle - 1, -1, -1):  # before the middle the gain is delta: it shrinks on the way back
            delta = load - loads[light * slots + coming]
            if delta < gain or (delta == gain and not found_here):
                break
            if copies == 0 or may_swap(items, packing, heavy, light, slots, leaving, leaving, coming, coming, copies):
                gain, best_leaving, best_coming = delta, leaving, coming
                found_here = True
        for coming in range(past_middle, slots):  # past it the gain is the rest of the gap: it shrinks on the way on
            rest = gap - (load - loads[light * slots + coming])
            if rest <= gain:
                break
            if copies == 0 or may_swap(items, packing, heavy, light, slots, leaving, leaving, coming, coming, copies):
                gain, best_leaving, best_coming = rest, leaving, coming
                break
    return gain, best_leaving, best_coming


@word
def list_pairs(pairs: Pairs, slots: int) -> None:
    """Note which slots each pair consists of, before any swap of two for two is looked for; only lanes of a GPU ask that."""


@word
def best_pair_swap(tools: Tools, heavy: int, light: int, copies: int, least: Any) -> tuple[Any, int, int, int, int]:
    """Find the best swap of two items for two, over all lanes; give its gain and its slots, or the least and four times -1.

    The slots are what leaves, what leaves too, what comes and what comes too; equal gains go to the lowest, in this order.
    Where replicas that must stay apart forbid the best swap there is none: another pack is as good a partner.
    """
    desk = recall(tools).desk
    most = _most_by_pairs(desk.trial, heavy, light, desk.trial.slots, desk.pairs)
    if not most > least:
        return least, -1, -1, -1, -1
    _, items, _, desk, _ = recall(tools)
    slots = desk.trial.slots
    number = _first_pair_swap(items, desk.trial, heavy, light, slots, copies, most, desk.pairs)
    if number < 0:
        return least, -1, -1, -1, -1
    leaving_pair, coming_pair = parts(number, slots * slots)
    leaving, leaving_too = parts(leaving_pair, slots)
    coming, coming_too = parts(coming_pair, slots)
    return most, leaving, leaving_too, coming, coming_too


@rule
def _most_by_pairs(packing: Packing, heavy: int, light: int, slots: int, pairs: Pairs) -> Any:
    """Give the most that any swap of two for two gains; leave in pairs what each pair of the light pack sums to and gains.

    A plain loop over one pack's pairs inside another over the other's: that is what vector units and lanes are fast at.  It
    takes two pairs of the heavy pack at a time; where one is left over, twice the same.
    """
    loads = packing.loads
    gap = packing.pack_loads[heavy] - packing.pack_loads[light]
    num_pairs = slots * (slots - 1) // 2
    sums, gains = pairs.sums[:num_pairs], pairs.gains[:num_pairs]
    if lane() == 0:
        pair = 0
        for coming in range(light * slots, (light + 1) * slots):
            for coming_too in range(coming + 1, (light + 1) * slots):
                sums[pair] = loads[coming] + loads[coming_too]
                gains[pair] = 0
                pair += 1
    barrier()
    last = (heavy + 1) * slots - 1
    for leaving in range(heavy * slots, last):
        for leaving_too in range(leaving + 1, last + 1, 2):
            load = loads[leaving] + loads[leaving_too]
            next_load = loads[leaving] + loads[min(leaving_too + 1, last)]
            for pair in mine(num_pairs):
                delta, next_delta = load - sums[pair], next_load - sums[pair]
                rest, next_rest = gap - delta, gap - next_delta
                better, best = delta if delta < rest else rest, gains[pair]  # there is no NaN to be minded
                next_better = next_delta if next_delta < next_rest else next_rest
                better = better if better > next_better else next_better
                gains[pair] = better if better > best else best
    most = loads.dtype.type(0)
    for pair in mine(num_pairs):
        most = max(most, gains[pair])
    most, _ = best_lane(most, 0)
    return most


@rule
def _first_pair_swap(
    items: Items, packing: Packing, heavy: int, light: int, slots: int, copies: int, most: Any, pairs: Pairs
) -> int:
    """Give the lowest number of an allowed swap of two for two that gains the most, or -1; each lane looks at its pairs.

    The number is ((leaving * slots + leaving too) * slots + coming) * slots + coming too.
    """
    first = -1
    pair = 0
    for coming in range(slots):
        for coming_too in range(coming + 1, slots):
            if pair % lanes() == lane() and pairs.gains[pair] == most:
                number = _first_leaving(
                    items, packing, heavy, light, slots, copies, most, pairs.sums[pair], coming * slots + coming_too
                )
                if number >= 0 and (first < 0 or number < first):
                    first = number
            pair += 1
    _, first = best_lane(packing.loads.dtype.type(first >= 0), first)
    return first


@rule
def _first_leaving(
    items: Items,
    packing: Packing,
    heavy: int,
    light: int,
    slots: int,
    copies: int,
    most: Any,
    back: Any,
    coming_pair: int,
) -> int:
    """Give the lowest number of an allowed swap that gains the most for one pair of the light pack, which sums to back."""
    loads = packing.loads
    gap = packing.pack_loads[heavy] - packing.pack_loads[light]
    for leaving in range(slots):
        for leaving_too in range(leaving + 1, slots):
            delta = loads[heavy * slots + leaving] + loads[heavy * slots + leaving_too] - back
            if min(delta, gap - delta) == most:
                number = (leaving * slots + leaving_too) * slots * slots + coming_pair
                if copies == 0 or may_swap(
                    items,
                    packing,
                    heavy,
                    light,
                    slots,
                    leaving,
                    leaving_too,
                    coming_pair // slots,
                    coming_pair % slots,
                    copies,
                ):
                    return number
    return -1


@rule
def may_swap(
    items: Items,
    packing: Packing,
    heavy: int,
    light: int,
    slots: int,
    leaving: int,
    leaving_too: int,
    coming: int,
    coming_too: int,
    copies: int,
) -> bool:
    """Tell whether a swap of two items for two, or of one for one named twice, leaves at most copies replicas of an expert."""
    return _has_room(
        items, packing, light * slots, slots, coming, coming_too, heavy * slots + leaving, heavy * slots + leaving_too, copies
    ) and _has_room(
        items, packing, heavy * slots, slots, leaving, leaving_too, light * slots + coming, light * slots + coming_too, copies
    )


@rule
def _has_room(
    items: Items, packing: Packing, first: int, slots: int, out: int, out_too: int, place: int, place_too: int, copies: int
) -> bool:
    """Tell whether the pack whose slots start at first may take the items in two places instead of two of its own."""
    one = items.experts[packing.items[place]]
    other = items.experts[packing.items[place_too]]
    if items.counts[one] <= copies and items.counts[other] <= copies:
        return True
    held = held_too = np.int32(1) + np.int32(place != place_too and one == other)
    for slot in range(slots):
        if slot != out and slot != out_too:
            expert = items.experts[packing.items[first + slot]]
            held += np.int32(expert == one)
            held_too += np.int32(expert == other)
    return held <= copies and held_too <= copies
