"""How do the lanes of a block read a window?  They share out its steps and pairs of scenarios."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import sums, window
from ..rules.outlook import MOST_STEPS, STEP_STRIDE
from ..rules.words import barrier, lane, lanes, mine, times
from .instructions import either
from .strips import rest

__all__: list[str] = []

READ_AT_ONCE = 16  # loads of a step, by the lane that adds them up


def _total_in_line(loads, first, size):  # type: ignore[no-untyped-def]
    def total_in_line(loads, first, size):  # type: ignore[no-untyped-def]
        """Read the next four while the last ones are added up one after the other, for reading takes longest."""
        total, place = loads.dtype.type(0), np.int32(first)
        end = np.int32(place + np.int32(size))
        if place < np.int32(end - 3):
            four = rest(loads, place)
            one, two, three, last = four[0], four[1], four[2], four[3]
            place = np.int32(place + 4)
            while place < np.int32(end - 3):
                four = rest(loads, place)
                total = total + one + two + three + last
                one, two, three, last = four[0], four[1], four[2], four[3]
                place = np.int32(place + 4)
            total = total + one + two + three + last
        while place < end:
            total += loads[place]
            place = np.int32(place + 1)
        return total

    return total_in_line


def _total_of_step(steps, step, layer, loads):  # type: ignore[no-untyped-def]
    def total_of_step(steps, step, layer, loads):  # type: ignore[no-untyped-def]
        """Read many at a time, and then add them up one after the other: global memory is far away."""
        value = loads.dtype.type
        total, place, end = value(0), np.int64(0), np.int64(steps.shape[2])
        some = cuda.local.array(READ_AT_ONCE, value)
        while place < end:
            for turn in range(READ_AT_ONCE):
                expert = min(place + turn, end - 1)
                some[turn] = value(steps[step, layer, expert])
            for turn in range(READ_AT_ONCE):
                total += either(place + turn < end, abs(some[turn]), value(0))
            place += READ_AT_ONCE
        return total

    return total_of_step


def _measure(first, count, num_experts, window):  # type: ignore[no-untyped-def]
    def measure(first, count, num_experts, window):  # type: ignore[no-untyped-def]
        """Let each lane take pairs of scenarios: those of the first new one, then those of the next."""
        scenario, other = np.int64(first), np.int64(lane())
        while True:
            while scenario < count and other >= scenario:
                other -= scenario
                scenario += 1
            if scenario >= count:
                break
            _note_distance(scenario, other, num_experts, window)
            other += lanes()
        barrier()

    return measure


def _measure_one(scenario, count, num_experts, window):  # type: ignore[no-untyped-def]
    def measure_one(scenario, count, num_experts, window):  # type: ignore[no-untyped-def]
        for other in mine(count):
            _note_distance(scenario, other, num_experts, window)
        barrier()

    return measure_one


@jit
def _note_distance(scenario, other, num_experts, window):  # type: ignore[no-untyped-def]
    """Measure the distance of two scenarios, two experts at a time, and note it for both."""
    loads, sizes, distances, _ = window
    squares = loads.dtype.type(0)
    expert = np.int64(0)
    while expert + 1 < num_experts:
        place = expert * STEP_STRIDE
        gap = loads[place + scenario] - loads[place + other]
        next_gap = loads[place + STEP_STRIDE + scenario] - loads[place + STEP_STRIDE + other]
        squares = squares + times(gap, gap) + times(next_gap, next_gap)
        expert += 2
    if expert < num_experts:
        gap = loads[expert * STEP_STRIDE + scenario] - loads[expert * STEP_STRIDE + other]
        squares += times(gap, gap)
    distance = times(squares, times(sizes[scenario], sizes[other]) / (sizes[scenario] + sizes[other]))
    distances[scenario * MOST_STEPS + other] = distance
    distances[other * MOST_STEPS + scenario] = distance


overload(sums.total_in_line, target="cuda")(_total_in_line)
overload(window.measure, target="cuda")(_measure)
overload(window.measure_one, target="cuda")(_measure_one)
overload(window.total_of_step, target="cuda")(_total_of_step)
