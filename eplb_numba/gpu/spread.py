"""How is a plan that is to last packed on a GPU?  By one warp, which keeps a GPU's loads in a lane; or by all lanes."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import spread
from ..rules.norm import eighth
from ..rules.scratch import recall_outlook
from ..rules.spread import has_room, pack_one_by_one
from ..rules.words import barrier, best_lane, lane, mine, times
from .block import ALL, WARP
from .instructions import either, meet_warp, quotient
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
    """Put each replica where the powers grow least; each lane also has the share of a scenario at hand."""
    outlook = recall_outlook(outlook)
    value, endless = outlook.means.dtype.type, outlook.means.dtype.type(np.inf)
    own, num_gpus, slots = np.int32(lane()), np.int32(len(outlook.burdens)), np.int32(outlook.slots)
    filled, room = np.int32(0), slots if own < num_gpus else np.int32(0)  # there may be more lanes than GPUs
    num_experts, column = np.int32(len(outlook.means)), min(own, np.int32(num_gpus - 1))
    experts, ranks = rest(outlook.experts, own * slots), rest(outlook.ranks, own * slots)
    turn, several = np.int32(0), True
    while several or turn < num_experts:
        if turn == num_experts:
            turn, several = np.int32(0), False
        expert = np.int32(order[turn])
        turn = np.int32(turn + 1)
        replicas = np.int32(outlook.counts[expert])
        if (replicas > 1) != several:
            continue
        held, slot = np.int32(0), np.int32(0)
        if replicas > copies:
            while slot < filled:
                held = np.int32(held + (np.int32(experts[slot]) == expert))
                slot = np.int32(slot + 1)
        share, rank = value(0), np.int32(0)
        if own < count:
            share = outlook.loads[own * num_experts + expert] / value(replicas)
        while rank < replicas:
            growth = _growth(share, column, count, num_gpus, outlook)
            cost = either((filled < room) & (held < copies), growth, endless)
            least, winner = lowest_lane(cost, own)
            if least == endless:
                return False
            meet_warp()
            if own < count:
                place = np.int32(np.int32(own * num_gpus) + winner)
                load = outlook.gpu_loads[place] + share
                outlook.gpu_loads[place], outlook.powers[place] = load, eighth(load)
            if own == winner:
                experts[filled], ranks[filled] = expert, rank
                filled, held = np.int32(filled + 1), np.int32(held + 1)
            meet_warp()
            rank = np.int32(rank + 1)
    return True


@jit
def _growth(share, column, count, num_gpus, outlook):  # type: ignore[no-untyped-def]
    """Give what the powers of a GPU grow by if it takes a replica, two scenarios at a time; it is summed in their order."""
    loads, powers, sizes = rest(outlook.gpu_loads, column), rest(outlook.powers, column), outlook.sizes
    total, scenario = loads.dtype.type(0), np.int32(0)
    while scenario + 1 < count:
        one, two = cuda.shfl_sync(ALL, share, scenario), cuda.shfl_sync(ALL, share, scenario + 1)
        growth = times(eighth(loads[0] + one) - powers[0], sizes[scenario])
        next_growth = times(eighth(loads[num_gpus] + two) - powers[num_gpus], sizes[scenario + 1])
        total = total + growth + next_growth
        loads, powers = rest(loads, 2 * num_gpus), rest(powers, 2 * num_gpus)
        scenario = np.int32(scenario + 2)
    if scenario < count:
        total += times(eighth(loads[0] + cuda.shfl_sync(ALL, share, scenario)) - powers[0], sizes[scenario])
    return total


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
