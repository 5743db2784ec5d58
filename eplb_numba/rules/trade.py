"""How do GPUs trade items so that a node is balanced in each of its scenarios?

The GPU with the largest burden, its share of the weighted sum of powers, swaps the pair of items that lowers this sum most.
The root is concave: with each scenario weighted by the slope of its root, what lowers the sum lowers the sum of the norms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .norm import add_up, eighth, eighth_root
from .promise import promise, reach_of
from .scratch import recall_outlook
from .sums import note_ends, total_in_line
from .terms import LEAST_NORMAL, Outlook
from .words import barrier, best_lane, inlined_word, lane, lanes, mine, mine_from, parts, rule, times, word

__all__ = ["LEAST_GAIN", "may_trade", "slope_of", "trade"]

LEAST_GAIN = 2.0**-13  # of the burden of the GPU that swaps
FEW = 5  # where more than one slot in so many promises too much, all swaps are reckoned out in line, which is sooner done
DOUBTS = 4  # searches that do so at once, after one where promises said little
NONE = -1  # no swap


@word
def trade(count: int, copies: int, rounds: int, outlook: Outlook) -> int:
    """Let the GPU with the largest burden swap one item for one of another GPU, as long as that lowers the norms.

    A GPU that has no such swap rests until it is part of another one's; or until all rest, if there were swaps since.  Gives
    the number of searches that this took.
    """
    reach, doubts, is_stale = reach_of(outlook), 0, False
    _weigh(count, outlook)
    for search in range(rounds):
        heavy = _most_burdened(outlook)
        if heavy < 0 and is_stale:
            _wake(outlook)
            is_stale = False
            heavy = _most_burdened(outlook)
        if heavy < 0:
            return search
        swap, says_little = NONE, True
        if doubts == 0:
            swap, says_little = _best_promised(heavy, count, copies, reach, outlook)
            doubts = DOUBTS if says_little else 0
        else:
            doubts -= 1
        if says_little:
            swap = _best_of_all(heavy, count, copies, outlook)
        if swap < 0:
            if lane() == 0:
                outlook.fill[heavy] = 1
            barrier()
        else:
            leaving, coming = parts(swap, len(outlook.costs))
            is_stale = True  # whoever rests may have a swap now
            _carry_out(leaving, coming, count, outlook)
            _weigh(count, outlook)
    return rounds


@inlined_word
def _weigh(count: int, outlook: Outlook) -> None:
    """Work out the slope of each scenario's norm and the burden of each GPU."""
    outlook = recall_outlook(outlook)
    num_gpus = len(outlook.burdens)
    for scenario in mine(count):
        outlook.slopes[scenario] = slope_of(scenario, outlook)
        gpu_loads = outlook.gpu_loads[scenario * num_gpus : (scenario + 1) * num_gpus]
        note_ends(gpu_loads, scenario, outlook.lightest, outlook.heaviest)
    for gpu in mine(num_gpus):
        outlook.burdens[gpu] = 0
    barrier()
    for scenario in range(count):
        _add_burdens(
            outlook.powers[scenario * num_gpus : (scenario + 1) * num_gpus], outlook.slopes[scenario], outlook.burdens
        )
    barrier()


@rule
def slope_of(scenario: int, outlook: Outlook) -> Any:
    """Give the slope of a scenario's norm.

    A scenario in which the node has next to no load counts for nothing: its slope would be beyond all numbers.
    """
    value, num_gpus = outlook.means.dtype.type, len(outlook.burdens)
    total = total_in_line(outlook.powers, scenario * num_gpus, num_gpus)
    return times(outlook.sizes[scenario], eighth_root(total)) / total if total >= value(LEAST_NORMAL) else value(0)


@rule
def _add_burdens(powers: Any, slope: Any, burdens: Any) -> None:
    """Add to the burden of each GPU its share in one scenario."""
    for gpu in mine(len(burdens)):
        burdens[gpu] += times(powers[gpu], slope)


@rule
def _most_burdened(outlook: Outlook) -> int:
    """Give the GPU with the largest burden of those that do not rest, or -1."""
    outlook = recall_outlook(outlook)
    most, heavy = outlook.burdens.dtype.type(-1), -1
    for gpu in mine(len(outlook.burdens)):
        if outlook.fill[gpu] == 0 and outlook.burdens[gpu] > most:
            most = outlook.burdens[gpu]
            heavy = gpu
    most, heavy = best_lane(most, heavy)
    return heavy if most >= 0 else -1


@rule
def _wake(outlook: Outlook) -> None:
    """Let no GPU rest."""
    outlook = recall_outlook(outlook)
    for gpu in mine(len(outlook.burdens)):
        outlook.fill[gpu] = 0
    barrier()


