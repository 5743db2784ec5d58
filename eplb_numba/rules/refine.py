"""How are the heaviest packs relieved after the greedy start?  By swaps with lighter ones, one at a time.

No swap raises the largest load: `carry_out` sees to that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ceiling import Ceiling, sunk
from .partners import search_partners
from .relief import Swap, carry_out, sort_packs
from .scratch import recall
from .sort import sort_descending
from .sums import total_in_line
from .swap import best_pair_swap, list_pairs
from .terms import AFTER, FIRST, LIGHTEST, ROUNDING, TOGETHER, Tactics, Tools
from .words import barrier, each, just_below, mine, rule, times

__all__ = ["refine"]


@rule
def _swap_of(heavy: int, light: int, leaving: int, leaving_too: int, coming: int, coming_too: int) -> Swap:
    """Describe a swap with few bits: a GPU chooses between two half as fast where numbers have 64."""
    return Swap(
        np.int32(heavy), np.int32(light), np.int32(leaving), np.int32(leaving_too), np.int32(coming), np.int32(coming_too)
    )


NO_SWAP = _swap_of(-1, -1, -1, -1, -1, -1)


@rule
def refine(tools: Tools, tactics: Tactics, copies: int, bound: Any, ceiling: Ceiling) -> None:
    """Swap items as the tactics allow, until the largest load of the trial packing is near enough to the bound.

    It also ends as soon as it is clear that the largest load will not come below the ceiling: a swap relieves one pack.  The
    other one gets heavier; that its sum may be rounded down is reckoned with.
    """
    _settle(tools)
    slots = tools.desk.trial.slots
    level = _with_rounding(ceiling.level, slots)
    least = times(bound, tactics.least_gain)
    target = times(bound, tactics.limit)
    # On a GPU each count with 64 bits would take up two registers all the time.
    swaps, pair_swaps = np.int32(tactics.swaps), np.int32(tactics.pair_swaps if slots <= tactics.pair_slots else 0)
    are_listed = False
    rounds = max(swaps, pair_swaps) if tactics.pairs == TOGETHER else np.int32(swaps + pair_swaps)
    # Together, pairs are first: few swaps of one for one gain as much, and the search for those soon finds that out.
    pairs_first = tactics.pairs == TOGETHER
    by_pairs, gain, swap = pairs_first, least, NO_SWAP
    while rounds > 0 and _load_in_place(tools, 0) > target and not _is_lost(tools, min(rounds, swaps + pair_swaps), level):
        if by_pairs:
            if pair_swaps > 0:
                if not are_listed:
                    list_pairs(recall(tools).desk.pairs, slots)
                    are_listed = True
                gain, swap = _search_pairs(tools, tactics, copies, least)
        elif swaps > 0:
            most, enough = (1, just_below(gain)) if swap.heavy >= 0 else (tactics.heaviest, least)
            single_swap = _search(tools, tactics, copies, most, enough)
            if single_swap.heavy >= 0:
                swap = single_swap
            elif tactics.pairs == AFTER:
                swaps = np.int32(0)
        if by_pairs == pairs_first and (pairs_first or swap.heavy < 0):
            by_pairs = not by_pairs  # what is best only the other search can tell
            if by_pairs and not are_listed:  # pairs take longest: others may have shown meanwhile that they are for nothing
                level = _with_rounding(sunk(ceiling).level, slots)
            continue
        if swap.heavy < 0:
            break
        if swap.leaving_too < 0:
            swaps = np.int32(swaps - 1)
        else:
            pair_swaps = np.int32(pair_swaps - 1)
        if not carry_out(tools, swap):
            break
        rounds = np.int32(rounds - 1)
        by_pairs, gain, swap = pairs_first, least, NO_SWAP


@rule
def _load_in_place(tools: Tools, place: int) -> Any:
    """Give the load of the pack in some place of the ranking: the heaviest one has place 0."""
    desk = recall(tools).desk
    return desk.trial.pack_loads[desk.ranking[place]]


@rule
def _with_rounding(level: Any, slots: int) -> Any:
    """Raise a level by more than the sum of so many slots may be rounded down."""
    return level + times(level, type(level)(slots * ROUNDING))


@rule
def _is_lost(tools: Tools, swaps: int, level: Any) -> bool:
    """Tell whether more packs have come up to a level than there are swaps left to relieve them."""
    return swaps < len(tools.desk.ranking) and not _load_in_place(tools, swaps) < level


@rule
def _search(tools: Tools, tactics: Tactics, copies: int, heaviest: int, least: Any) -> Swap:
    """Look for a swap of one item for one that one of the heaviest packs has with the partners that the tactics name."""
    _, items, _, desk, _ = recall(tools)
    num_packs = len(desk.ranking)
    for place in each(min(heaviest, num_packs - 1)):
        partners = 1 if tactics.partners == LIGHTEST else num_packs - 1 - place
        step, leaving, coming = search_partners(
            items, desk.trial, desk.ranking, place, partners, tactics.partners == FIRST, copies, least, desk.keys
        )
        if step >= 0:
            return _swap_of(place, num_packs - 1 - step, leaving, -1, coming, -1)
    return NO_SWAP


@rule
def _search_pairs(tools: Tools, tactics: Tactics, copies: int, least: Any) -> tuple[Any, Swap]:
    """Look likewise for a swap of two for two that the heaviest pack has with those that the tactics name; give its gain."""
    num_packs = len(tools.desk.ranking)
    gain, swap = least, NO_SWAP
    for step in each(1 if tactics.pair_partners == LIGHTEST else num_packs - 1):
        desk = recall(tools).desk
        heavy, light = np.int64(desk.ranking[0]), np.int64(desk.ranking[num_packs - 1 - step])
        gap = desk.trial.pack_loads[heavy] - desk.trial.pack_loads[light]
        if times(gap, desk.trial.loads.dtype.type(0.5)) <= gain:
            break
        better, leaving, leaving_too, coming, coming_too = best_pair_swap(tools, heavy, light, copies, gain)
        if leaving >= 0:
            gain, swap = better, _swap_of(0, num_packs - 1 - step, leaving, leaving_too, coming, coming_too)
            if tactics.pair_partners == FIRST:
                break
    return gain, swap


@rule
def _settle(tools: Tools) -> None:
    """Sort and sum the packs, and rank them."""
    _, items, _, desk, _ = recall(tools)
    packing, ranking = desk.trial, desk.ranking
    num_packs = len(ranking)
    slots = packing.slots
    sort_packs(items, packing)
    for pack in mine(num_packs):
        packing.pack_loads[pack] = total_in_line(packing.loads, pack * slots, slots)
    barrier()
    sort_descending(packing.pack_loads, ranking, desk.spare, desk.marks)
