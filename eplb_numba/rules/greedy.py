"""Which pack does each item go to at first?  Heaviest item first, each onto the lightest pack with room."""

from __future__ import annotations

from typing import Any

import numpy as np

from .bracket import Bracket, bracket_size, champion, open_bracket, replay, seat
from .terms import Desk, Items, Packing
from .words import barrier, each, each_from, lane, mine, parts, rule, word

__all__ = ["holds", "make_way", "pack_greedily", "pack_one_by_one"]


@word
def pack_greedily(items: Items, desk: Desk, copies: int) -> None:
    """Pack the items in the desk's order; the lowest pack wins ties.  Writes items and pack loads of its trial.

    copies is the most replicas of one expert in a pack; 0 is any number.  Where there is a limit, no expert may have more
    replicas than packs * copies: then a place is always found.
    """
    pack_one_by_one(items, desk, copies, _begin_packs(items, desk), len(desk.order))


@rule
def pack_one_by_one(items: Items, desk: Desk, copies: int, packed: int, end: int) -> None:
    """Let the packs play for each of some items; one that may not take an expert sits out until another expert's turn."""
    order, packing, fill, bracket = desk.order, desk.trial, desk.fill, desk.bracket
    sitting_out = desk.ranking  # it is not needed yet, and there are no more packs that sit out than packs
    num_packs, slots = len(packing.pack_loads), packing.slots
    size = bracket_size(num_packs)
    endless = items.loads.dtype.type(np.inf)
    for pack in mine(num_packs):
        seat(bracket, size, pack, packing.pack_loads[pack] if fill[pack] < slots else endless)
    barrier()
    lead = open_bracket(bracket, size, num_packs)
    num_sitting_out = 0
    turn = -1
    for place in each_from(packed, end):
        item = np.int64(order[place])
        item_load = items.loads[item]
        if copies > 0 and items.experts[item] != turn:
            lead = _call_back(sitting_out, num_sitting_out, slots, packing, fill, bracket, size, lead)
            num_sitting_out = 0
            turn = np.int64(items.experts[item])
        lightest, pack = champion(lead)
        if copies > 0 and items.counts[turn] > copies:
            while lightest < endless and holds(items, turn, copies, pack, slots, packing, fill):
                if lane() == 0:
                    sitting_out[num_sitting_out] = pack
                num_sitting_out += 1
                lead = replay(bracket, size, pack, endless, lead)
                lightest, pack = champion(lead)
            if lightest == endless:
                lead = _call_back(sitting_out, num_sitting_out, slots, packing, fill, bracket, size, lead)
                num_sitting_out = 0
                lightest, pack = champion(lead)
                item = make_way(items, item, copies, pack, slots, packing, fill)
                item_load = items.loads[item]
        filled = np.int64(fill[pack]) + 1
        load = lightest + item_load  # the lightest pack plays with its load
        barrier()
        if lane() == 0:
            packing.items[pack * slots + filled - 1] = item
            packing.pack_loads[pack] = load
            fill[pack] = filled
        lead = replay(bracket, size, pack, load if filled < slots else endless, lead)
    barrier()


@rule
def _copies_among(items: Items, expert: int, packing: Packing, first: int, last: int) -> int:
    """Count the replicas of an expert in the positions [first, last) of a packing."""
    copies = 0
    for position in each_from(first, last):
        if items.experts[packing.items[position]] == expert:
            copies += 1
    return copies


@rule
def _begin_packs(items: Items, desk: Desk) -> int:
    """Put the first item with load into each pack; give the number of items packed.

    While there is an empty pack, it is lighter than any that has an item with load: no match need be played.
    """
    packing, order = desk.trial, desk.order
    num_packs = len(packing.pack_loads)
    begun = 0
    while begun < num_packs and items.loads[order[begun]] > 0:
        begun += 1
    for pack in mine(num_packs):
        desk.fill[pack] = 0
        packing.pack_loads[pack] = 0
        if pack < begun:
            desk.fill[pack] = 1
            packing.items[pack * packing.slots] = order[pack]
            packing.pack_loads[pack] = items.loads[order[pack]]
    barrier()
    return begun


@rule
def _call_back(
    sitting_out: Any, num_sitting_out: int, slots: int, packing: Packing, fill: Any, bracket: Bracket, size: int, lead: Any
) -> Any:
    """Let the packs that sat out take part again, with their load or, when full, as infinitely heavy; give the lead."""
    for index in each(num_sitting_out):
        pack = np.int64(sitting_out[index])
        load = packing.pack_loads[pack]
        lead = replay(bracket, size, pack, load if fill[pack] < slots else packing.pack_loads.dtype.type(np.inf), lead)
    return lead


@rule
def holds(items: Items, expert: int, copies: int, pack: int, slots: int, packing: Packing, fill: Any) -> bool:
    """Tell whether a pack that is being filled holds as many replicas of an expert as it may."""
    first = pack * slots
    return _copies_among(items, expert, packing, first, first + fill[pack]) >= copies


@rule
def make_way(items: Items, item: int, copies: int, pack: int, slots: int, packing: Packing, fill: Any) -> int:
    """Put an item that no pack with room may take onto a full pack; give the item that it displaces.

    The displaced item may go to the given pack, and there always is one.  Some full pack F may take the expert, because it
    has at most packs * copies replicas.  Were each other expert of F at its limit in the given pack, that pack would hold
    as many of them as F does, and copies of this expert besides: more than its slots.  Of all such items the one nearest in
    load is taken, then the lowest position.
    """
    chosen = -1
    nearest = items.loads.dtype.type(np.inf)
    for other in each(len(packing.pack_loads)):
        if holds(items, np.int64(items.experts[item]), copies, other, slots, packing, fill):
            continue
        for position in each_from(other * slots, (other + 1) * slots):
            displaced = packing.items[position]
            distance = abs(items.loads[displaced] - items.loads[item])
            if distance < nearest and not holds(items, np.int64(items.experts[displaced]), copies, pack, slots, packing, fill):
                nearest = distance
                chosen = position
    displaced = np.int64(packing.items[chosen])
    other, _ = parts(chosen, slots)
    barrier()
    if lane() == 0:
        packing.items[chosen] = item
        load = items.loads.dtype.type(0)
        for position in each_from(other * slots, (other + 1) * slots):
            load += items.loads[packing.items[position]]
        packing.pack_loads[other] = load
    barrier()
    return displaced
