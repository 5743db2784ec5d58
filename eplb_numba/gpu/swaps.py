"""How do the lanes of a block swap items between packs?  What they come to is what one lane would have come to."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import refine
from ..rules.scratch import recall
from ..rules.sums import total_in_line
from ..rules.words import barrier, best_lane, lane, lanes, mine, times
from .block import ALL, WARP
from .contests import stands_before
from .instructions import added, quotient
from .strips import rest

__all__: list[str] = []


def _search_partners(items, packing, ranking, place, partners, first, copies, least):  # type: ignore[no-untyped-def]
    def search_partners(items, packing, ranking, place, partners, first, copies, least):  # type: ignore[no-untyped-def]
        """Let each lane find the best that may come from a partner for what leaves the heavy pack.

        If any gain will do, there are no more partners in a round than lanes to look at them at once.
        """
        value = packing.loads.dtype.type
        slots, many, last = np.int32(packing.slots), np.int32(lanes()), np.int32(len(ranking) - 1)
        places = np.int32(slots * slots)
        heavy = np.int32(ranking[place])
        heavy_load = packing.pack_loads[heavy]
        heavy_loads = rest(packing.loads, heavy * slots)
        whole_steps = np.int32(quotient(many, slots))
        own_step = np.int32(quotient(lane(), slots))
        own_leaving = np.int32(lane() - np.int32(own_step * slots))
        over = np.int32(many - np.int32(whole_steps * slots))
        end, start = np.int32(partners), np.int32(0)
        a_round = max(np.int32(1), whole_steps) if first else end
        while start < end:
            gain, choice = least, np.int32(-1)
            round_end = min(np.int32(start + a_round), end)
            step, leaving = np.int32(start + own_step), own_leaving
            while step < round_end:
                light = np.int32(ranking[np.int32(last - step)])
                gap = heavy_load - packing.pack_loads[light]
                if times(gap, value(0.5)) <= gain:
                    break
                better, coming = _best_coming(
                    items, packing, heavy, light, slots, leaving, heavy_loads[leaving], gap, np.int32(copies), gain
                )
                if coming >= 0:
                    gain = better
                    choice = np.int32(np.int32(np.int32(np.int32(step * slots) + leaving) * slots) + coming)
                step, leaving = np.int32(step + whole_steps), np.int32(leaving + over)
                if leaving >= slots:
                    step, leaving = np.int32(step + 1), np.int32(leaving - slots)
            if first:
                own = np.int32(quotient(max(choice, np.int32(0)), places))
                found, lightest = best_lane(value(choice >= 0), own)
                if choice < 0 or own != lightest:
                    gain, choice = least, np.int32(-1)
                if found != 0:
                    return best_lane(gain, choice)
            else:
                return best_lane(gain, choice)
            start = np.int32(start + a_round)
        return least, np.int64(-1)

    return search_partners


@jit
def _best_coming(items, packing, heavy, light, slots, leaving, load, gap, copies, gain):  # type: ignore[no-untyped-def]
    """Find the slot of the light pack that is best to swap for one of the heavy pack's, as `best_swap` does; or (gain, -1).

    The light pack's loads fall from slot to slot, so what a swap gains rises to a middle and falls from there.
    """
    loads = rest(packing.loads, light * slots)
    chosen = np.int32(-1)
    middle, end = np.int32(0), slots  # the first slot past the middle is in [middle, end]
    while middle < end:
        between = np.int32(middle + end) >> np.int32(1)
        delta = load - loads[between]
        if delta > gap - delta:
            end = np.int32(between)
        else:
            middle = np.int32(between + 1)
    coming = np.int32(middle - 1)
    while coming >= 0:
        delta = load - loads[coming]
        if delta < gain or (delta == gain and chosen < 0):
            break
        if copies == 0 or _may_go(items, packing, heavy, light, slots, leaving, coming, copies):
            gain, chosen = delta, coming
        coming = np.int32(coming - 1)
    coming = middle
    while coming < slots:
        rest_of_gap = gap - (load - loads[coming])
        if rest_of_gap <= gain:
            break
        if copies == 0 or _may_go(items, packing, heavy, light, slots, leaving, coming, copies):
            gain, chosen = rest_of_gap, coming
            break
        coming = np.int32(coming + 1)
    return gain, chosen


@jit
def _may_go(items, packing, heavy, light, slots, leaving, coming, copies):  # type: ignore[no-untyped-def]
    """Tell what `may_swap` does of a swap of one for one: whether it leaves at most copies replicas of an expert in a pack."""
    heavy_items, light_items = rest(packing.items, heavy * slots), rest(packing.items, light * slots)
    leaves, comes = np.int32(items.experts[heavy_items[leaving]]), np.int32(items.experts[light_items[coming]])
    if items.counts[leaves] <= copies and items.counts[comes] <= copies:
        return True
    held_there, held_here, slot = np.int32(0), np.int32(0), np.int32(0)
    while slot < slots:
        there, here = np.int32(items.experts[light_items[slot]]), np.int32(items.experts[heavy_items[slot]])
        held_there = np.int32(held_there + ((there == leaves) & (slot != coming)))
        held_here = np.int32(held_here + ((here == comes) & (slot != leaving)))
        slot = np.int32(slot + 1)
    return (held_there < copies) & (held_here < copies)


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
overload(refine.search_partners, target="cuda")(_search_partners)
overload(refine.carry_out, target="cuda")(_carry_out)
