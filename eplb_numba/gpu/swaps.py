"""How do the lanes of a block carry out swaps between packs?  What they come to is what one lane would have come to."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import relief
from ..rules.scratch import recall
from ..rules.sums import total_in_line
from ..rules.words import barrier, lane, mine
from .block import ALL, WARP
from .contests import stands_before
from .instructions import among, either
from .ranking import rank_again
from .strips import rest

__all__: list[str] = []


def _sort_packs(items, packing):  # type: ignore[no-untyped-def]
    def sort_packs(items, packing):  # type: ignore[no-untyped-def]
        """Let each lane take packs: greedy packers leave them nearly in order."""
        slots = np.int32(packing.slots)
        for pack in mine(len(packing.pack_loads)):
            pack_items, pack_loads = rest(packing.items, pack * slots), rest(packing.loads, pack * slots)
            place, last = np.int32(0), items.loads.dtype.type(np.inf)
            while place < slots:
                item = pack_items[place]
                load, hole = items.loads[item], place
                pack_loads[place] = load
                if load > last:
                    while hole > 0 and pack_loads[hole - 1] < load:
                        pack_items[hole], pack_loads[hole] = pack_items[hole - 1], pack_loads[hole - 1]
                        hole = np.int32(hole - 1)
                    pack_items[hole], pack_loads[hole] = item, load
                else:
                    last = load
                place = np.int32(place + 1)
        barrier()

    return sort_packs


def _carry_out(tools, swap):  # type: ignore[no-untyped-def]
    def carry_out(tools, swap):  # type: ignore[no-untyped-def]
        """Stand the items of both packs as they do after the swap; if that is of no use, let them change back."""
        desk = recall(tools).desk
        packing, ranking, slots = desk.trial, desk.ranking, np.int32(desk.trial.slots)
        heavy, light = np.int32(ranking[swap.heavy]), np.int32(ranking[swap.light])
        # Where slots of both stand in the packing: those of the light pack follow those of the heavy one.
        firsts = np.int32(heavy * slots), np.int32(np.int32(light - 1) * slots)
        if 2 * slots <= WARP:
            own, item, load = _exchange_by_lanes(packing, firsts, swap, slots)
        else:
            own, item, load = np.int32(0), np.int32(0), packing.loads.dtype.type(0)
            _exchange_by_draft(packing, desk.draft, firsts, swap, slots)
        barrier()
        side = light if lane() & 1 else heavy
        total = total_in_line(packing.loads, side * slots, slots)
        lowers = max(total, cuda.shfl_xor_sync(ALL, total, 1)) < packing.pack_loads[heavy]
        barrier()
        if lowers:
            rank_again(packing.pack_loads, ranking, swap, heavy, light, total)
            return lowers
        if 2 * slots <= WARP:
            if lane() < 2 * slots:
                packing.items[own], packing.loads[own] = item, load
        else:
            _change_back(packing, desk.draft, firsts, swap, slots)
        barrier()
        return lowers

    return carry_out


@jit
def _exchange_by_lanes(packing, firsts, swap, slots):  # type: ignore[no-untyped-def]
    """Let each lane take a slot; give where it is and what was there before.

    All but the items that are exchanged stand in order already: they move by those alone.
    """
    own, ends = np.int32(lane()), np.int32(slots + slots)
    is_heavy, first = own < slots, either(own < slots, np.int32(0), slots)
    place = np.int32(own + either(is_heavy, firsts[0], firsts[1]))
    place = either(own < ends, place, np.int32(0))
    old_item, old_load = np.int32(packing.items[place]), packing.loads[place]
    leaving, coming = np.int32(swap.leaving), np.int32(slots + swap.coming)
    leaving_too, coming_too = np.int32(swap.leaving_too), np.int32(slots + swap.coming_too)
    is_pair = leaving_too >= 0
    leaving_too, coming_too = either(is_pair, leaving_too, leaving), either(is_pair, coming_too, coming)
    one, other = either(is_heavy, leaving, coming), either(is_heavy, leaving_too, coming_too)
    source = either(own == one, either(is_heavy, coming, leaving), own)
    source = either(is_pair & (own == other), either(is_heavy, coming_too, leaving_too), source)
    item, load = cuda.shfl_sync(ALL, old_item, source), cuda.shfl_sync(ALL, old_load, source)
    # Which of the two that are new in a lane's pack stand before its own item, and before which does its own one stand?
    after_one = stands_before(cuda.shfl_sync(ALL, load, one), one, load, own)
    after_other = is_pair & stands_before(cuda.shfl_sync(ALL, load, other), other, load, own)
    stays = (own < ends) & (own != one) & (own != other)
    before_one, before_other = among(stays & (not after_one)), among(stays & (not after_other))
    here = np.uint32(np.uint32((np.uint32(1) << np.uint32(slots)) - np.uint32(1)) << np.uint32(first))
    target = np.int32(np.int32(own - (one < own)) - (is_pair & (other < own)))
    target = either(own == other, np.int32(first + np.int32(cuda.popc(np.uint32(before_other & here)))), target)
    target = either(own == one, np.int32(first + np.int32(cuda.popc(np.uint32(before_one & here)))), target)
    target = np.int32(np.int32(target + (after_one & (own != one))) + (after_other & (own != other)))
    barrier()
    if own < ends:
        target = np.int32(np.int32(target - own) + place)
        packing.items[target], packing.loads[target] = item, load
    return place, old_item, old_load


@jit
def _exchange_by_draft(packing, draft, firsts, swap, slots):  # type: ignore[no-untyped-def]
    """Copy the two packs to the draft with their items exchanged, and put them in order from there."""
    heavy, light = firsts
    for turn in mine(2 * slots):
        place = np.int32(turn)
        source = _exchanged(place, swap, slots)
        source = np.int32(source + (heavy if source < slots else light))
        draft.items[place], draft.loads[place] = packing.items[source], packing.loads[source]
    barrier()
    for turn in mine(2 * slots):
        place = np.int32(turn)
        rival = np.int32(0) if place < slots else slots
        end = np.int32(rival + slots)
        load, target = draft.loads[place], np.int32(rival + (heavy if place < slots else light))
        while rival < end:
            target = np.int32(target + stands_before(draft.loads[rival], rival, load, place))
            rival = np.int32(rival + 1)
        packing.items[target], packing.loads[target] = draft.items[place], load


@jit
def _change_back(packing, draft, firsts, swap, slots):  # type: ignore[no-untyped-def]
    """Copy the two packs from the draft as they were."""
    heavy, light = firsts
    for turn in mine(2 * slots):
        place = np.int32(turn)
        target = np.int32(place + (heavy if place < slots else light))
        source = _exchanged(place, swap, slots)
        packing.items[target], packing.loads[target] = draft.items[source], draft.loads[source]


@jit
def _exchanged(place, swap, slots):  # type: ignore[no-untyped-def]
    """Give the slot of the draft whose item a slot gets; each gets the other's."""
    leaving, coming = np.int32(swap.leaving), np.int32(swap.coming + slots)
    if place == leaving:
        return coming
    if place == coming:
        return leaving
    leaving, coming = np.int32(swap.leaving_too), np.int32(swap.coming_too + slots)
    if leaving >= 0:
        if place == leaving:
            return coming
        if place == coming:
            return leaving
    return place


overload(relief.sort_packs, target="cuda")(_sort_packs)
overload(relief.carry_out, target="cuda")(_carry_out)
