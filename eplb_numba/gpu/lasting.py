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
from ..rules.words import barrier, best_lane, lane, lanes, times
from .instructions import quotient

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
        for other in range(lane(), count, lanes()):
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
        """Let each lane reckon for GPUs of its own."""
        outlook = recall_outlook(outlook)
        value = outlook.means.dtype.type
        num_gpus, num_experts = len(outlook.burdens), len(outlook.means)
        replicas, shares = value(outlook.counts[expert]), outlook.slopes  # not needed yet
        for scenario in range(lane(), count, lanes()):
            shares[scenario] = outlook.loads[scenario * num_experts + expert] / replicas
        barrier()
        least, cheapest = value(np.inf), np.int64(-1)
        for gpu in range(lane(), num_gpus, lanes()):
            if has_room(gpu, expert, copies, outlook):
                cost = _growth_of(gpu, count, outlook)
                if cost < least:
                    least, cheapest = cost, np.int64(gpu)
        least, cheapest = best_lane(-least, cheapest)
        if -least == value(np.inf):
            return False
        for scenario in range(lane(), count, lanes()):
            place = scenario * num_gpus + cheapest
            load = outlook.gpu_loads[place] + shares[scenario]
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
def _growth_of(gpu, count, outlook):  # type: ignore[no-untyped-def]
    """Give by how much a GPU's powers grow with the shares that lie in the slopes, two scenarios at a time."""
    num_gpus = len(outlook.burdens)
    loads, powers, sizes, shares = outlook.gpu_loads, outlook.powers, outlook.sizes, outlook.slopes
    cost = loads.dtype.type(0)
    scenario, place = np.int64(0), np.int64(gpu)
    while scenario + 1 < count:
        load, power, next_load, next_power = loads[place], powers[place], loads[place + num_gpus], powers[place + num_gpus]
        share, size, next_share, next_size = shares[scenario], sizes[scenario], shares[scenario + 1], sizes[scenario + 1]
        growth, next_growth = eighth(load + share) - power, eighth(next_load + next_share) - next_power
        cost = cost + times(growth, size) + times(next_growth, next_size)
        scenario += 2
        place += 2 * num_gpus
    if scenario < count:
        cost += times(eighth(loads[place] + shares[scenario]) - powers[place], sizes[scenario])
    return cost


def _best_trade(heavy, count, copies, outlook):  # type: ignore[no-untyped-def]
    def best_trade(heavy, count, copies, outlook):  # type: ignore[no-untyped-def]
        """Let the lanes take the swaps in turn, in the order of their numbers."""
        outlook = recall_outlook(outlook)
        value = outlook.costs.dtype.type
        num_slots, slots = len(outlook.costs), outlook.slots
        burden = outlook.burdens[heavy]
        gain, swap = times(value(LEAST_GAIN), burden), np.int64(-1)
        leaving = np.int64(heavy * slots)
        end = leaving + slots
        coming = np.int64(lane())
        while True:
            while coming >= num_slots:
                coming -= num_slots
                leaving += 1
            if leaving >= end:
                break
            light = quotient(coming, slots)
            if light != heavy:
                better = burden + outlook.burdens[light] - _cost_of(leaving, coming, heavy, light, count, outlook)
                if better > gain and may_trade(leaving, coming, slots, copies, outlook):
                    gain, swap = better, leaving * num_slots + coming
            coming += lanes()
        _, swap = best_lane(gain if swap >= 0 else value(-1), swap)
        return swap

    return best_trade


@jit
def _cost_of(leaving, coming, heavy, light, count, outlook):  # type: ignore[no-untyped-def]
    """Give the weighted powers of two GPUs once they have swapped, two scenarios at a time, for reading takes longest."""
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    loads, gpu_loads, slopes = outlook.slot_loads, outlook.gpu_loads, outlook.slopes
    cost = loads.dtype.type(0)
    scenario = np.int64(0)
    while scenario + 1 < count:
        leaves, comes, heavy_load, light_load = loads[leaving], loads[coming], gpu_loads[heavy], gpu_loads[light]
        leaving, coming, heavy, light = leaving + num_slots, coming + num_slots, heavy + num_gpus, light + num_gpus
        next_leaves, next_comes, next_heavy, next_light = loads[leaving], loads[coming], gpu_loads[heavy], gpu_loads[light]
        leaving, coming, heavy, light = leaving + num_slots, coming + num_slots, heavy + num_gpus, light + num_gpus
        slope, next_slope = slopes[scenario], slopes[scenario + 1]
        power = _power_of_both(heavy_load - leaves + comes, light_load - comes + leaves)
        next_power = _power_of_both(next_heavy - next_leaves + next_comes, next_light - next_comes + next_leaves)
        cost = cost + times(power, slope) + times(next_power, next_slope)
        scenario += 2
    if scenario < count:
        leaves, comes = loads[leaving], loads[coming]
        power = _power_of_both(gpu_loads[heavy] - leaves + comes, gpu_loads[light] - comes + leaves)
        cost += times(power, slopes[scenario])
    return cost


@jit
def _power_of_both(one, other):  # type: ignore[no-untyped-def]
    return eighth(one) + eighth(other)


overload(spread.put_replica, target="cuda")(_put_replica)
overload(sums.total_in_line, target="cuda")(_total_in_line)
overload(trade.best_trade, target="cuda")(_best_trade)
overload(window.measure, target="cuda")(_measure)
overload(window.measure_one, target="cuda")(_measure_one)
overload(window.total_of_step, target="cuda")(_total_of_step)
