"""How do the lanes of a block trade?  Each warp looks at the swaps with what lies in some slots, and one carries them out."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import trade
from ..rules.norm import add_up
from ..rules.outlook import MOST_SCENARIOS, recall_outlook
from ..rules.promise import reach_of
from ..rules.scenarios import clear_rest
from ..rules.sums import total_in_line
from ..rules.trade import slope_of
from ..rules.words import barrier, lane, parts, times
from .block import WARP
from .instructions import either, meet_warp, quotient
from .offers import best_offer, make_offer, post, posted
from .promise import best_of_slots, read_column
from .ranks import best_of_warp, rank_of
from .strips import rest

__all__: list[str] = []


def _trade(count, copies, rounds, outlook):  # type: ignore[no-untyped-def]
    def trade(count, copies, rounds, outlook):  # type: ignore[no-untyped-def]
        """Let one warp carry out swaps and weigh, and all of them look for the next swap: so they meet twice in a search."""
        clear_rest(count, outlook)
        reach = reach_of(outlook)
        heavy, swap, search, is_stale = np.int32(-1), np.int32(-1), np.int64(0), False
        while True:
            if lane() < WARP:
                heavy, is_stale = _next_heavy(heavy, swap, np.int32(count), search == 0, is_stale, outlook)
                if lane() == 0:
                    post(heavy)
            barrier()
            heavy = posted()
            if heavy < 0 or search == rounds:
                break
            gain, swap = best_of_slots(heavy, copies, reach, outlook)
            rank = rank_of(gain)
            make_offer(rank, swap)
            barrier()
            _, swap = best_offer(rank)
            search += 1
        return search

    return trade


@jit
def _next_heavy(heavy, swap, count, is_first, is_stale, outlook):  # type: ignore[no-untyped-def]
    """Carry out the swap that the heavy GPU has, or let it rest; give the GPU to look at next, or -1.

    Besides, tell whether there have been swaps since all were awake.
    """
    outlook = recall_outlook(outlook)
    own, num_gpus = np.int32(lane()), np.int32(len(outlook.burdens))
    if swap >= 0:
        _carry_out(swap, count, outlook)
    elif heavy >= 0 and own == 0:
        outlook.fill[heavy] = 1
    if swap >= 0 or is_first:
        if own < count:
            outlook.slopes[own] = _slope_in(own, outlook)
        meet_warp()
        gpu = own
        while gpu < num_gpus:
            outlook.burdens[gpu] = _burden_of(gpu, outlook)
            gpu = np.int32(gpu + WARP)
    meet_warp()
    is_stale = is_stale or swap >= 0
    heavy = _most_burdened(outlook)
    if heavy < 0 and is_stale:
        gpu = own
        while gpu < num_gpus:
            outlook.fill[gpu] = 0
            gpu = np.int32(gpu + WARP)
        is_stale, heavy = False, _most_burdened(outlook)  # a lane looks at what it has written
    return heavy, is_stale


@jit
def _slope_in(scenario, outlook):  # type: ignore[no-untyped-def]
    """Give the slope of a scenario's norm."""
    num_gpus = len(outlook.burdens)
    total = total_in_line(outlook.powers, scenario * num_gpus, num_gpus)
    return slope_of(outlook.sizes[scenario], total)


@jit
def _most_burdened(outlook):  # type: ignore[no-untyped-def]
    """Give the GPU with the largest burden of those that do not rest, or -1."""
    num_gpus, gpu = np.int32(len(outlook.burdens)), np.int32(lane())
    most, heaviest = outlook.burdens.dtype.type(-1), np.int32(-1)
    while gpu < num_gpus:
        if outlook.fill[gpu] == 0 and outlook.burdens[gpu] > most:
            most, heaviest = outlook.burdens[gpu], gpu
        gpu = np.int32(gpu + WARP)
    return np.int32(best_of_warp(most, heaviest)[1])


@jit
def _burden_of(gpu, outlook):  # type: ignore[no-untyped-def]
    """Do what the rule of this name does; all is read before anything is added."""
    value, num_gpus = outlook.costs.dtype.type, np.int32(len(outlook.burdens))
    powers, slopes = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    read_column(outlook.powers, num_gpus, gpu, powers)
    read_column(outlook.slopes, np.int32(1), np.int32(0), slopes)
    burden = value(0)
    for scenario in range(MOST_SCENARIOS):
        burden += times(powers[scenario], slopes[scenario])
    return burden


@jit
def _carry_out(swap, count, outlook):  # type: ignore[no-untyped-def]
    """Carry out a swap; two lanes see to each scenario."""
    num_slots, own = np.int32(len(outlook.costs)), np.int32(lane())
    leaving, coming = parts(swap, num_slots)
    heavy, light = np.int32(quotient(leaving, outlook.slots)), np.int32(quotient(coming, outlook.slots))
    experts, ranks = outlook.experts, outlook.ranks
    if own == 0:
        experts[leaving], experts[coming] = experts[coming], experts[leaving]
        ranks[leaving], ranks[coming] = ranks[coming], ranks[leaving]
        outlook.fill[heavy] = outlook.fill[light] = 0
    scenario, of_light = own >> np.int32(1), own & np.int32(1)
    if scenario < count and of_light == 0:
        loads = rest(outlook.slot_loads, scenario * num_slots)
        loads[leaving], loads[coming] = loads[coming], loads[leaving]
    meet_warp()
    if scenario < count:
        add_up(either(of_light == 1, light, heavy), scenario, outlook)
    meet_warp()


overload(trade.trade, target="cuda")(_trade)
