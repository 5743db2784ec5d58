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
from .sums import largest_here
from .terms import MOST_SCENARIOS, Outlook
from .words import barrier, best_lane, inlined_word, mine, mine_from, rule, times

__all__ = ["MARGIN", "bend_of", "margin_of", "promise", "reach_of"]

# Both are rounded, a promise and the gain that is reckoned out.  In float32, where a rounding is at most 2**-24, a promise may
# be off by 31 of what it is made of, a gain by 67 of the burdens.  This is 32 and 128 of them; float64 is nearer.
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
    for scenario in mine(count):
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
    for leaving in range(heavy * outlook.slots, (heavy + 1) * outlook.slots):
        loads, less = _leaving(leaving, count, outlook)
        _raise(outlook.pulls, loads, less, promises)
    barrier()
    _settle(losses, times(margin, value(MARGIN)), promises)
    barrier()
    for coming in mine_from(heavy * outlook.slots, (heavy + 1) * outlook.slots):
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


@inlined_word
def _pull(slot_loads: Any, sevenths: Any, seventh_load: Any, slope: Any, bend: Any, pulls: Any, losses: Any) -> None:
    """Work out in one scenario the pull of what lies in each slot, and add what it takes off the slot's promises."""
    for coming in mine(len(losses)):
        load = slot_loads[coming]
        pull = times(seventh_load - sevenths[coming], slope)
        bent = times(bend, load)
        losses[coming] += times(load, pull + bent)
        pulls[coming] = pull + bent + bent


@rule
def _leaving(leaving: int, count: int, outlook: Outlook) -> tuple[Any, Any]:
    """Give the loads of an item over all scenarios that there may be, and what it takes off all promises."""
    value = outlook.means.dtype.type
    num_slots, slot_loads = len(outlook.costs), outlook.slot_loads
    less = value(0)
    for scenario in range(count):
        load = slot_loads[scenario * num_slots + leaving]
        less += times(times(load, load), outlook.bends[scenario])
    return (
        slot_loads[leaving],
        slot_loads[num_slots + leaving] if count > 1 else value(0),
        slot_loads[2 * num_slots + leaving] if count > 2 else value(0),
        slot_loads[3 * num_slots + leaving] if count > 3 else value(0),
        slot_loads[4 * num_slots + leaving] if count > 4 else value(0),
        slot_loads[5 * num_slots + leaving] if count > 5 else value(0),
        slot_loads[6 * num_slots + leaving] if count > 6 else value(0),
        slot_loads[7 * num_slots + leaving] if count > 7 else value(0),
    ), less


@rule
def _raise(pulls: Any, loads: Any, less: Any, promises: Any) -> None:
    """Raise the promise of each slot to what an item that leaves may gain by a swap for the one in it.

    All scenarios in one line: that is what vector units are fastest at.
    """
    size = len(promises)
    one, two, three, four = pulls[:size], pulls[size : 2 * size], pulls[2 * size : 3 * size], pulls[3 * size : 4 * size]
    five, six, seven, eight = (
        pulls[4 * size : 5 * size],
        pulls[5 * size : 6 * size],
        pulls[6 * size : 7 * size],
        pulls[7 * size :],
    )
    for coming in mine(size):
        low = times(one[coming], loads[0]) + times(two[coming], loads[1])
        low += times(three[coming], loads[2]) + times(four[coming], loads[3])
        high = times(five[coming], loads[4]) + times(six[coming], loads[5])
        high += times(seven[coming], loads[6]) + times(eight[coming], loads[7])
        gain, best = low + high - less, promises[coming]
        promises[coming] = gain if gain > best else best
