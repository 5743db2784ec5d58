"""How does a swap relieve a pack, while packs stay sorted, summed and ranked?

Inside a pack the items stand heaviest first, and its load is their sum in that order.  A swap is carried out only if the sums
that it leaves are really lower, so no swap raises the largest load, whatever the rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .scratch import recall
from .terms import Items, Packing, Tools
from .words import barrier, inlined_word, lane, mine, rule, word

__all__ = ["Swap", "carry_out", "sort_packs"]


class Swap(NamedTuple):
    """Two packs and the slots whose items change places; the second slots are -1 where one item goes for one."""

    heavy: int  # the pack's place in the ranking
    light: int
    leaving: int
    leaving_too: int
    coming: int
    coming_too: int


@word
def sort_packs(items: Items, packing: Packing) -> None:
    """Note what each item weighs, and stand each pack's items heaviest first, equals as they stood."""
    slots = packing.slots
    for pack in mine(len(packing.pack_loads)):
        for place in range(pack * slots, (pack + 1) * slots):
            packing.loads[place] = items.loads[packing.items[place]]
        _sort(packing, pack, slots)
    barrier()


@rule
def _sort(packing: Packing, pack: int, slots: int) -> None:
    """Stand a pack's items heaviest first, equals as they stood."""
    items, loads = packing.items, packing.loads
    first = pack * slots
    for place in range(first + 1, first + slots):
        item, load = items[place], loads[place]
        hole = place
        while hole > first and loads[hole - 1] < load:
            items[hole] = items[hole - 1]
            loads[hole] = loads[hole - 1]
            hole -= 1
        items[hole] = item
        loads[hole] = load


@rule
def _rank_again(loads: Any, ranking: Any, heavy: int, light: int) -> None:
    """Sort the ranking after a swap: the heavy pack, which has got lighter, is moved back, and then the light one forward."""
    if lane() == 0:
        pack = ranking[light]
        _move(loads, ranking, heavy)
        _move(loads, ranking, light if ranking[light] == pack else light - 1)
    barrier()


@rule
def _move(loads: Any, ranking: Any, place: int) -> None:
    """Move the pack in some place of the ranking to where it belongs among the others."""
    pack = ranking[place]
    load = loads[pack]
    while place > 0 and not _goes_before(loads, ranking[place - 1], pack, load):
        ranking[place] = ranking[place - 1]
        place -= 1
    while place < len(ranking) - 1 and _goes_before(loads, ranking[place + 1], pack, load):
        ranking[place] = ranking[place + 1]
        place += 1
    ranking[place] = pack


@rule
def _goes_before(loads: Any, rival: int, pack: int, load: Any) -> bool:
    """Tell whether a pack goes before another one, whose load is given."""
    return loads[rival] > load or (loads[rival] == load and rival < pack)


@inlined_word
def carry_out(tools: Tools, swap: Swap) -> bool:
    """Carry out a swap if it lowers the larger of the two loads as summed, and tell whether it does."""
    desk = recall(tools).desk
    packing, ranking, pack_loads = desk.trial, desk.ranking, desk.draft.pack_loads
    slots = packing.slots
    heavy_pack, light_pack = np.int64(ranking[swap.heavy]), np.int64(ranking[swap.light])
    heavy, light = heavy_pack * slots, light_pack * slots
    leaving, leaving_too = heavy + swap.leaving, heavy + swap.leaving_too
    coming, coming_too = light + swap.coming, light + swap.coming_too
    if swap.leaving_too < 0:
        leaving_too = coming_too = -1
    for side in mine(2):
        if side == 0:
            pack_loads[side] = _sum_with(packing.loads, heavy, slots, leaving, leaving_too, coming, coming_too)
        else:
            pack_loads[side] = _sum_with(packing.loads, light, slots, coming, coming_too, leaving, leaving_too)
    barrier()
    lowers = max(pack_loads[0], pack_loads[1]) < packing.pack_loads[heavy_pack]
    barrier()
    if lowers:
        if lane() == 0:
            _exchange(packing, leaving, coming)
            if leaving_too >= 0:
                _exchange(packing, leaving_too, coming_too)
        barrier()
        for side in mine(2):
            pack = heavy_pack if side == 0 else light_pack
            _sort(packing, pack, slots)
            packing.pack_loads[pack] = pack_loads[side]
        barrier()
        _rank_again(packing.pack_loads, ranking, swap.heavy, swap.light)
    return lowers


@rule
def _sum_with(loads: Any, first: int, slots: int, out: int, out_too: int, place: int, place_too: int) -> Any:
    """Add up a pack, heaviest first, as it is once it has the items in two places instead of two of its own.

    The second ones are -1 where there is one.
    """
    none = loads.dtype.type(-1)
    high, low = loads[place], loads[place_too] if place_too >= 0 else none
    if high < low:
        high, low = low, high
    total = loads.dtype.type(0)
    for slot in range(first, first + slots):
        if slot != out and slot != out_too:
            load = loads[slot]
            while high > load:
                total += high
                high, low = low, none
            total += load
    while high >= 0:
        total += high
        high, low = low, none
    return total


@rule
def _exchange(packing: Packing, one: int, other: int) -> None:
    """Let two slots change their items."""
    items, loads = packing.items, packing.loads
    items[one], items[other] = items[other], items[one]
    loads[one], loads[other] = loads[other], loads[one]
