"""How do the lanes of a warp rank the packs again when a swap has relieved one of them at the expense of another?"""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import register_jitable as jit

from ..rules.words import barrier, lane
from .block import ALL, WARP, WARP_BITS
from .contests import stands_before
from .instructions import among, either, meet_warp

__all__ = ["rank_again"]


@jit
def rank_again(loads, ranking, swap, heavy, light, total):  # type: ignore[no-untyped-def]
    """Give the packs of a swap the loads that lanes 0 and 1 have as totals, and rank all packs for that."""
    side = light if lane() & 1 else heavy
    if len(ranking) > WARP:
        _rank_many(loads, ranking, swap, heavy, light, cuda.shfl_sync(ALL, total, 0), cuda.shfl_sync(ALL, total, 1))
    if lane() < 2:
        loads[side] = total
    barrier()
    if len(ranking) <= WARP:
        _rank_few(loads, ranking, swap, heavy, light)


@jit
def _rank_few(loads, ranking, swap, heavy, light):  # type: ignore[no-untyped-def]
    """Count who stands before the two that have got other loads; each of the rest moves by the two at most."""
    own, count = np.int32(lane()), np.int32(len(ranking))
    pack = np.int32(ranking[min(own, np.int32(count - 1))])
    load, heavy_load, light_load, is_there = loads[pack], loads[heavy], loads[light], own < count
    before_heavy = is_there & stands_before(load, pack, heavy_load, heavy)
    before_light = is_there & stands_before(load, pack, light_load, light)
    ahead_of_heavy, ahead_of_light = among(before_heavy), among(before_light)
    target = np.int32(np.int32(own - (swap.heavy < own)) - (swap.light < own))
    target = np.int32(np.int32(target + (not before_heavy)) + (not before_light))
    target = either(own == swap.heavy, np.int32(cuda.popc(ahead_of_heavy)), target)
    target = either(own == swap.light, np.int32(cuda.popc(ahead_of_light)), target)
    meet_warp()
    if is_there:
        ranking[target] = pack
    meet_warp()


@jit
def _rank_many(loads, ranking, swap, heavy, light, heavy_load, light_load):  # type: ignore[no-untyped-def]
    """Move the light pack, forward unless its sum is rounded down, and then the heavy one back.

    So far all stand in order.  Where the two belong the first packs of as many stretches as there are lanes tell, and then
    those of one stretch.  Between where a pack stood and where it belongs each of the others moves by one place.
    """
    own, count, light_old = np.int32(lane()), np.int32(len(ranking)), loads[light]
    stretch = np.int32(np.int32(count + np.int32(WARP - 1)) >> np.int32(WARP_BITS))
    place = np.int32(own * stretch)
    pack, is_there = np.int32(ranking[min(place, np.int32(count - 1))]), place < count
    before_heavy = among(is_there & stands_before(loads[pack], pack, heavy_load, heavy))
    before_light = among(is_there & stands_before(loads[pack], pack, light_load, light))
    light_to = _place_from(before_light, stretch, light_load, light, loads, ranking)
    light_to = np.int32(light_to - stands_before(light_old, light, light_load, light))
    heavy_to = _place_from(before_heavy, stretch, heavy_load, heavy, loads, ranking)
    heavy_to = np.int32(np.int32(heavy_to - np.int32(1)) - stands_before(light_old, light, heavy_load, heavy))
    heavy_to = np.int32(heavy_to + stands_before(light_load, light, heavy_load, heavy))
    step = either(light_to < swap.light, np.int32(-1), np.int32(1))
    first, moved = np.int32(min(light_to, swap.light) + (step < 0)), np.uint32(abs(np.int32(light_to - swap.light)))
    moved_up = np.uint32(heavy_to - swap.heavy)
    last, place = max(max(light_to, swap.light), heavy_to), np.int32(np.int32(swap.heavy & np.int32(-WARP)) + own)
    pack = _pack_for(place, ranking, swap.heavy, moved_up, first, moved, step)
    while np.int32(place - own) <= last:
        # Those that come next are read before any of them is written over.
        next_pack = _pack_for(np.int32(place + WARP), ranking, swap.heavy, moved_up, first, moved, step)
        meet_warp()
        if place < count:
            ranking[place] = pack
        meet_warp()
        place, pack = np.int32(place + WARP), next_pack
    if own == 0:
        ranking[heavy_to] = heavy
        ranking[np.int32(light_to - ((swap.heavy < light_to) & (light_to <= heavy_to)))] = light


@jit
def _place_from(before, stretch, load, pack, loads, ranking):  # type: ignore[no-untyped-def]
    """Give how many packs stand before one with some load, if those do that are the first of stretches, a bit for each."""
    count, ahead = np.int32(len(ranking)), np.int32(np.int32(cuda.popc(before)) - np.int32(1))
    ahead = np.int32(max(ahead, np.int32(0)) * stretch)
    while True:
        place = np.int32(ahead + np.int32(lane()))
        rival = np.int32(ranking[min(place, np.int32(count - 1))])
        found = np.int32(cuda.popc(among((place < count) & stands_before(loads[rival], rival, load, pack))))
        ahead = np.int32(ahead + found)
        if found < WARP:
            return ahead


@jit
def _pack_for(place, ranking, heavy, moved_up, first, moved, step):  # type: ignore[no-untyped-def]
    """Tell who gets a place, unless it is one of the two that leave theirs."""
    source = min(place, np.int32(len(ranking) - 1))
    source = np.int32(source + (np.uint32(source - heavy) < moved_up))  # as unsigned numbers those below are far above
    source = either(np.uint32(source - first) < moved, np.int32(source + step), source)
    return np.int32(ranking[source])
