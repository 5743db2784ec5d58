"""How does a warp find the best swap of an item of a GPU for one in some slots?  A lane looks at what a slot's promises.

What a promise is, `rules.promise` says.  It need not be the same everywhere, as long as it is kept: here the lightest and the
heaviest GPU of those in question are enough.
"""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import register_jitable as jit

from ..rules.exchange import LEAST_GAIN, may_trade
from ..rules.norm import eighth, seventh
from ..rules.outlook import MOST_SCENARIOS, recall_outlook
from ..rules.promise import MARGIN, bend_of, margin_of
from ..rules.words import lane, lanes, times
from .block import ALL, WARP
from .instructions import added, either, quotient
from .ranks import best_of_warp, highest_of, lowest_of
from .strips import rest

__all__ = ["best_of_slots", "read_column"]


@jit
def best_of_slots(heavy, copies, reach, outlook):  # type: ignore[no-untyped-def]
    """Hand the lanes of a warp the best swap with what lies in its slots: what it gains and its number, or (-1, -1).

    All rows of the outlook are read, as many as there may be scenarios: those that there are not must hold zeros.
    """
    outlook = recall_outlook(outlook)
    value = outlook.costs.dtype.type
    num_slots, slots, many = np.int32(len(outlook.costs)), np.int32(outlook.slots), np.int32(lanes())
    endless = value(np.inf)
    gain, swap = times(value(LEAST_GAIN), outlook.burdens[heavy]), np.int32(-1)
    slot = np.int32(lane())
    while np.int32(slot & ~(WARP - 1)) < num_slots:
        coming = min(slot, np.int32(num_slots - 1))
        light = np.int32(quotient(coming, slots))
        hope = _promise_of(heavy, light, coming, reach, outlook)
        hope = either((slot < num_slots) & (light != heavy), hope, -endless)
        own = np.int32(lane() & (WARP - 1))
        most, chosen = best_of_warp(hope, coming)
        while most > gain:
            gain, swap = _try_swaps(heavy, chosen, own, np.int32(WARP), copies, outlook, gain, swap)
            hope = either(coming == chosen, -endless, hope)
            if 2 * added(np.uint32(hope > gain)) > slots:  # so many that lanes had better look at a slot each
                begin = either(hope > gain, np.int32(0), slots)
                gain, swap = _try_swaps(heavy, coming, begin, np.int32(1), copies, outlook, gain, swap)
                break
            most, chosen = best_of_warp(hope, coming)
        slot = np.int32(slot + many)
    return either(swap >= 0, gain, value(-1)), swap


