"""How do the lanes of a block swap items between packs?  What they come to is what one lane would have come to."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import refine
from ..rules.scratch import recall
from ..rules.swap import may_swap
from ..rules.words import barrier, best_lane, lane, lanes, mine, times
from .block import ALL, WARP
from .contests import stands_before
from .instructions import added, quotient

__all__: list[str] = []


def _search_partners(items, packing, ranking, place, partners, first, copies, least):  # type: ignore[no-untyped-def]
    def search_partners(items, packing, ranking, place, partners, first, copies, least):  # type: ignore[no-untyped-def]
        """Let each lane find the best that may come from a partner for what leaves the heavy pack.

        If any gain will do, there are no more partners in a round than lanes to look at them at once.
        """
        value = packing.loads.dtype.type
        slots = packing.slots
        heavy = np.int64(ranking[place])
        heavy_load = packing.pack_loads[heavy]
        whole_steps = quotient(lanes(), slots)
        a_round = max(1, whole_steps) if first else partners
        for start in range(0, partners, a_round):
            gain, choice = least, np.int64(-1)
            end = min(start + a_round, partners)
            step = quotient(lane(), slots)
            leaving = lane() - step * slots
            step += start
            while step < end:
                light = np.int64(ranking[len(ranking) - 1 - step])
                gap = heavy_load - packing.pack_loads[light]
                if times(gap, value(0.5)) <= gain:
                    break
                load = packing.loads[heavy * slots + leaving]
                better, coming = _best_coming(items, packing, heavy, light, slots, leaving, load, gap, copies, gain)
                if coming >= 0:
                    gain = better
                    choice = (step * slots + leaving) * slots + coming
                step += whole_steps
                leaving += lanes() - whole_steps * slots
                if leaving >= slots:
                    leaving -= slots
                    step += 1
            if first:
                found, lightest = best_lane(value(choice >= 0), quotient(max(choice, 0), slots * slots))
                if found == 0:
                    continue
                if choice < 0 or quotient(choice, slots * slots) != lightest:
                    gain, choice = least, np.int64(-1)
            gain, choice = best_lane(gain, choice)
            if choice >= 0:
                return gain, choice
        return least, np.int64(-1)

    return search_partners


@jit
def _best_coming(items, packing, heavy, light, slots, leaving, load, gap, copies, gain):  # type: ignore[no-untyped-def]
    """Find the slot of the light pack that is best to swap for one of the heavy pack's, as `best_swap` does; or (gain, -1).

    The light pack's loads fall from slot to slot, so what a swap gains rises to a middle and falls from there.
    """
    loads, first = packing.loads, light * slots
    chosen = np.int64(-1)
    middle, end = np.int64(0), np.int64(slots)  # the first slot past the middle is in [middle, end]
    while middle < end:
        between = (middle + end) >> 1
        delta = load - loads[first + between]
        if delta > gap - delta:
            end = between
        else:
            middle = between + 1
    coming = middle - 1
    while coming >= 0:
        delta = load - loads[first + coming]
        if delta < gain or (delta == gain and chosen < 0):
            break
        if copies == 0 or may_swap(items, packing, heavy, light, slots, leaving, leaving, coming, coming, copies):
            gain, chosen = delta, coming
        coming -= 1
    coming = middle
    while coming < slots:
        rest = gap - (load - loads[first + coming])
        if rest <= gain:
            break
        if copies == 0 or may_swap(items, packing, heavy, light, slots, leaving, leaving, coming, coming, copies):
            gain, chosen = rest, coming
            break
        coming += 1
    return gain, chosen


def _carry_out(tools, swap):  # type: ignore[no-untyped-def]
    def carry_out(tools, swap):  # type: ignore[no-untyped-def]
        """Copy the two packs to the draft with their items exchanged, and put them in order from there."""
        desk = recall(tools).desk
        packing, draft = desk.trial, desk.draft
        slots = packing.slots
        heavy, light = swap.heavy * slots, swap.light * slots - slots  # where slots of the draft stand in the packing
        for place in mine(2 * slots):
            source = _exchanged(place, swap, slots)
            source += heavy if source < slots else light
            draft.items[place] = packing.items[source]
            draft.loads[place] = packing.loads[source]
        barrier()
        for place in mine(2 * slots):
            first = 0 if place < slots else slots
            load = draft.loads[place]
            target = first + (heavy if place < slots else light)
            for rival in range(first, first + slots):
                rival_load = draft.loads[rival]
                target += (rival_load > load) | ((rival_load == load) & (rival < place))
            packing.items[target] = draft.items[place]
            packing.loads[target] = load
        barrier()
        own = packing.loads.dtype.type(0)
        side = swap.light if lane() & 1 else swap.heavy
        for place in range(side * slots, (side + 1) * slots):
            own += packing.loads[place]
        other = cuda.shfl_xor_sync(ALL, own, 1)
        lowers = max(own, other) < packing.pack_loads[swap.heavy]
        barrier()
        if lowers:
            if lane() < 2:
                packing.pack_loads[side] = own
            barrier()
            _rank_again(packing.pack_loads, desk.ranking, desk.spare, swap.heavy, swap.light)
        else:
            for place in mine(2 * slots):
                target = place + (heavy if place < slots else light)
                source = _exchanged(place, swap, slots)
                packing.items[target] = draft.items[source]
                packing.loads[target] = draft.loads[source]
            barrier()
        return lowers

    return carry_out


@jit
def _exchanged(place, swap, slots):  # type: ignore[no-untyped-def]
    """Give the slot of the draft whose item a slot gets; each gets the other's."""
    if place == swap.leaving:
        return swap.coming + slots
    if place == swap.coming + slots:
        return swap.leaving
    if swap.leaving_too >= 0:
        if place == swap.leaving_too:
            return swap.coming_too + slots
        if place == swap.coming_too + slots:
            return swap.leaving_too
    return np.int64(place)


@jit
def _rank_again(loads, ranking, spare, one, other):  # type: ignore[no-untyped-def]
    """Rank the packs after two of them have got other loads: each of the rest moves by the two at most.

    There are fewer than 2**16 packs, so two counts go into one number.
    """
    one_load, other_load = loads[one], loads[other]
    places, ahead = np.uint32(0), np.uint32(0)
    for place in range(lane() & (WARP - 1), len(ranking), WARP):
        pack = np.int64(ranking[place])
        load = loads[pack]
        if pack == one:
            places = np.uint32(places + place)
        elif stands_before(load, pack, one_load, one):
            ahead = np.uint32(ahead + 1)
        if pack == other:
            places = np.uint32(places + (place << 16))
        elif stands_before(load, pack, other_load, other):
            ahead = np.uint32(ahead + 65536)
    places, ahead = added(places), added(ahead)
    one_place, other_place = np.int64(places & 0xFFFF), np.int64(places >> 16)
    for place in mine(len(ranking)):
        pack = np.int64(ranking[place])
        if pack == one:
            spare[np.int64(ahead & 0xFFFF)] = pack
        elif pack == other:
            spare[np.int64(ahead >> 16)] = pack
        else:
            load = loads[pack]
            target = place - (one_place < place) - (other_place < place)
            target += stands_before(one_load, one, load, pack) + stands_before(other_load, other, load, pack)
            spare[target] = pack
    barrier()
    for place in mine(len(ranking)):
        ranking[place] = spare[place]
    barrier()


overload(refine.search_partners, target="cuda")(_search_partners)
overload(refine.carry_out, target="cuda")(_carry_out)
