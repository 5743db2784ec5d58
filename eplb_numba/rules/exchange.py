"""Which swap of an item of a GPU for one of another GPU lowers the burdens most?

Slots that promise more than the best swap so far are tried; where these are many, all are, in line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .norm import eighth
from .outlook import Outlook
from .promise import promise
from .scenarios import column_of, rows_of
from .words import barrier, best_lane, inlined_word, lanes, mine, mine_from, parts, rule, times

__all__ = ["LEAST_GAIN", "NONE", "best_of_all", "best_promised", "may_trade"]

LEAST_GAIN = 2.0**-13  # of the burden of the GPU that swaps
FEW = 5  # where more than one slot in so many promises too much, all swaps are reckoned out in line, which is sooner done
NONE = -1  # no swap


@inlined_word
def best_promised(heavy: int, count: int, copies: int, reach: Any, outlook: Outlook) -> tuple[int, bool]:
    """Give the swap that `best_of_all` gives, and false; or, where too many slots promise too much to try them, true.

    Only slots that promise more than the best swap so far are tried, those of the most promising GPU first.
    """
    value = outlook.costs.dtype.type
    prospects, promises, slots = outlook.prospects, outlook.promises, outlook.slots
    promise(heavy, count, reach, outlook)
    gain, swap = times(value(LEAST_GAIN), outlook.burdens[heavy]), NONE
    most, first = gain, -1
    for light in mine(len(prospects)):
        if prospects[light] > most:
            most, first = prospects[light], light
    if first >= 0:
        gain, swap = _try_gpu(heavy, first, copies, outlook, gain, swap)
        prospects[first] = -np.inf  # these have been tried
        promises[first * slots : (first + 1) * slots] = -np.inf
    barrier()
    most, _ = best_lane(value(_count_above(gain, promises)), 0)
    if times(most, value(FEW * lanes())) > value(len(promises)):
        return NONE, True
    for light in mine(len(prospects)):
        if prospects[light] > gain:
            gain, swap = _try_gpu(heavy, light, copies, outlook, gain, swap)
    barrier()
    _, swap = best_lane(gain if swap >= 0 else value(-1), swap)
    return swap, False


@rule
def _count_above(gain: Any, promises: Any) -> int:
    """Count the promises beyond a gain."""
    count = 0
    for coming in mine(len(promises)):
        count += np.int64(promises[coming] > gain)
    return count


@rule
def best_of_all(heavy: int, count: int, copies: int, outlook: Outlook) -> int:
    """Give the swap of an item of the heavy GPU that lowers the burdens most, as leaving * slots in all + coming, or -1."""
    value = outlook.costs.dtype.type
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    slots = outlook.slots
    burden = outlook.burdens[heavy]
    gain, swap = times(value(LEAST_GAIN), burden), NONE
    around = outlook.pulls  # not needed now
    _spread_loads(count, outlook, around)
    for leaving in range(heavy * slots, (heavy + 1) * slots):
        for coming in mine(num_slots):
            outlook.costs[coming] = 0
        for scenario in range(count):
            first = scenario * num_slots
            _add_costs_of_all(
                outlook.slot_loads[first : first + num_slots],
                around[first : first + num_slots],
                outlook.costs,
                outlook.slot_loads[first + leaving],
                outlook.gpu_loads[scenario * num_gpus + heavy],
                outlook.slopes[scenario],
            )
        barrier()
        for light in range(num_gpus):
            before = burden + outlook.burdens[light]
            for coming in mine_from(light * slots, (light + 1) * slots):
                better = before - outlook.costs[coming]
                if better > gain and light != heavy and may_trade(leaving, coming, slots, copies, outlook):
                    gain = better
                    swap = leaving * num_slots + coming
        barrier()
    _, swap = best_lane(gain if swap >= 0 else value(-1), swap)
    return swap


@rule
def _spread_loads(count: int, outlook: Outlook, around: Any) -> None:
    """Write the load of its GPU to each slot, in each scenario."""
    num_slots, num_gpus, slots = len(outlook.costs), len(outlook.burdens), outlook.slots
    for scenario in range(count):
        for gpu in mine(num_gpus):
            first = scenario * num_slots + gpu * slots
            around[first : first + slots] = outlook.gpu_loads[scenario * num_gpus + gpu]
    barrier()


@rule
def _add_costs_of_all(slot_loads: Any, around: Any, costs: Any, leaving: Any, heavy_load: Any, slope: Any) -> None:
    """Add to costs (slots) the weighted powers of the two GPUs once the leaving load has gone for that in each slot."""
    rest = heavy_load - leaving
    for coming in mine(len(costs)):
        load = slot_loads[coming]
        costs[coming] += times(eighth(rest + load) + eighth(around[coming] - load + leaving), slope)


@inlined_word
def _try_gpu(heavy: int, light: int, copies: int, outlook: Outlook, gain: Any, swap: int) -> tuple[Any, int]:
    """Give the better of a swap and the best one with another GPU that gains more, or as much with a lower number."""
    for coming in range(light * outlook.slots, (light + 1) * outlook.slots):
        if outlook.promises[coming] > gain:
            gain, swap = _try_slot(heavy, light, coming, copies, outlook, gain, swap)
    return gain, swap


@inlined_word
def _try_slot(heavy: int, light: int, coming: int, copies: int, outlook: Outlook, gain: Any, swap: int) -> tuple[Any, int]:
    """Do that for the item in one slot: reckon out what it costs in place of each item of the heavy GPU."""
    num_slots, slots = len(outlook.costs), outlook.slots
    costs = outlook.costs[light * slots : (light + 1) * slots]  # no other lane needs those of this GPU
    _reckon_out(heavy, light, coming, outlook, costs)
    before = outlook.burdens[heavy] + outlook.burdens[light]
    for place in range(slots):
        better, leaving = before - costs[place], heavy * slots + place
        number = leaving * num_slots + coming
        if (better > gain or (better == gain and number < swap)) and may_trade(leaving, coming, slots, copies, outlook):
            gain, swap = better, number
    return gain, swap


@inlined_word
def _reckon_out(heavy: int, light: int, coming: int, outlook: Outlook, costs: Any) -> None:
    """Work out the weighted powers of the two GPUs once each item of the heavy one has gone for the coming one."""
    num_slots, num_gpus, slots = len(outlook.costs), len(outlook.burdens), outlook.slots
    one, two, three, four, five, six, seven, eight = rows_of(outlook.slot_loads, heavy * slots, slots, num_slots)
    comes = column_of(outlook.slot_loads, coming, num_slots)
    heavies = column_of(outlook.gpu_loads, heavy, num_gpus)
    lights = column_of(outlook.gpu_loads, light, num_gpus)
    slopes = column_of(outlook.slopes, 0, 1)
    for place in range(slots):
        cost = _cost(one[place], comes[0], heavies[0], lights[0], slopes[0])
        cost += _cost(two[place], comes[1], heavies[1], lights[1], slopes[1])
        cost += _cost(three[place], comes[2], heavies[2], lights[2], slopes[2])
        cost += _cost(four[place], comes[3], heavies[3], lights[3], slopes[3])
        cost += _cost(five[place], comes[4], heavies[4], lights[4], slopes[4])
        cost += _cost(six[place], comes[5], heavies[5], lights[5], slopes[5])
        cost += _cost(seven[place], comes[6], heavies[6], lights[6], slopes[6])
        costs[place] = cost + _cost(eight[place], comes[7], heavies[7], lights[7], slopes[7])


@inlined_word
def _cost(leaves: Any, comes: Any, heavy_load: Any, light_load: Any, slope: Any) -> Any:
    """Give the weighted powers of two GPUs once the heavy one has the load that comes in place of that which leaves."""
    return times(eighth(heavy_load - leaves + comes) + eighth(light_load - comes + leaves), slope)


@rule
def may_trade(leaving: int, coming: int, slots: int, copies: int, outlook: Outlook) -> bool:
    """Tell whether a swap leaves at most copies replicas of an expert on both GPUs, and is one of different experts."""
    leaves, comes = outlook.experts[leaving], outlook.experts[coming]
    if leaves == comes:
        return False
    if outlook.counts[leaves] <= copies and outlook.counts[comes] <= copies:
        return True
    held_there = held_here = 0
    here, _ = parts(leaving, slots)
    there, _ = parts(coming, slots)
    for slot in range(slots):
        held_there += np.int64(outlook.experts[there * slots + slot] == leaves)
        held_here += np.int64(outlook.experts[here * slots + slot] == comes)
    return held_there < copies and held_here < copies
