"""Which of its lighter partners can a pack best swap one item with?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .linked import on_cpu
from .swap import best_swap
from .terms import Items, Packing
from .words import rule, times

__all__ = ["ABREAST", "search_partners"]

ABREAST = 32  # partners that are looked at together
MOST_SLOTS = 16  # of packs that are: for more, to look at all swaps takes longer than to look for the best one


def search_partners(
    items: Items, packing: Packing, ranking: Any, place: int, partners: int, first: bool, copies: int, least: Any, keys: Any
) -> tuple[int, int, int]:
    """Find the best swap of one item for one between the pack in one place and its lightest partners.

    Gives which partner it is with, the slot that leaves and the one that comes, or -1 if none gains more than the least; equal
    gains go to the lightest partner.  If first is true, so does any gain.  Partners are looked at from the lightest up.  Half
    the gap is the most that a swap can gain, so the search ends where the gap is too small for a better one.  keys (items) is
    scratch.
    """
    return _search_one_by_one(items, packing, ranking, place, partners, first, copies, least)


@rule
def _search_one_by_one(
    items: Items, packing: Packing, ranking: Any, place: int, partners: int, first: bool, copies: int, least: Any
) -> tuple[int, int, int]:
    """Look at one partner after the other."""
    slots = packing.slots
    heavy = np.int64(ranking[place])
    gain, partner, leaving, coming = least, -1, -1, -1
    for step in range(partners):
        light = np.int64(ranking[len(ranking) - 1 - step])
        gap = packing.pack_loads[heavy] - packing.pack_loads[light]
        if times(gap, packing.loads.dtype.type(0.5)) <= gain:
            break
        better, leaves, comes = best_swap(items, packing, heavy, light, slots, copies, gain)
        if leaves >= 0:
            gain, partner, leaving, coming = better, step, leaves, comes
            if first:
                break
    return partner, leaving, coming


@rule
def _search_abreast(
    items: Items, packing: Packing, ranking: Any, place: int, partners: int, first: bool, copies: int, least: Any, keys: Any
) -> tuple[int, int, int]:
    """Look at one partner after the other, but only at those that have a swap that gains enough, replicas or not.

    Which these are is found out for many at a time, which is what vector units are fast at.
    """
    value = packing.loads.dtype.type
    slots, last = packing.slots, len(ranking) - 1
    heavy = np.int64(ranking[place])
    heavy_load = packing.pack_loads[heavy]
    columns, gaps, gains = keys[: slots * ABREAST], keys[slots * ABREAST :][:ABREAST], keys[(slots + 1) * ABREAST :][:ABREAST]
    gain, partner, leaving, coming = least, -1, -1, -1
    for start in range(0, partners, ABREAST):
        if times(heavy_load - packing.pack_loads[ranking[last - start]], value(0.5)) <= gain:
            break
        for turn in range(ABREAST):
            light = np.int64(ranking[last - min(start + turn, partners - 1)])
            gaps[turn], gains[turn] = heavy_load - packing.pack_loads[light], 0
            for slot in range(slots):
                columns[slot * ABREAST + turn] = packing.loads[light * slots + slot]
        _find_gains(packing.loads, heavy * slots, slots, columns, gaps, gains)
        for turn in range(min(ABREAST, partners - start)):
            if gains[turn] > gain:
                if times(gaps[turn], value(0.5)) <= gain:
                    return partner, leaving, coming
                light = np.int64(ranking[last - start - turn])
                better, leaves, comes = best_swap(items, packing, heavy, light, slots, copies, gain)
                if leaves >= 0:
                    gain, partner, leaving, coming = better, start + turn, leaves, comes
                    if first:
                        return partner, leaving, coming
    return partner, leaving, coming


@rule
def _find_gains(loads: Any, heavy: int, slots: int, columns: Any, gaps: Any, gains: Any) -> None:
    """Find the most that a swap of the pack whose slots begin at heavy gains with each of many partners, in columns."""
    for leaving in range(heavy, heavy + slots):
        load = loads[leaving]
        for slot in range(slots):
            column = columns[slot * ABREAST : (slot + 1) * ABREAST]
            for turn in range(ABREAST):
                delta = load - column[turn]
                rest = gaps[turn] - delta
                better = delta if delta < rest else rest
                best = gains[turn]
                gains[turn] = better if better > best else best


@on_cpu(search_partners)
def _search_partners_on_cpu(items, packing, ranking, place, partners, first, copies, least, keys):  # type: ignore[no-untyped-def]
    def search_partners(items, packing, ranking, place, partners, first, copies, least, keys):  # type: ignore[no-untyped-def]
        if partners > ABREAST and packing.slots <= MOST_SLOTS and (packing.slots + 2) * ABREAST <= len(keys):
            return _search_abreast(items, packing, ranking, place, partners, first, copies, least, keys)
        return _search_one_by_one(items, packing, ranking, place, partners, first, copies, least)

    return search_partners
