"""How do the lanes of a warp find the best swap of one item for one?  It is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules.partners import search_partners
from ..rules.words import best_lane, lane, parts, times
from .apart import all_may_swap, may_swap_one
from .block import WARP
from .instructions import among, either, quotient
from .strips import rest

__all__: list[str] = []

WHOLE_BITS = 16
SLOT_BITS = 5  # of the number of a swap between packs of at most WARP slots


def _search_partners(items, packing, ranking, place, partners, first, copies, least, keys):  # type: ignore[no-untyped-def]
    def search_partners(items, packing, ranking, place, partners, first, copies, least, keys):  # type: ignore[no-untyped-def]
        """Look without minding replicas first, in packs of few slots: what is best then is nearly always allowed."""
        slots, heavy = np.int32(packing.slots), np.int32(ranking[place])
        if slots <= WARP:
            step, leaving, coming = _search_freely(packing, ranking, heavy, np.int32(partners), first, least)
            if step < 0 or copies == 0:
                return np.int64(step), np.int64(leaving), np.int64(coming)
            light = np.int32(ranking[np.int32(len(ranking)) - 1 - step])
            if all_may_swap(items, packing, heavy, light, leaving, leaving, coming, coming, copies):
                return np.int64(step), np.int64(leaving), np.int64(coming)
        return _search_with_care(items, packing, ranking, heavy, np.int32(partners), first, np.int32(copies), least)

    return search_partners


@jit
def _search_freely(packing, ranking, heavy, partners, first, least):  # type: ignore[no-untyped-def]
    """Let each lane try all that may leave for what comes from a slot of one partner, and then from one of another.

    Gives the partner, or -1, the slot that leaves and the one that comes.  As many partners stand abreast as there are lanes
    for their slots; lanes that are left over, and those beyond the last partner, do the same as others.  Each round has to
    gain more than those before it.
    """
    value = packing.loads.dtype.type
    slots, last = np.int32(packing.slots), np.int32(len(ranking) - 1)
    inverse = np.int32(quotient((1 << WHOLE_BITS) - 1, slots) + 1)  # for so few lanes as good as a division
    abreast, group = np.int32(np.int32(WARP * inverse) >> WHOLE_BITS), np.int32(np.int32(lane() * inverse) >> WHOLE_BITS)
    slot, group = np.int32(lane() - np.int32(group * slots)), min(group, np.int32(abreast - 1))
    share, sharing = np.int32(0), np.int32(1)
    if partners == 1:  # lanes share it
        share, sharing, group = group, abreast, np.int32(0)
    heavy_load, heavy_loads = packing.pack_loads[heavy], rest(packing.loads, heavy * slots)
    gain, choice, start = least, np.int32(-1), np.int32(0)
    while start < partners and (choice < 0 or not first):
        step = min(np.int32(start + group), np.int32(partners - 1))
        next_step = min(np.int32(step + abreast), np.int32(partners - 1))
        light, next_light = np.int32(ranking[last - step]), np.int32(ranking[last - next_step])
        gap, next_gap = heavy_load - packing.pack_loads[light], heavy_load - packing.pack_loads[next_light]
        if among(times(gap, value(0.5)) > gain) == 0:
            break
        load, next_load = packing.loads[np.int32(light * slots) + slot], packing.loads[np.int32(next_light * slots) + slot]
        limits = _limit(gap, gain), _limit(next_gap, gain)
        better, leaving, next_better, next_leaving = _best_leaving(
            heavy_loads, slots, share, sharing, (load, next_load), (gap, next_gap), limits, start + abreast < partners
        )
        if leaving < 0 or (next_better > better and next_leaving >= 0 and not first):
            better, leaving, step = next_better, next_leaving, next_step
        found = np.int32(np.int32(step << np.int32(2 * SLOT_BITS)) | np.int32(leaving << np.int32(SLOT_BITS)) | slot)
        if leaving < 0:
            better, found = gain, np.int32(-1)
        gain, choice = _agree(better, found, step, first, least, choice)
        start = np.int32(np.int32(start + abreast) + abreast)
    slot_of = np.int32(WARP - 1)
    return choice >> np.int32(2 * SLOT_BITS), (choice >> np.int32(SLOT_BITS)) & slot_of, choice & slot_of


@jit
def _agree(gain, found, step, first, least, choice):  # type: ignore[no-untyped-def]
    """Hand every lane the best swap of a round, or what was chosen before; if first, of the lightest partner that has any."""
    if first:
        _, lightest = best_lane(type(gain)(found >= 0), step)
        if step != lightest:
            gain, found = least, np.int32(-1)
    gain, chosen = best_lane(gain, either(found >= 0, found, choice))
    return gain, np.int32(chosen)


@jit
def _limit(gap, gain):  # type: ignore[no-untyped-def]
    """Give what a swap with a partner has to gain more than: nothing does if half the gap to the partner does not."""
    return either(times(gap, type(gain)(0.5)) > gain, gain, type(gain)(np.inf))


@jit
def _best_leaving(heavy_loads, slots, share, sharing, loads, gaps, limits, both):  # type: ignore[no-untyped-def]
    """Find, for a load of one or both partners, which slot of the heavy pack is best to swap for it: gains and slots, or -1.

    Four are tried at a time, for reading takes longest; beyond the end the last one again, which does no harm.
    """
    (load, next_load), (gap, next_gap), (gain, next_gain) = loads, gaps, limits
    chosen, next_chosen = np.int32(-1), np.int32(-1)
    one, last = share, np.int32(slots - 1)
    while one < slots:
        two = min(np.int32(one + sharing), last)
        three = min(np.int32(two + sharing), last)
        four = min(np.int32(three + sharing), last)
        places, leaving = (one, two, three, four), (heavy_loads[one], heavy_loads[two], heavy_loads[three], heavy_loads[four])
        gain, chosen = _best_of_four(places, leaving, load, gap, gain, chosen)
        if both:
            next_gain, next_chosen = _best_of_four(places, leaving, next_load, next_gap, next_gain, next_chosen)
        one = np.int32(one + np.int32(4 * sharing))
    return gain, chosen, next_gain, next_chosen


@jit
def _best_of_four(places, leaving, load, gap, gain, chosen):  # type: ignore[no-untyped-def]
    """Keep the first of four places that gains most, if it gains more than what was chosen before."""
    first, place = _better_of(_gain_of(leaving[1] - load, gap), places[1], _gain_of(leaving[0] - load, gap), places[0])
    second, next_place = _better_of(_gain_of(leaving[3] - load, gap), places[3], _gain_of(leaving[2] - load, gap), places[2])
    first, place = _better_of(second, next_place, first, place)
    return _better_of(first, place, gain, chosen)


@jit
def _gain_of(delta, gap):  # type: ignore[no-untyped-def]
    rest_of_gap = gap - delta
    return either(delta < rest_of_gap, delta, rest_of_gap)


@jit
def _better_of(better, rival, gain, chosen):  # type: ignore[no-untyped-def]
    """Keep the slot that gains more."""
    is_better = better > gain
    return either(is_better, better, gain), either(is_better, rival, chosen)


@jit
def _search_with_care(items, packing, ranking, heavy, partners, first, copies, least):  # type: ignore[no-untyped-def]
    """Let each lane take what may leave for a partner, and find what is best to come; copies 0 is no limit to replicas."""
    value = packing.loads.dtype.type
    slots, last = np.int32(packing.slots), np.int32(len(ranking) - 1)
    abreast = max(np.int32(quotient(WARP, slots)), np.int32(1))
    group = np.int32(quotient(lane(), slots))
    own_slot = np.int32(lane() - np.int32(group * slots))
    if slots > WARP:
        group, own_slot = np.int32(0), np.int32(lane())
    heavy_load, heavy_loads = packing.pack_loads[heavy], rest(packing.loads, heavy * slots)
    gain, choice, start = least, np.int32(-1), np.int32(0)
    while start < partners and (choice < 0 or not first):
        if times(heavy_load - packing.pack_loads[ranking[last - start]], value(0.5)) <= gain:
            break
        step, found = np.int32(start + group), np.int32(-1)
        if group < abreast and step < partners:
            light, leaving = np.int32(ranking[last - step]), own_slot
            gap = heavy_load - packing.pack_loads[light]
            while leaving < slots and times(gap, value(0.5)) > gain:
                gain, coming = _best_coming(
                    items, packing, heavy, light, slots, leaving, heavy_loads[leaving], gap, copies, gain
                )
                if coming >= 0:
                    found = np.int32(np.int32(np.int32(np.int32(step * slots) + leaving) * slots) + coming)
                leaving = np.int32(leaving + WARP)
        gain, choice = _agree(gain, found, step, first, least, choice)
        start = np.int32(start + abreast)
    if choice < 0:
        return np.int64(-1), np.int64(-1), np.int64(-1)
    step, places = parts(choice, slots * slots)
    leaving, coming = parts(places, slots)
    return step, leaving, coming


@jit
def _best_coming(items, packing, heavy, light, slots, leaving, load, gap, copies, gain):  # type: ignore[no-untyped-def]
    """Find the slot of a light pack that is best to swap for one of the heavy pack's, as `best_swap` does; or (gain, -1).

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
        if copies == 0 or may_swap_one(items, packing, heavy, light, slots, leaving, coming, copies):
            gain, chosen = delta, coming
        coming = np.int32(coming - 1)
    coming = middle
    while coming < slots:
        rest_of_gap = gap - (load - loads[coming])
        if rest_of_gap <= gain:
            break
        if copies == 0 or may_swap_one(items, packing, heavy, light, slots, leaving, coming, copies):
            gain, chosen = rest_of_gap, coming
            break
        coming = np.int32(coming + 1)
    return gain, chosen


overload(search_partners, target="cuda")(_search_partners)