@jit
def _promise_of(heavy, light, coming, reach, outlook):  # type: ignore[no-untyped-def]
    """Give what no item of the heavy GPU can gain more than by a swap for the one in a slot of a light one.

    What the lanes have in common in a scenario each of them works out for one of the eight, and hands it to the others.
    """
    value = outlook.costs.dtype.type
    num_gpus, slots = np.int32(len(outlook.burdens)), np.int32(outlook.slots)
    own, turn = np.int32(lane() & (WARP - 1)), np.int32(lane() & (MOST_SCENARIOS - 1))
    pulls, comes = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    some, others = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    load, slope = outlook.gpu_loads[np.int32(turn * num_gpus) + heavy], outlook.slopes[turn]
    read_column(outlook.gpu_loads, num_gpus, light, some)
    read_column(outlook.slot_loads, np.int32(len(outlook.costs)), coming, comes)
    lightest, heaviest = value(0), value(0)
    for scenario in range(MOST_SCENARIOS):
        pulls[scenario], others[scenario] = lowest_of(some[scenario]), highest_of(some[scenario])
    for scenario in range(MOST_SCENARIOS):
        lightest = either(turn == scenario, pulls[scenario], lightest)
        heaviest = either(turn == scenario, others[scenario], heaviest)
    height, bend = seventh(load), times(bend_of(load, lightest), slope)
    margin = margin_of(height, slope, bend, max(load, heaviest), reach)
    margin += cuda.shfl_xor_sync(ALL, margin, 4)
    margin += cuda.shfl_xor_sync(ALL, margin, 2)
    margin += cuda.shfl_xor_sync(ALL, margin, 1)
    for scenario in range(MOST_SCENARIOS):
        pulls[scenario] = cuda.shfl_sync(ALL, height, scenario)
        others[scenario] = cuda.shfl_sync(ALL, slope, scenario)
    for scenario in range(MOST_SCENARIOS):
        pulls[scenario] = times(pulls[scenario] - seventh(some[scenario]), others[scenario])
        some[scenario] = cuda.shfl_sync(ALL, bend, scenario)
    losses = value(0)
    for scenario in range(MOST_SCENARIOS):
        bent = times(some[scenario], comes[scenario])
        losses += times(comes[scenario], pulls[scenario] + bent)
        pulls[scenario] += bent + bent
    best, begin = value(-np.inf), np.int32(0)
    while begin < slots:
        end, less = min(np.int32(slots - begin), np.int32(WARP)), value(0)
        leaving = np.int32(np.int32(heavy * slots) + np.int32(begin + min(own, np.int32(end - 1))))
        goes = cuda.local.array(MOST_SCENARIOS, value)
        read_column(outlook.slot_loads, np.int32(len(outlook.costs)), leaving, goes)
        for scenario in range(MOST_SCENARIOS):
            less += times(times(goes[scenario], goes[scenario]), some[scenario])
        place = np.int32(0)
        while place < end:  # two at a time; where one is left over, the same once more
            other = min(np.int32(place + 1), np.int32(end - 1))
            gain, other_gain = -cuda.shfl_sync(ALL, less, place), -cuda.shfl_sync(ALL, less, other)
            for scenario in range(MOST_SCENARIOS):
                comes[scenario] = cuda.shfl_sync(ALL, goes[scenario], place)
                others[scenario] = cuda.shfl_sync(ALL, goes[scenario], other)
            for scenario in range(MOST_SCENARIOS):
                gain += times(pulls[scenario], comes[scenario])
                other_gain += times(pulls[scenario], others[scenario])
            best = max(best, max(gain, other_gain))
            place = np.int32(place + 2)
        begin = np.int32(begin + WARP)
    return times(best - losses + times(margin, value(MARGIN)), value(8))


@jit
def read_column(table, width, column, numbers):  # type: ignore[no-untyped-def]
    """Read a column of a table of all scenarios into registers."""
    rows = rest(table, column)
    for scenario in range(MOST_SCENARIOS):
        numbers[scenario] = rows[0]
        rows = rest(rows, width)


@jit
def _try_swaps(heavy, coming, place, step, copies, outlook, gain, swap):  # type: ignore[no-untyped-def]
    """Let lanes reckon out swaps of each step-th item of the heavy GPU for that in a slot; give the best, or the given one."""
    outlook = recall_outlook(outlook)
    slots = np.int32(outlook.slots)
    light = np.int32(quotient(coming, slots))
    before = outlook.burdens[heavy] + outlook.burdens[light]
    own_gain, own_swap = gain, swap
    while place < slots:
        leaving = np.int32(np.int32(heavy * slots) + place)
        better = before - _cost_of(leaving, coming, heavy, light, outlook)
        number = np.int32(np.int32(leaving * np.int32(len(outlook.costs))) + coming)
        is_better = (better > own_gain) | ((better == own_gain) & (number < own_swap))
        if is_better and may_trade(leaving, coming, slots, copies, outlook):
            own_gain, own_swap = better, number
        place = np.int32(place + step)
    return best_of_warp(own_gain, own_swap)


@jit
def _cost_of(leaving, coming, heavy, light, outlook):  # type: ignore[no-untyped-def]
    """Give the weighted powers of two GPUs once two items have been swapped; all is read before anything is reckoned."""
    value = outlook.costs.dtype.type
    num_slots, num_gpus = np.int32(len(outlook.costs)), np.int32(len(outlook.burdens))
    goes, comes = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    heavy_loads, light_loads = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    read_column(outlook.slot_loads, num_slots, leaving, goes)
    read_column(outlook.slot_loads, num_slots, coming, comes)
    read_column(outlook.gpu_loads, num_gpus, heavy, heavy_loads)
    read_column(outlook.gpu_loads, num_gpus, light, light_loads)
    for scenario in range(MOST_SCENARIOS):
        power = eighth(heavy_loads[scenario] - goes[scenario] + comes[scenario])
        heavy_loads[scenario] = power + eighth(light_loads[scenario] - comes[scenario] + goes[scenario])
    read_column(outlook.slopes, np.int32(1), np.int32(0), light_loads)
    cost = value(0)
    for scenario in range(MOST_SCENARIOS):
        cost += times(heavy_loads[scenario], light_loads[scenario])
    return cost
