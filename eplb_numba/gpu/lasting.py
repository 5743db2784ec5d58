"""How do the lanes of a block find what lasts?  They share out pairs of steps, GPUs and swaps, and keep sums in registers."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import spread, sums, trade, window
from ..rules.norm import eighth
from ..rules.scratch import recall_outlook
from ..rules.spread import has_room
from ..rules.terms import MOST_STEPS, STEP_STRIDE
from ..rules.trade import LEAST_GAIN, may_trade
from ..rules.words import barrier, best_lane, lane, lanes, mine, times
from .instructions import quotient
from .strips import rest

__all__: list[str] = []


def _total_in_line(loads, first, size):  # type: ignore[no-untyped-def]
    def total_in_line(loads, first, size):  # type: ignore[no-untyped-def]
        """Read four at a time, for reading takes longest; add them up one after the other."""
        total = loads.dtype.type(0)
        place, end = np.int64(first), np.int64(first + size)
        while place + 3 < end:
            one, two, three, four = loads[place], loads[place + 1], loads[place + 2], loads[place + 3]
            total = total + one + two + three + four
            place += 4
        while place < end:
            total += loads[place]
            place += 1
        return total

    return total_in_line


def _total_of_step(steps, step, layer, loads):  # type: ignore[no-untyped-def]
    def total_of_step(steps, step, layer, loads):  # type: ignore[no-untyped-def]
        value = loads.dtype.type
        total = value(0)
        place, end = np.int64(0), np.int64(steps.shape[2])
        while place + 3 < end:
            one, two = abs(value(steps[step, layer, place])), abs(value(steps[step, layer, place + 1]))
            three, four = abs(value(steps[step, layer, place + 2])), abs(value(steps[step, layer, place + 3]))
            total = total + one + two + three + four
            place += 4
        while place < end:
            total += abs(value(steps[step, layer, place]))
            place += 1
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


def _put_replica(expert, rank, count, copies, outlook):  # type: ignore[no-untyped-def]
    def put_replica(expert, rank, count, copies, outlook):  # type: ignore[no-untyped-def]
        """Let each lane reckon for a GPU in a scenario, then for a GPU."""
        outlook = recall_outlook(outlook)
        value = outlook.means.dtype.type
        num_gpus, num_experts = len(outlook.burdens), len(outlook.means)
        replicas, growths = value(outlook.counts[expert]), outlook.slot_loads  # not needed yet
        for place in mine(count * num_gpus):
            scenario = quotient(place, num_gpus)
            load = outlook.gpu_loads[place] + outlook.loads[scenario * num_experts + expert] / replicas
            growths[place] = times(eighth(load) - outlook.powers[place], outlook.sizes[scenario])
        barrier()
        least, cheapest = value(np.inf), np.int64(-1)
        for gpu in mine(num_gpus):
            if has_room(gpu, expert, copies, outlook):
                cost = _total_of_column(growths, gpu, num_gpus, count)
                if cost < least:
                    least, cheapest = cost, np.int64(gpu)
        least, cheapest = best_lane(-least, cheapest)
        if -least == value(np.inf):
            return False
        for scenario in mine(count):
            place = scenario * num_gpus + cheapest
            load = outlook.gpu_loads[place] + outlook.loads[scenario * num_experts + expert] / replicas
            outlook.gpu_loads[place] = load
            outlook.powers[place] = eighth(load)
        if lane() == 0:
            slot = cheapest * outlook.slots + outlook.fill[cheapest]
            outlook.experts[slot] = expert
            outlook.ranks[slot] = rank
            outlook.fill[cheapest] += 1
        barrier()
        return True

    return put_replica


@jit
def _total_of_column(table, column, width, height):  # type: ignore[no-untyped-def]
    """Add up a column one row after the other; two are read at a time, for reading takes longest."""
    total = table.dtype.type(0)
    row, column = np.int64(0), rest(table, column)
    while row + 1 < height:
        one, two = column[0], column[width]
        total = total + one + two
        column = rest(column, 2 * width)
        row += 2
    return total + column[0] if row < height else total


def _best_trade(heavy, count, copies, outlook):  # type: ignore[no-untyped-def]
    def best_trade(heavy, count, copies, outlook):  # type: ignore[no-untyped-def]
        """Let each lane take an item that comes and three that leave at once: what is read for one serves all three."""
        outlook = recall_outlook(outlook)
        value = outlook.costs.dtype.type
        num_slots, slots = len(outlook.costs), outlook.slots
        burden = outlook.burdens[heavy]
        gain, swap = times(value(LEAST_GAIN), burden), np.int64(-1)
        leaving = np.int64(heavy * slots)
        last = leaving + slots - 1
        coming = np.int64(lane())
        while True:
            while coming >= num_slots:
                coming -= num_slots
                leaving += 3
            if leaving > last:
                break
            light = quotient(coming, slots)
            if light != heavy:
                second, third = min(leaving + 1, last), min(leaving + 2, last)
                costs = _costs_of((leaving, second, third), coming, heavy, light, count, outlook)
                before = burden + outlook.burdens[light]
                gain, swap = _better_of(before - costs[0], leaving, coming, copies, outlook, gain, swap)
                gain, swap = _better_of(before - costs[1], second, coming, copies, outlook, gain, swap)
                gain, swap = _better_of(before - costs[2], third, coming, copies, outlook, gain, swap)
            coming += lanes()
        _, swap = best_lane(gain if swap >= 0 else value(-1), swap)
        return swap

    return best_trade


@jit
def _better_of(better, leaving, coming, copies, outlook, gain, swap):  # type: ignore[no-untyped-def]
    """Keep the swap that gains more, or the one with the lower number of two that gain as much."""
    number = leaving * len(outlook.costs) + coming
    if (better > gain or (better == gain and number < swap)) and may_trade(leaving, coming, outlook.slots, copies, outlook):
        return better, number
    return gain, swap


@jit
def _costs_of(leaving, coming, heavy, light, count, outlook):  # type: ignore[no-untyped-def]
    """Give the weighted powers of two GPUs once each of three items has been swapped for the one that comes."""
    num_slots, num_gpus, zero = len(outlook.costs), len(outlook.burdens), outlook.costs.dtype.type(0)
    # What is read next is moved on, for to reckon out where it lies takes as long as to reckon with it.
    one, two, three = (
        rest(outlook.slot_loads, leaving[0]),
        rest(outlook.slot_loads, leaving[1]),
        rest(outlook.slot_loads, leaving[2]),
    )
    comes, heavy_loads, light_loads = (
        rest(outlook.slot_loads, coming),
        rest(outlook.gpu_loads, heavy),
        rest(outlook.gpu_loads, light),
    )
    slopes = outlook.slopes
    cost_one, cost_two, cost_three = zero, zero, zero
    scenario = np.int64(0)
    while scenario < count:
        slope, new, heavy_load = slopes[scenario], comes[0], heavy_loads[0]
        light_rest = light_loads[0] - new
        cost_one += times(_power_of_both(heavy_load - one[0] + new, light_rest + one[0]), slope)
        cost_two += times(_power_of_both(heavy_load - two[0] + new, light_rest + two[0]), slope)
        cost_three += times(_power_of_both(heavy_load - three[0] + new, light_rest + three[0]), slope)
        one, two, three, comes = rest(one, num_slots), rest(two, num_slots), rest(three, num_slots), rest(comes, num_slots)
        heavy_loads, light_loads = rest(heavy_loads, num_gpus), rest(light_loads, num_gpus)
        scenario += 1
    return cost_one, cost_two, cost_three


@jit
def _power_of_both(one, other):  # type: ignore[no-untyped-def]
    return eighth(one) + eighth(other)


overload(spread.put_replica, target="cuda")(_put_replica)
overload(sums.total_in_line, target="cuda")(_total_in_line)
overload(trade.best_trade, target="cuda")(_best_trade)
overload(window.measure, target="cuda")(_measure)
overload(window.measure_one, target="cuda")(_measure_one)
overload(window.total_of_step, target="cuda")(_total_of_step)
