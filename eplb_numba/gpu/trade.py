"""How do the lanes of a block trade?  They share out the swaps that they look at, and keep sums in registers."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import trade
from ..rules.norm import add_up, eighth
from ..rules.scratch import recall_outlook
from ..rules.trade import LEAST_GAIN, burden_of, may_trade, slope_of
from ..rules.words import barrier, lane, lanes, parts, times
from .block import WARP
from .instructions import either, meet_warp, quotient
from .offers import best_offer, make_offer, post, posted
from .ranks import best_of_warp, best_rank, rank_of
from .strips import rest

__all__: list[str] = []


def _trade(count, copies, rounds, outlook):  # type: ignore[no-untyped-def]
    def trade(count, copies, rounds, outlook):  # type: ignore[no-untyped-def]
        """Let one warp carry out swaps and weigh, and all of them look for the next swap: so they meet twice in a search."""
        heavy, swap, search = np.int32(-1), np.int32(-1), np.int64(0)
        while True:
            if lane() < WARP:
                heavy = _next_heavy(heavy, swap, np.int32(count), search == 0, outlook)
                if lane() == 0:
                    post(heavy)
            barrier()
            heavy = posted()
            if heavy < 0 or search == rounds:
                break
            gain, swap = _best_of_lane(heavy, count, copies, outlook)
            rank, swap = best_rank(rank_of(gain), swap)
            make_offer(rank, swap)
            barrier()
            _, swap = best_offer(rank)
            search += 1
        return search

    return trade


@jit
def _next_heavy(heavy, swap, count, is_first, outlook):  # type: ignore[no-untyped-def]
    """Carry out the swap that the heavy GPU has, or note that it has none; give the GPU to look at next, or -1."""
    outlook = recall_outlook(outlook)
    own, num_gpus = np.int32(lane()), np.int32(len(outlook.burdens))
    if swap >= 0:
        _carry_out(swap, count, outlook)
    elif heavy >= 0 and own == 0:
        outlook.fill[heavy] = 1
    if swap >= 0 or is_first:
        if own < count:
            outlook.slopes[own] = slope_of(own, outlook)
        meet_warp()
        gpu = own
        while gpu < num_gpus:
            outlook.burdens[gpu] = burden_of(gpu, count, outlook)
            gpu = np.int32(gpu + WARP)
    meet_warp()
    most, heaviest, gpu = outlook.burdens.dtype.type(-1), np.int32(-1), own
    while gpu < num_gpus:
        if outlook.fill[gpu] == 0 and outlook.burdens[gpu] > most:
            most, heaviest = outlook.burdens[gpu], gpu
        gpu = np.int32(gpu + WARP)
    return np.int32(best_of_warp(most, heaviest)[1])


@jit
def _carry_out(swap, count, outlook):  # type: ignore[no-untyped-def]
    """Carry out a swap; two lanes see to each scenario."""
    num_slots, num_gpus, own = np.int32(len(outlook.costs)), np.int32(len(outlook.burdens)), np.int32(lane())
    leaving, coming = parts(swap, num_slots)
    heavy, light = np.int32(quotient(leaving, outlook.slots)), np.int32(quotient(coming, outlook.slots))
    experts, ranks = outlook.experts, outlook.ranks
    if own == 0:
        experts[leaving], experts[coming] = experts[coming], experts[leaving]
        ranks[leaving], ranks[coming] = ranks[coming], ranks[leaving]
    scenario, of_light = own >> np.int32(1), own & np.int32(1)
    if scenario < count and of_light == 0:
        loads = rest(outlook.slot_loads, scenario * num_slots)
        loads[leaving], loads[coming] = loads[coming], loads[leaving]
    meet_warp()
    if scenario < count:
        add_up(either(of_light == 1, light, heavy), scenario, outlook)
    gpu = own
    while gpu < num_gpus:
        outlook.fill[gpu] = 0
        gpu = np.int32(gpu + WARP)
    meet_warp()


@jit
def _best_of_lane(heavy, count, copies, outlook):  # type: ignore[no-untyped-def]
    """Let each lane take an item that comes and three that leave at once: what is read for one serves all three."""
    outlook = recall_outlook(outlook)
    value = outlook.costs.dtype.type
    num_slots, slots, many = np.int32(len(outlook.costs)), np.int32(outlook.slots), np.int32(lanes())
    burden = outlook.burdens[heavy]
    gain, swap = times(value(LEAST_GAIN), burden), np.int32(-1)
    leaving = np.int32(heavy * slots)
    last = np.int32(np.int32(leaving + slots) - 1)
    coming = np.int32(lane())
    while True:
        while coming >= num_slots:
            coming, leaving = np.int32(coming - num_slots), np.int32(leaving + 3)
        if leaving > last:
            break
        light = np.int32(quotient(coming, slots))
        if light != heavy:
            second, third = min(np.int32(leaving + 1), last), min(np.int32(leaving + 2), last)
            costs = _costs_of((leaving, second, third), coming, heavy, light, np.int32(count), outlook)
            before = burden + outlook.burdens[light]
            gain, swap = _better_of(before - costs[0], leaving, coming, copies, outlook, gain, swap)
            gain, swap = _better_of(before - costs[1], second, coming, copies, outlook, gain, swap)
            gain, swap = _better_of(before - costs[2], third, coming, copies, outlook, gain, swap)
        coming = np.int32(coming + many)
    return either(swap >= 0, gain, value(-1)), swap


@jit
def _better_of(better, leaving, coming, copies, outlook, gain, swap):  # type: ignore[no-untyped-def]
    """Keep the swap that gains more, or the one with the lower number of two that gain as much."""
    number = np.int32(np.int32(leaving * np.int32(len(outlook.costs))) + coming)
    if (better > gain or (better == gain and number < swap)) and may_trade(leaving, coming, outlook.slots, copies, outlook):
        return better, number
    return gain, swap


@jit
def _costs_of(leaving, coming, heavy, light, count, outlook):  # type: ignore[no-untyped-def]
    """Give the weighted powers of two GPUs once each of three items has been swapped for the one that comes.

    Two scenarios are reckoned with at a time, for there are few warps to wait for memory together.
    """
    num_slots, num_gpus, zero = len(outlook.costs), len(outlook.burdens), outlook.costs.dtype.type(0)
    # What is read next is moved on, for to reckon out where it lies takes as long as to reckon with it.
    one, two, three, comes = (
        rest(outlook.slot_loads, leaving[0]),
        rest(outlook.slot_loads, leaving[1]),
        rest(outlook.slot_loads, leaving[2]),
        rest(outlook.slot_loads, coming),
    )
    heavy_loads, light_loads, slopes = rest(outlook.gpu_loads, heavy), rest(outlook.gpu_loads, light), outlook.slopes
    costs = zero, zero, zero
    scenario = np.int32(0)
    while scenario + 1 < count:
        terms = _costs_in(heavy_loads[0], light_loads[0], comes[0], one[0], two[0], three[0], slopes[0])
        next_terms = _costs_in(
            heavy_loads[num_gpus],
            light_loads[num_gpus],
            comes[num_slots],
            one[num_slots],
            two[num_slots],
            three[num_slots],
            slopes[1],
        )
        costs = (
            costs[0] + terms[0] + next_terms[0],
            costs[1] + terms[1] + next_terms[1],
            costs[2] + terms[2] + next_terms[2],
        )
        one, two, three = rest(one, 2 * num_slots), rest(two, 2 * num_slots), rest(three, 2 * num_slots)
        comes, slopes = rest(comes, 2 * num_slots), rest(slopes, 2)
        heavy_loads, light_loads = rest(heavy_loads, 2 * num_gpus), rest(light_loads, 2 * num_gpus)
        scenario = np.int32(scenario + 2)
    if scenario < count:
        terms = _costs_in(heavy_loads[0], light_loads[0], comes[0], one[0], two[0], three[0], slopes[0])
        costs = costs[0] + terms[0], costs[1] + terms[1], costs[2] + terms[2]
    return costs


@jit
def _costs_in(heavy_load, light_load, comes, one, two, three, slope):  # type: ignore[no-untyped-def]
    """Do that in one scenario."""
    light_rest = light_load - comes
    return (
        times(_power_of_both(heavy_load - one + comes, light_rest + one), slope),
        times(_power_of_both(heavy_load - two + comes, light_rest + two), slope),
        times(_power_of_both(heavy_load - three + comes, light_rest + three), slope),
    )


@jit
def _power_of_both(one, other):  # type: ignore[no-untyped-def]
    return eighth(one) + eighth(other)


overload(trade.trade, target="cuda")(_trade)
