"""How is a plan that is to last packed on a GPU?  By one warp, which keeps a GPU's loads in a lane; or by all lanes."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import spread
from ..rules.norm import eighth
from ..rules.outlook import MOST_SCENARIOS, recall_outlook
from ..rules.spread import has_room, pack_one_by_one
from ..rules.words import barrier, best_lane, lane, mine, times
from .block import ALL, WARP
from .instructions import among, either, first_of, quotient
from .ranks import lowest_lane
from .strips import rest

__all__: list[str] = []


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


def _pack_in_order(order, count, copies, outlook):  # type: ignore[no-untyped-def]
    def pack_in_order(order, count, copies, outlook):  # type: ignore[no-untyped-def]
        """Let one warp pack, each lane for a GPU of its own: lanes of a warp wait for each other at little cost."""
        if len(outlook.burdens) > WARP:
            return pack_one_by_one(order, count, copies, outlook)
        value = outlook.means.dtype.type
        lacks_room = value(0)
        if lane() < WARP and not _pack_by_warp(order, count, copies, outlook):
            lacks_room = value(1)
        lacks_room, _ = best_lane(lacks_room, 0)
        return lacks_room == 0

    return pack_in_order


@jit
def _pack_by_warp(order, count, copies, outlook):  # type: ignore[no-untyped-def]
    """Put each replica where the powers grow least; a lane keeps a GPU's loads, and their powers, in registers.

    That holds for arrays of which the compiler knows each place, so loops go over all scenarios that there may be: those that
    there are not have neither loads nor size, and change no sum.
    """
    outlook = recall_outlook(outlook)
    value, endless = outlook.means.dtype.type, outlook.means.dtype.type(np.inf)
    own, slots = np.int32(lane()), np.int32(outlook.slots)
    num_gpus, num_experts = np.int32(len(outlook.burdens)), np.int32(len(outlook.means))
    filled, room = np.int32(0), either(own < num_gpus, slots, np.int32(0))
    experts, ranks = rest(outlook.experts, own * slots), rest(outlook.ranks, own * slots)
    loads, powers = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    next_loads, next_powers = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    sizes, own_shares = cuda.local.array(MOST_SCENARIOS, value), cuda.local.array(MOST_SCENARIOS, value)
    shares = cuda.local.array(MOST_SCENARIOS, value)
    for scenario in range(MOST_SCENARIOS):
        loads[scenario] = powers[scenario] = sizes[scenario] = own_shares[scenario] = value(0)
        if scenario < count:
            sizes[scenario] = outlook.sizes[scenario]
    begin, several = np.int32(0), True
    while several or begin < num_experts:
        if begin >= num_experts:
            begin, several = np.int32(0), False
        # The next experts, one a lane: reading them one by one takes longest.
        own_expert = np.int32(order[min(np.int32(begin + own), np.int32(num_experts - 1))])
        own_replicas = np.int32(outlook.counts[own_expert])
        for scenario in range(MOST_SCENARIOS):
            if scenario < count:
                own_shares[scenario] = outlook.loads[scenario * num_experts + own_expert] / value(own_replicas)
        waiting = among((np.int32(begin + own) < num_experts) & ((own_replicas > 1) == several))
        begin = np.int32(begin + WARP)
        while waiting != 0:
            index = np.int32(first_of(waiting))
            waiting = np.uint32(waiting & np.uint32(waiting - np.uint32(1)))
            expert, replicas = cuda.shfl_sync(ALL, own_expert, index), cuda.shfl_sync(ALL, own_replicas, index)
            for scenario in range(MOST_SCENARIOS):
                shares[scenario] = cuda.shfl_sync(ALL, own_shares[scenario], index)
            held, slot = np.int32(0), np.int32(0)
            if replicas > copies:
                while slot < filled:
                    held = np.int32(held + (np.int32(experts[slot]) == expert))
                    slot = np.int32(slot + 1)
            rank = np.int32(0)
            while rank < replicas:
                growth = value(0)
                for scenario in range(MOST_SCENARIOS):
                    next_loads[scenario] = loads[scenario] + shares[scenario]
                    next_powers[scenario] = eighth(next_loads[scenario])
                    growth += times(next_powers[scenario] - powers[scenario], sizes[scenario])
                cost = either((filled < room) & (held < copies), growth, endless)
                least, winner = lowest_lane(cost, own)
                if least == endless:
                    return False
                wins = own == winner
                for scenario in range(MOST_SCENARIOS):
                    loads[scenario] = either(wins, next_loads[scenario], loads[scenario])
                    powers[scenario] = either(wins, next_powers[scenario], powers[scenario])
                if wins:
                    experts[filled], ranks[filled] = expert, rank
                    filled, held = np.int32(filled + 1), np.int32(held + 1)
                rank = np.int32(rank + 1)
    return True


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


overload(spread.pack_in_order, target="cuda")(_pack_in_order)
overload(spread.put_replica, target="cuda")(_put_replica)
