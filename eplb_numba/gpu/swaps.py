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
from .instructions import added, among, either, first_of, meet_warp
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
        packing, slots = desk.trial, np.int32(desk.trial.slots)
        if 2 * slots <= WARP:
            own, item, load = _exchange_by_lanes(packing, swap, slots)
        else:
            own, item, load = np.int32(0), np.int32(0), packing.loads.dtype.type(0)
            _exchange_by_draft(packing, desk.draft, swap, slots)
        barrier()
        side = np.int32(swap.light) if lane() & 1 else np.int32(swap.heavy)
        total = total_in_line(packing.loads, side * slots, slots)
        lowers = max(total, cuda.shfl_xor_sync(ALL, total, 1)) < packing.pack_loads[swap.heavy]
        barrier()
        if lowers:
            if lane() < 2:
                packing.pack_loads[side] = total
            barrier()
            if len(desk.ranking) <= WARP:
                _rank_few_again(packing.pack_loads, desk.ranking, np.int32(swap.heavy), np.int32(swap.light))
            else:
                _rank_again(packing.pack_loads, desk.ranking, desk.spare, np.int32(swap.heavy), np.int32(swap.light))
            return lowers
        if 2 * slots <= WARP:
            if lane() < 2 * slots:
                packing.items[own], packing.loads[own] = item, load
        else:
            _change_back(packing, desk.draft, swap, slots)
        barrier()
        return lowers

    return carry_out


@jit
def _exchange_by_lanes(packing, swap, slots):  # type: ignore[no-untyped-def]
    """Let each lane take a slot; give where it is and what was there before.

    All but the items that are exchanged stand in order already: they move by those alone.
    """
    own, ends = np.int32(lane()), np.int32(slots + slots)
    is_heavy, first = own < slots, either(own < slots, np.int32(0), slots)
    place = np.int32(own + either(is_heavy, np.int32(swap.heavy * slots), np.int32(np.int32(swap.light - 1) * slots)))
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
def _exchange_by_draft(packing, draft, swap, slots):  # type: ignore[no-untyped-def]
    """Copy the two packs to the draft with their items exchanged, and put them in order from there."""
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


@jit
def _change_back(packing, draft, swap, slots):  # type: ignore[no-untyped-def]
    """Copy the two packs from the draft as they were."""
    heavy, light = np.int32(swap.heavy * slots), np.int32(np.int32(swap.light - 1) * slots)
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


@jit
def _rank_few_again(loads, ranking, one, other):  # type: ignore[no-untyped-def]
    """Do what `_rank_again` does, where no lane has more than one place of the ranking."""
    own, count = np.int32(lane()), np.int32(len(ranking))
    pack = np.int32(ranking[min(own, np.int32(count - 1))])
    load, one_load, other_load = loads[pack], loads[one], loads[other]
    is_there = own < count
    before_one = is_there & stands_before(load, pack, one_load, one)
    before_other = is_there & stands_before(load, pack, other_load, other)
    ahead_of_one, ahead_of_other = among(before_one), among(before_other)
    one_place, other_place = first_of(among(is_there & (pack == one))), first_of(among(is_there & (pack == other)))
    target = np.int32(np.int32(own - (np.int32(one_place) < own)) - (np.int32(other_place) < own))
    target = np.int32(np.int32(target + (not before_one)) + (not before_other))
    target = either(pack == one, np.int32(cuda.popc(ahead_of_one)), target)
    target = either(pack == other, np.int32(cuda.popc(ahead_of_other)), target)
    meet_warp()
    if is_there:
        ranking[target] = pack
    meet_warp()


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


overload(relief.sort_packs, target="cuda")(_sort_packs)
overload(relief.carry_out, target="cuda")(_carry_out)
