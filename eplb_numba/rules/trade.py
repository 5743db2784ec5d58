"""How do GPUs trade items so that a node is balanced in each of its scenarios?

The GPU with the largest burden, its share of the weighted sum of powers, swaps the pair of items that lowers this sum most.
The root is concave: with each scenario weighted by the slope of its root, what lowers the sum lowers the sum of the norms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .norm import add_up, eighth, eighth_root
from .scratch import recall_outlook
from .sums import total_in_line
from .terms import LEAST_NORMAL, Outlook
from .words import barrier, best_lane, lane, mine, mine_from, parts, rule, times, word

__all__ = ["LEAST_GAIN", "burden_of", "may_trade", "slope_of", "trade"]

LEAST_GAIN = 2.0**-13  # of the burden of the GPU that swaps


@word
def trade(count: int, copies: int, rounds: int, outlook: Outlook) -> int:
    """Let the GPU with the largest burden swap one item for one of another GPU, as long as that lowers the norms.

    A GPU that has no such swap waits until another one has had one.  Gives the number of searches that this took.
    """
    _weigh(count, outlook)
    for search in range(rounds):
        heavy = _most_burdened(outlook)
        if heavy < 0:
            return search
        swap = _best_trade(heavy, count, copies, outlook)
        if swap < 0:
            if lane() == 0:
                outlook.fill[heavy] = 1
            barrier()
        else:
            leaving, coming = parts(swap, len(outlook.costs))
            _carry_out(leaving, coming, count, outlook)
            _weigh(count, outlook)
    return rounds


@rule
def _weigh(count: int, outlook: Outlook) -> None:
    """Work out the slope of each scenario's norm and the burden of each GPU."""
    outlook = recall_outlook(outlook)
    for scenario in mine(count):
        outlook.slopes[scenario] = slope_of(scenario, outlook)
    barrier()
    for gpu in mine(len(outlook.burdens)):
        outlook.burdens[gpu] = burden_of(gpu, count, outlook)
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
def burden_of(gpu: int, count: int, outlook: Outlook) -> Any:
    """Give the burden of a GPU."""
    burden = outlook.means.dtype.type(0)
    for scenario in range(count):
        burden += times(outlook.powers[scenario * len(outlook.burdens) + gpu], outlook.slopes[scenario])
    return burden


@rule
def _most_burdened(outlook: Outlook) -> int:
    """Give the GPU with the largest burden that may have a swap left, or -1."""
    outlook = recall_outlook(outlook)
    most, heavy = outlook.burdens.dtype.type(-1), -1
    for gpu in mine(len(outlook.burdens)):
        if outlook.fill[gpu] == 0 and outlook.burdens[gpu] > most:
            most = outlook.burdens[gpu]
            heavy = gpu
    most, heavy = best_lane(most, heavy)
    return heavy if most >= 0 else -1


@rule
def _best_trade(heavy: int, count: int, copies: int, outlook: Outlook) -> int:
    """Give the swap of an item of the heavy GPU that lowers the burdens most, as leaving * slots in all + coming, or -1."""
    value = outlook.costs.dtype.type
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    slots = outlook.slots
    burden = outlook.burdens[heavy]
    gain, swap = times(value(LEAST_GAIN), burden), -1
    for leaving in range(heavy * slots, (heavy + 1) * slots):
        for coming in mine(num_slots):
            outlook.costs[coming] = 0
        for scenario in range(count):
            first = scenario * num_slots
            _add_costs(
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
def _add_costs(slot_loads: Any, around: Any, costs: Any, leaving: Any, heavy_load: Any, slope: Any) -> None:
    """Add to costs (slots) the weighted powers of the two GPUs once the leaving load has gone for that in each slot."""
    rest = heavy_load - leaving
    for coming in mine(len(costs)):
        load = slot_loads[coming]
        costs[coming] += times(eighth(rest + load) + eighth(around[coming] - load + leaving), slope)


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


@rule
def _carry_out(leaving: int, coming: int, count: int, outlook: Outlook) -> None:
    """Carry out a swap; any GPU may have another one after it."""
    outlook = recall_outlook(outlook)
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    experts, ranks, loads = outlook.experts, outlook.ranks, outlook.slot_loads
    heavy, _ = parts(leaving, outlook.slots)
    light, _ = parts(coming, outlook.slots)
    if lane() == 0:
        experts[leaving], experts[coming] = experts[coming], experts[leaving]
        ranks[leaving], ranks[coming] = ranks[coming], ranks[leaving]
    for scenario in mine(count):
        one, other = scenario * num_slots + leaving, scenario * num_slots + coming
        loads[one], loads[other] = loads[other], loads[one]
        add_up(heavy, scenario, outlook)
        add_up(light, scenario, outlook)
    for gpu in mine(num_gpus):
        outlook.fill[gpu] = 0
    barrier()
