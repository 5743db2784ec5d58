"""Which scenarios does a window of steps stand for?

Each step is scaled to one mean GPU load, for what counts is how its load is spread.  Steps with next to no load, beside the
others, count for nothing: how a handful of tokens is spread is chance.
Where there are more steps than scenarios may be, the two that are most alike (by Ward's distance) become one with the weight
of both, again and again: what a plan can learn from a window is how loads vary together, and neighbours need not be alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .outlook import MOST_SCENARIOS, MOST_STEPS, STEP_STRIDE, Window
from .sums import total_in_line
from .words import barrier, best_lane, lane, mine, mine_from, rule, times, word

__all__ = ["measure", "measure_one", "note_window", "read_window", "total_of_step"]

LEAST_SHARE = 2.0**-6  # of the mean step's load, that a step must have more than


@rule
def read_window(steps: Any, layer: int, loads: Any, num_gpus: int, window: Window) -> int:
    """Read a layer of steps (steps, layers, experts) into scenarios, given the loads (experts) that these add up to.

    Gives the number of scenarios: 1 where all steps are identical, 0 where none has any load.
    """
    value = window.loads.dtype.type
    num_experts = steps.shape[2]
    for place in mine(len(window.loads)):
        window.loads[place] = 0  # scenarios that there are not are measured, too, for vector units like whole rows
    least = times(total_in_line(loads, 0, len(loads)) / value(len(steps)), value(LEAST_SHARE))
    count = measured = 0
    for step in range(len(steps)):
        if step % MOST_STEPS == 0:
            _add_up(steps, layer, step, window)
        total = window.totals[step % MOST_STEPS]
        if total > least:
            if count == MOST_STEPS:
                measure(measured, count, num_experts, window)
                count = measured = _merge_the_closest(count, num_experts, window)
            for expert in mine(num_experts):
                share = abs(value(steps[step, layer, expert])) / total
                window.loads[expert * STEP_STRIDE + count] = times(share, value(num_gpus))
            window.sizes[count] = 1
            barrier()
            count += 1
    measure(measured, count, num_experts, window)
    while count > MOST_SCENARIOS or (count > 1 and _closest(count, window)[0] == 0):
        count = _merge_the_closest(count, num_experts, window)
    return count


@rule
def _add_up(steps: Any, layer: int, first: int, window: Window) -> None:
    """Add up the loads of each of the next steps."""
    barrier()  # whoever still reads the last ones, or clears their loads
    for step in mine_from(first, min(first + MOST_STEPS, len(steps))):
        window.totals[step - first] = total_of_step(steps, step, layer, window.loads)
    barrier()


@word
def total_of_step(steps: Any, step: int, layer: int, loads: Any) -> Any:
    """Add up the loads of a layer in one step, one after the other, in the type of loads."""
    total = loads.dtype.type(0)
    for expert in range(steps.shape[2]):
        total += abs(loads.dtype.type(steps[step, layer, expert]))
    return total


@word
def measure(first: int, count: int, num_experts: int, window: Window) -> None:
    """Measure the distances of the scenarios [first, count) to all before them."""
    for scenario in range(first, count):
        measure_one(scenario, scenario, num_experts, window)


@word
def measure_one(scenario: int, count: int, num_experts: int, window: Window) -> None:
    """Measure the distances of a scenario to the first count others: by how much merging them adds to the squares."""
    loads, sizes, distances, _ = window
    row = scenario * MOST_STEPS
    squares = distances[row : row + MOST_STEPS]
    for other in mine(MOST_STEPS):
        squares[other] = 0
    fours = num_experts - num_experts % 4
    for expert in range(0, fours, 4):
        _add_squares_of_four(loads[expert * STEP_STRIDE : (expert + 4) * STEP_STRIDE], scenario, squares)
    for expert in range(fours, num_experts):
        for other in mine(MOST_STEPS):
            gap = loads[expert * STEP_STRIDE + scenario] - loads[expert * STEP_STRIDE + other]
            squares[other] += times(gap, gap)
    for other in mine(count):
        distance = times(distances[row + other], times(sizes[scenario], sizes[other]) / (sizes[scenario] + sizes[other]))
        distances[row + other] = distance
        distances[other * MOST_STEPS + scenario] = distance
    barrier()


@rule
def _add_squares_of_four(loads: Any, scenario: int, squares: Any) -> None:
    """Add the squares of the gaps to each other scenario in the loads of four experts, one after the other."""
    one, two = loads[:MOST_STEPS], loads[STEP_STRIDE : STEP_STRIDE + MOST_STEPS]
    three, four = loads[2 * STEP_STRIDE : 2 * STEP_STRIDE + MOST_STEPS], loads[3 * STEP_STRIDE : 3 * STEP_STRIDE + MOST_STEPS]
    own_one, own_two, own_three, own_four = one[scenario], two[scenario], three[scenario], four[scenario]
    for other in mine(MOST_STEPS):
        gap, gap_of_two = own_one - one[other], own_two - two[other]
        gap_of_three, gap_of_four = own_three - three[other], own_four - four[other]
        total = squares[other] + times(gap, gap)
        total += times(gap_of_two, gap_of_two)
        total += times(gap_of_three, gap_of_three)
        squares[other] = total + times(gap_of_four, gap_of_four)


@rule
def note_window(count: int, num_experts: int, window: Window, noted: Window) -> None:
    """Copy the scenarios that a window was read into."""
    for scenario in range(count):
        for expert in mine(num_experts):
            noted.loads[expert * STEP_STRIDE + scenario] = window.loads[expert * STEP_STRIDE + scenario]
        noted.sizes[scenario] = window.sizes[scenario]
    barrier()


@rule
def _closest(count: int, window: Window) -> tuple[Any, int]:
    """Give the least distance of two scenarios and the first pair that has it, as one number."""
    nearest = window.distances.dtype.type(np.inf)
    pair = -1
    for one in mine(count):
        for other in range(one + 1, count):
            distance = window.distances[one * MOST_STEPS + other]
            if distance < nearest:
                nearest = distance
                pair = one * MOST_STEPS + other
    closeness, pair = best_lane(-nearest, pair)
    return -closeness, pair


@rule
def _merge_the_closest(count: int, num_experts: int, window: Window) -> int:
    """Merge the two scenarios that are most alike; the last one takes the place that is free.  Give their number."""
    loads, sizes, distances, _ = window
    nearest, pair = _closest(count, window)
    one, other, last = pair // MOST_STEPS, pair % MOST_STEPS, count - 1
    whole = sizes[one] + sizes[other]
    for expert in mine(num_experts):
        row = expert * STEP_STRIDE
        if nearest > 0:  # else they are the same, and no rounding may change that
            sum_of_both = times(loads[row + one], sizes[one]) + times(loads[row + other], sizes[other])
            loads[row + one] = sum_of_both / whole
        loads[row + other] = loads[row + last]
    barrier()
    if lane() == 0:
        sizes[one] = whole
        sizes[other] = sizes[last]
    for scenario in mine(count):
        distances[other * MOST_STEPS + scenario] = distances[last * MOST_STEPS + scenario]
    barrier()
    for scenario in mine(count):
        distances[scenario * MOST_STEPS + other] = distances[other * MOST_STEPS + scenario]
    barrier()
    measure_one(one, last, num_experts, window)
    return last
