"""How do the lanes of a block carry out swaps between packs?  What they come to is what one lane would have come to."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import refine
from ..rules.scratch import recall
from ..rules.sums import total_in_line
from ..rules.words import barrier, lane, mine
from .block import ALL, WARP
from .contests import stands_before
from .instructions import added, quotient

__all__: list[str] = []


def _sort_packs(items, packing, spare, keys):  # type: ignore[no-untyped-def]
    def sort_packs(items, packing, spare, keys):  # type: ignore[no-untyped-def]
        """Let each lane take items, and count how many of its pack stand before each."""
        count, slots = len(packing.items), np.int32(packing.slots)
        for place in mine(count):
            item = packing.items[place]
            spare[place], keys[place] = item, items.loads[item]
        barrier()
        for place in mine(count):
            first = np.int32(np.int32(quotient(place, slots)) * slots)
            load, target, rival = keys[place], first, first
            while rival < first + slots:
                target = np.int32(target + stands_before(keys[rival], rival, load, place))
                rival = np.int32(rival + 1)
            packing.items[target], packing.loads[target] = spare[place], load
        barrier()

    return sort_packs


def _carry_out(tools, swap):  # type: ignore[no-untyped-def]
    def carry_out(tools, swap):  # type: ignore[no-untyped-def]
        """Copy the two packs to the draft with their items exchanged, and put them in order from there."""
        desk = recall(tools).desk
        packing, draft = desk.trial, desk.draft
        slots = np.int32(packing.slots)
        # Where slots of the draft stand in the packing: those of the light pack follow those of the heavy one.
        heavy, light = np.int32(swap.heavy * slots), np.int32(np.int32(swap.light - 1) * slots)
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
        barrier()
        side = np.int32(swap.light) if lane() & 1 else np.int32(swap.heavy)
        own = total_in_line(packing.loads, side * slots, slots)
        other = cuda.shfl_xor_sync(ALL, own, 1)
        lowers = max(own, other) < packing.pack_loads[swap.heavy]
        barrier()
        if lowers:
            if lane() < 2:
                packing.pack_loads[side] = own
            barrier()
            _rank_again(packing.pack_loads, desk.ranking, desk.spare, np.int32(swap.heavy), np.int32(swap.light))
        else:
            for turn in mine(2 * slots):
                place = np.int32(turn)
                target = np.int32(place + (heavy if place < slots else light))
                source = _exchanged(place, swap, slots)
                packing.items[target], packing.loads[target] = draft.items[source], draft.loads[source]
            barrier()
        return lowers

    return carry_out


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


@jit
def _rank_again(loads, ranking, spare, one, other):  # type: ignore[no-untyped-def]
    """Rank the packs after two of them have got other loads: each of the rest moves by the two at most.

    There are fewer than 2**16 packs, so two counts go into one number.
    """
    one_load, other_load, count = loads[one], loads[other], np.int32(len(ranking))
    places, ahead = np.uint32(0), np.uint32(0)
    place = np.int32(lane() & (WARP - 1))
    while place < count:
        pack = np.int32(ranking[place])
        load = loads[pack]
        if pack == one:
            places = np.uint32(places + np.uint32(place))
        elif stands_before(load, pack, one_load, one):
            ahead = np.uint32(ahead + np.uint32(1))
        if pack == other:
            places = np.uint32(places + (np.uint32(place) << np.uint32(16)))
        elif stands_before(load, pack, other_load, other):
            ahead = np.uint32(ahead + np.uint32(65536))
        place = np.int32(place + WARP)
    places, ahead = added(places), added(ahead)
    one_place, other_place = np.int32(places & np.uint32(0xFFFF)), np.int32(places >> np.uint32(16))
    for turn in mine(count):
        place = np.int32(turn)
        pack = np.int32(ranking[place])
        load = loads[pack]
        target = np.int32(place - (one_place < place) - (other_place < place))
        target = np.int32(target + stands_before(one_load, one, load, pack) + stands_before(other_load, other, load, pack))
        if pack == one:
            target = np.int32(ahead & np.uint32(0xFFFF))
        if pack == other:
            target = np.int32(ahead >> np.uint32(16))
        spare[target] = pack
    barrier()
    for place in mine(count):
        ranking[place] = spare[place]
    barrier()


overload(refine.sort_packs, target="cuda")(_sort_packs)
overload(refine.carry_out, target="cuda")(_carry_out)
