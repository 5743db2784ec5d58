"""How does a warp hand out slots?  Many at once, in the order in which they would go one after the other.

Of each expert it is known when its turn is with the replicas that it has, and when it will be with one more.  All whose turn
is before any later one get a slot: none of them would get a second one before the others have theirs.
"""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import replicate
from ..rules.replicate import turn_of
from ..rules.words import lane
from .block import WARP
from .instructions import among, either, meet_warp
from .ranks import best_of_warp, best_rank, rank_of

__all__: list[str] = []

FEW = 3  # slots that are handed out one by one in the time that it takes to hand out some at once
BURST = 4  # slots that are handed out one by one at first
WORTH = 256  # comparisons for a slot: with more, one by one is sooner done


def _hand_out(node, most, evenly, desk):  # type: ignore[no-untyped-def]
    def hand_out(node, most, evenly, desk):  # type: ignore[no-untyped-def]
        """Let each lane look at its own experts, every WARP-th; the block is a single warp."""
        turns, later = desk.bracket.values, node.slot_loads
        slot, end, burst = np.int32(len(node.loads)), np.int32(len(node.slot_loads)), np.int32(BURST)
        expert = np.int32(lane())
        while expert < np.int32(len(node.loads)):
            turns[expert], later[expert] = turn_of(expert, 1, most, evenly, node), turn_of(expert, 2, most, evenly, node)
            expert = np.int32(expert + WARP)
        while slot < end:
            at_once = _hand_out_at_once(node, most, evenly, turns, later, desk.order, slot, end)
            slot = np.int32(slot + at_once)
            if slot < end and at_once < FEW:
                until = min(np.int32(slot + burst), end)
                _hand_out_one_by_one(node, most, evenly, turns, later, slot, until)
                slot, burst = until, np.int32(burst + burst)

    return hand_out


@jit
def _hand_out_at_once(node, most, evenly, turns, later, listed, slot, end):  # type: ignore[no-untyped-def]
    """Hand out a slot to each whose turn is before any later one, if they are few enough to be compared; tell how many."""
    own, num_experts, left = np.int32(lane()), np.int32(len(node.loads)), np.int32(end - slot)
    soonest, expert = turns.dtype.type(np.inf), own
    while expert < num_experts:
        soonest = min(soonest, later[expert])
        expert = np.int32(expert + WARP)
    soonest = -best_of_warp(-soonest, own)[0]
    first, count = np.int32(0), np.int32(0)
    while first < num_experts:
        expert = np.int32(first + own)
        is_before = expert < num_experts and turns[expert] < soonest
        votes = among(is_before)
        if is_before:
            ahead = np.uint32(votes & np.uint32((np.uint32(1) << np.uint32(own)) - np.uint32(1)))
            listed[np.int32(count + np.int32(cuda.popc(ahead)))] = expert
        first, count = np.int32(first + WARP), np.int32(count + np.int32(cuda.popc(votes)))
    meet_warp()
    if np.int64(count) * count > np.int64(WORTH) * left:
        return np.int32(0)
    place = own
    while place < count:
        expert = np.int32(listed[place])
        turn, rival, target = turns[expert], np.int32(0), slot
        while rival < count:
            rival_turn = turns[listed[rival]]
            target = np.int32(target + ((rival_turn < turn) | ((rival_turn == turn) & (rival < place))))
            rival = np.int32(rival + 1)
        if target < end:
            node.slot_experts[target] = expert
        place = np.int32(place + WARP)
    meet_warp()
    count = min(count, left)
    place = own
    while place < count:
        target = np.int32(slot + place)
        _give(node, most, evenly, turns, later, np.int32(node.slot_experts[target]), target)
        place = np.int32(place + WARP)
    meet_warp()
    return count


@jit
def _give(node, most, evenly, turns, later, expert, slot):  # type: ignore[no-untyped-def]
    """Note an expert's next replica, and when its turns are then."""
    count = np.int32(node.counts[expert])
    node.slot_ranks[slot], node.counts[expert] = count, np.int32(count + 1)
    turns[expert], later[expert] = later[expert], turn_of(expert, np.int32(count + 2), most, evenly, node)


@jit
def _hand_out_one_by_one(node, most, evenly, turns, later, slot, until):  # type: ignore[no-untyped-def]
    """Let all lanes look who comes next among the experts of the lane that has got a slot: alone it would take long."""
    own, num_experts = np.int32(lane()), np.int32(len(node.loads))
    meet_warp()
    rank, first = _first_of(turns, own, np.int32(WARP), num_experts)
    while slot < until:
        _, winner = best_rank(rank, first)
        owner = np.int32(winner & np.int32(WARP - 1))
        meet_warp()
        if own == owner:
            node.slot_experts[slot] = winner
            _give(node, most, evenly, turns, later, winner, slot)
        meet_warp()
        next_rank, next_first = _first_of(turns, np.int32(owner + own * WARP), np.int32(WARP * WARP), num_experts)
        next_rank, next_first = best_rank(next_rank, next_first)
        rank, first = either(own == owner, next_rank, rank), either(own == owner, next_first, first)
        slot = np.int32(slot + 1)
    meet_warp()


@jit
def _first_of(turns, expert, step, num_experts):  # type: ignore[no-untyped-def]
    """Give the rank of the lowest turn of some experts, and the first of them that has it."""
    lowest, first = turns.dtype.type(np.inf), expert
    while expert < num_experts:
        turn = turns[expert]
        is_lower = turn < lowest
        lowest, first = either(is_lower, turn, lowest), either(is_lower, expert, first)
        expert = np.int32(expert + step)
    return rank_of(-lowest), first


overload(replicate.hand_out, target="cuda")(_hand_out)