@inlined_word
def _best_promised(heavy: int, count: int, copies: int, reach: Any, outlook: Outlook) -> tuple[int, bool]:
    """Give the swap that `_best_of_all` gives, and false; or, where too many slots promise too much to try them, true.

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
        gain, swap = _try_gpu(heavy, first, count, copies, outlook, gain, swap)
        prospects[first] = -np.inf  # these have been tried
        promises[first * slots : (first + 1) * slots] = -np.inf
    barrier()
    most, _ = best_lane(value(_count_above(gain, promises)), 0)
    if times(most, value(FEW * lanes())) > value(len(promises)):
        return NONE, True
    for light in mine(len(prospects)):
        if prospects[light] > gain:
            gain, swap = _try_gpu(heavy, light, count, copies, outlook, gain, swap)
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
def _best_of_all(heavy: int, count: int, copies: int, outlook: Outlook) -> int:
    """Give the swap of an item of the heavy GPU that lowers the burdens most, as leaving * slots in all + coming, or -1."""
    value = outlook.costs.dtype.type
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    slots = outlook.slots
    burden = outlook.burdens[heavy]
    gain, swap = times(value(LEAST_GAIN), burden), NONE
    for leaving in range(heavy * slots, (heavy + 1) * slots):
        for coming in mine(num_slots):
            outlook.costs[coming] = 0
        for scenario in range(count):
            first = scenario * num_slots
            _add_costs_of_all(
                outlook.slot_loads[first : first + num_slots],
                outlook.around[first : first + num_slots],
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
def _add_costs_of_all(slot_loads: Any, around: Any, costs: Any, leaving: Any, heavy_load: Any, slope: Any) -> None:
    """Add to costs (slots) the weighted powers of the two GPUs once the leaving load has gone for that in each slot."""
    rest = heavy_load - leaving
    for coming in mine(len(costs)):
        load = slot_loads[coming]
        costs[coming] += times(eighth(rest + load) + eighth(around[coming] - load + leaving), slope)


@inlined_word
def _try_gpu(heavy: int, light: int, count: int, copies: int, outlook: Outlook, gain: Any, swap: int) -> tuple[Any, int]:
    """Give the better of a swap and the best one with another GPU that gains more, or as much with a lower number."""
    for coming in range(light * outlook.slots, (light + 1) * outlook.slots):
        if outlook.promises[coming] > gain:
            gain, swap = _try_slot(heavy, light, coming, count, copies, outlook, gain, swap)
    return gain, swap


@rule
def _try_slot(
    heavy: int, light: int, coming: int, count: int, copies: int, outlook: Outlook, gain: Any, swap: int
) -> tuple[Any, int]:
    """Do that for the item in one slot: reckon out what it costs in place of each item of the heavy GPU."""
    num_slots, num_gpus, slots = len(outlook.costs), len(outlook.burdens), outlook.slots
    costs = outlook.costs[light * slots : (light + 1) * slots]  # no other lane needs those of this GPU
    costs[:] = 0
    for scenario in range(count):
        first = scenario * num_slots
        _add_costs(
            outlook.slot_loads[first + heavy * slots : first + (heavy + 1) * slots],
            outlook.slot_loads[first + coming],
            outlook.gpu_loads[scenario * num_gpus + heavy],
            outlook.gpu_loads[scenario * num_gpus + light],
            outlook.slopes[scenario],
            costs,
        )
    before = outlook.burdens[heavy] + outlook.burdens[light]
    for place in range(slots):
        better, leaving = before - costs[place], heavy * slots + place
        number = leaving * num_slots + coming
        if (better > gain or (better == gain and number < swap)) and may_trade(leaving, coming, slots, copies, outlook):
            gain, swap = better, number
    return gain, swap


@rule
def _add_costs(leaving: Any, coming: Any, heavy_load: Any, light_load: Any, slope: Any, costs: Any) -> None:
    """Add to costs (leaving) the weighted powers of the two GPUs once each leaving load has gone for the coming one."""
    rest = light_load - coming
    for place in range(len(costs)):
        load = leaving[place]
        costs[place] += times(eighth(heavy_load - load + coming) + eighth(rest + load), slope)


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


@inlined_word
def _carry_out(leaving: int, coming: int, count: int, outlook: Outlook) -> None:
    """Carry out a swap; neither of the two GPUs rests after it."""
    outlook = recall_outlook(outlook)
    num_slots = len(outlook.costs)
    experts, ranks, loads = outlook.experts, outlook.ranks, outlook.slot_loads
    heavy, _ = parts(leaving, outlook.slots)
    light, _ = parts(coming, outlook.slots)
    if lane() == 0:
        experts[leaving], experts[coming] = experts[coming], experts[leaving]
        ranks[leaving], ranks[coming] = ranks[coming], ranks[leaving]
        outlook.fill[heavy] = outlook.fill[light] = 0
    for scenario in mine(count):
        one, other = scenario * num_slots + leaving, scenario * num_slots + coming
        loads[one], loads[other] = loads[other], loads[one]
        add_up(heavy, scenario, outlook)
        add_up(light, scenario, outlook)
    barrier()
