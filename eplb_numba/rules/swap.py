"""Which swap between a heavy and a lighter pack brings the two nearest to each other?

Moving delta = (what leaves the heavy pack) - (what comes back) lowers the larger of the two loads by min(delta, gap - delta),
where gap is the difference of the loads.  The same swap is best for "smallest gap", "smallest maximum" and "smallest sum of
squares", so one search serves every policy.  Packs hold their items heaviest first.
"""

from __future__ import annotations

from typing import Any

from .greedy import copies_among
from .terms import Items, Packing
from .words import lane, lanes, rule

__all__ = ["best_pair_swap", "best_swap"]


@rule
def best_swap(items: Items, packing: Packing, heavy: int, light: int, slots: int, copies: int, least: Any) -> tuple[Any, int]:
    """Find the best swap of one item for one; give its gain and leaving * slots + coming, or (least, -1) if none gains more.

    Equal gains go to the lowest leaving slot, then to the lowest coming slot.  copies limits the replicas of one expert in
    a pack; 0 is no limit.
    """
    loads = packing.loads
    gap = packing.pack_loads[heavy] - packing.pack_loads[light]
    gain = least
    choice = -1
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
            if copies == 0 or _may_swap(items, packing, heavy, light, slots, leaving, coming, copies):
                gain = delta
                choice = leaving * slots + coming
                found_here = True
        for coming in range(past_middle, slots):  # past it the gain is the rest of the gap: it shrinks on the way on
            rest = gap - (load - loads[light * slots + coming])
            if rest <= gain:
                break
            if copies == 0 or _may_swap(items, packing, heavy, light, slots, leaving, coming, copies):
                gain = rest
                choice = leaving * slots + coming
                break
    return gain, choice


@rule
def best_pair_swap(items: Items, packing: Packing, heavy: int, light: int, slots: int, copies: int, least: Any) -> tuple[Any, int]:
    """Find the best swap of two items for two; give its gain and its four slots as one number, or (least, -1).

    The number is ((leaving * slots + leaving too) * slots + coming) * slots + coming too; equal gains go to the lowest.
    """
    loads = packing.loads
    gap = packing.pack_loads[heavy] - packing.pack_loads[light]
    gain = least
    choice = -1
    for leaving_pair in range(lane(), slots * slots, lanes()):
        leaving = leaving_pair // slots
        leaving_too = leaving_pair % slots
        if leaving_too <= leaving:
            continue
        load = loads[heavy * slots + leaving] + loads[heavy * slots + leaving_too]
        for coming in range(slots - 1):
            for coming_too in range(coming + 1, slots):
                delta = load - (loads[light * slots + coming] + loads[light * slots + coming_too])
                improvement = min(delta, gap - delta)
                if improvement <= gain:
                    continue
                number = (leaving_pair * slots + coming) * slots + coming_too
                if copies == 0 or _may_swap_pairs(items, packing, heavy, light, slots, number, copies):
                    gain = improvement
                    choice = number
    return gain, choice


@rule
def _may_swap(items: Items, packing: Packing, heavy: int, light: int, slots: int, leaving: int, coming: int, copies: int) -> bool:
    """Tell whether a swap of one item for one leaves at most copies replicas of an expert in both packs."""
    leaves = items.experts[packing.items[heavy * slots + leaving]]
    comes = items.experts[packing.items[light * slots + coming]]
    if items.counts[leaves] > copies:
        if copies_among(items, leaves, packing, light * slots, (light + 1) * slots) >= copies:
            return False
    if items.counts[comes] > copies:
        if copies_among(items, comes, packing, heavy * slots, (heavy + 1) * slots) >= copies:
            return False
    return True


@rule
def _may_swap_pairs(items: Items, packing: Packing, heavy: int, light: int, slots: int, number: int, copies: int) -> bool:
    """Tell the same of a swap of two items for two."""
    leaves = items.experts[packing.items[heavy * slots + number // (slots * slots * slots)]]
    leaves_too = items.experts[packing.items[heavy * slots + number // (slots * slots) % slots]]
    comes = items.experts[packing.items[light * slots + number // slots % slots]]
    comes_too = items.experts[packing.items[light * slots + number % slots]]
    for newcomer in (leaves, leaves_too):
        held = copies_among(items, newcomer, packing, light * slots, (light + 1) * slots)
        held += _times(newcomer, leaves, leaves_too) - _times(newcomer, comes, comes_too)
        if held > copies:
            return False
    for newcomer in (comes, comes_too):
        held = copies_among(items, newcomer, packing, heavy * slots, (heavy + 1) * slots)
        held += _times(newcomer, comes, comes_too) - _times(newcomer, leaves, leaves_too)
        if held > copies:
            return False
    return True


@rule
def _times(expert: int, one: int, other: int) -> int:
    """Tell how many of two experts are the given one."""
    return int(expert == one) + int(expert == other)
