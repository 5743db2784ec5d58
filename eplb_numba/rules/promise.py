"""How much can a swap of a GPU gain at most?  So that few swaps have to be reckoned out.

Let d of a scenario's load move between two GPUs with loads g and h.  The sum of their eighth powers is, for a fixed g + h, a
polynomial in the square of the difference whose terms are all positive, so it lies above its tangent: it falls by at most
8 (g**6 + g**5 h + ... + h**6) d (g - h - d).  With the lightest GPU in place of h where d is squared, that only gets more:
8 ((g**7 - h**7) d - bend d**2).  All that is weighted by the scenario's slope.  As d = leaves - comes, it is a product of what
leaves and a pull of what comes, less what depends on one of them alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .norm import seventh
from .outlook import MOST_SCENARIOS, Outlook
from .scenarios import column_of, rows_of
from .sums import largest_here
from .words import barrier, best_lane, fused_word, inlined_word, mine, mine_from, rule, times

__all__ = ["MARGIN", "bend_of", "margin_of", "promise", "reach_of"]

# Both are rounded, a promise and the gain that is reckoned out.  In float32, where a rounding is at most 2**-24, a promise may
# be off by 31 of what it is made of (on a CPU by 24, fused or not), a gain by 67 of the burdens.  This is 32 and 128 of them;
# float64 is nearer.
MARGIN = 2.0**-19


@rule
def reach_of(outlook: Outlook) -> Any:
    """Give a load that no item exceeds in any scenario."""
    value = outlook.means.dtype.type
    reach = value(0)
    for expert in mine(len(outlook.means)):
        reach = max(reach, outlook.worsts[expert] / value(outlook.counts[expert]))
    reach, _ = best_lane(reach, 0)
    return reach


@inlined_word
def promise(heavy: int, count: int, reach: Any, outlook: Outlook) -> None:
    """Note for each slot what no item of the heavy GPU can gain more than by a swap for the one in it; for each GPU, the most.

    Its own slots promise nothing.  Costs serve for what depends on the item in a slot alone: it is taken off the promise.
    """
    value = outlook.means.dtype.type
    num_slots, promises, losses = len(outlook.costs), outlook.promises, outlook.costs
    for coming in mine(num_slots):
        promises[coming] = -np.inf
        losses[coming] = 0
    for scenario in mine(MOST_SCENARIOS):
        outlook.bends[scenario] = 0
        if scenario < count:
            _look_at(scenario, heavy, outlook)
    barrier()
    margin = value(0)
    for scenario in range(MOST_SCENARIOS):
        first = scenario * num_slots
        pulls = outlook.pulls[first : first + num_slots]
        if scenario < count:
            slope, bend, height = outlook.slopes[scenario], outlook.bends[scenario], outlook.heights[scenario]
            margin += margin_of(height, slope, bend, outlook.heaviest[scenario], reach)
            _pull(
                outlook.slot_loads[first : first + num_slots],
                outlook.sevenths[first : first + num_slots],
                height,
                slope,
                bend,
                pulls,
                losses,
            )
        else:
            for coming in mine(num_slots):
                pulls[coming] = 0
    start, end = heavy * outlook.slots, (heavy + 1) * outlook.slots
    for leaving in range(start, end, 3):  # pulls are read once for three
        second, third = min(leaving + 1, end - 1), min(leaving + 2, end - 1)
        _raise(_leaving(leaving, outlook), _leaving(second, outlook), _leaving(third, outlook), outlook.pulls, promises)
    barrier()
    _settle(losses, times(margin, value(MARGIN)), promises)
    barrier()
    for coming in mine_from(start, end):
        promises[coming] = -np.inf
    barrier()
    for light in mine(len(outlook.burdens)):
        outlook.prospects[light] = largest_here(promises[light * outlook.slots : (light + 1) * outlook.slots])


@rule
def _settle(losses: Any, margin: Any, promises: Any) -> None:
    """Take off each promise what depends on the item in the slot alone."""
    for coming in mine(len(promises)):
        promises[coming] = times(promises[coming] - losses[coming] + margin, type(margin)(8))


@rule
def _look_at(scenario: int, heavy: int, outlook: Outlook) -> None:
    """Work out what all promises of the heavy GPU have in common in one scenario."""
    load = outlook.gpu_loads[scenario * len(outlook.burdens) + heavy]
    outlook.heights[scenario] = seventh(load)
    outlook.bends[scenario] = times(bend_of(load, outlook.lightest[scenario]), outlook.slopes[scenario])


@rule
def bend_of(load: Any, lightest: Any) -> Any:
    """Give g**6 + g**5 h + ... + h**6."""
    total = power = type(load)(1)
    for _ in range(6):
        power = times(power, lightest)
        total = times(total, load) + power
    return total


@rule
def margin_of(height: Any, slope: Any, bend: Any, heaviest: Any, reach: Any) -> Any:
    """Give what promises are made of in one scenario, with four times the burdens: MARGIN of it is more than all rounding."""
    value = type(reach)
    reach = min(reach, heaviest)
    steepest = times(height + seventh(heaviest), slope)
    return times(steepest, reach + reach + times(heaviest, value(0.5))) + times(times(bend, reach), times(reach, value(4)))


@fused_word
def _pull(slot_loads: Any, sevenths: Any, height: Any, slope: Any, bend: Any, pulls: Any, losses: Any) -> None:
    """Work out in one scenario the pull of what lies in each slot, and add what it takes off the slot's promises."""
    for coming in mine(len(losses)):
        load = slot_loads[coming]
        bent = bend * load
        pull = (height - sevenths[coming]) * slope + bent
        losses[coming] += load * pull
        pulls[coming] = pull + bent


@rule
def _leaving(leaving: int, outlook: Outlook) -> tuple[Any, Any]:
    """Give the loads of an item over all scenarios, and what it takes off all promises."""
    loads = column_of(outlook.slot_loads, leaving, len(outlook.costs))
    less = type(loads[0])(0)
    for scenario in range(MOST_SCENARIOS):
        less += times(times(loads[scenario], loads[scenario]), outlook.bends[scenario])
    return loads, less


@fused_word
def _raise(first: Any, second: Any, third: Any, pulls: Any, promises: Any) -> None:
    """Raise the promise of each slot to what one of three items that leave may gain by a swap for the one in it."""
    size = len(promises)
    one, two, three, four, five, six, seven, eight = rows_of(pulls, 0, size, size)
    for coming in mine(size):
        column = (
            one[coming],
            two[coming],
            three[coming],
            four[coming],
            five[coming],
            six[coming],
            seven[coming],
            eight[coming],
        )
        best = max(_gain(first, column), _gain(second, column), _gain(third, column))
        promises[coming] = max(promises[coming], best)


@fused_word
def _gain(leaving: Any, pulls: Any) -> Any:
    """Give what an item that leaves may gain, but for what depends on the one that comes."""
    loads, less = leaving
    low = loads[0] * pulls[0] + loads[1] * pulls[1] + loads[2] * pulls[2] + loads[3] * pulls[3]
    high = loads[4] * pulls[4] + loads[5] * pulls[5] + loads[6] * pulls[6] + loads[7] * pulls[7]
    return low + high - less
