"""How does a warp hand out slots?  Each lane knows whose turn comes first of its own experts, every WARP-th."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import replicate
from ..rules.replicate import turn_of
from ..rules.words import lane
from .block import WARP
from .instructions import either, meet_warp
from .ranks import best_rank, rank_of

__all__: list[str] = []


def _hand_out(node, most, evenly, bracket):  # type: ignore[no-untyped-def]
    def hand_out(node, most, evenly, bracket):  # type: ignore[no-untyped-def]
        """Let all lanes look who comes next among the experts of the lane that has got a slot: alone it would take long."""
        turns, num_experts, slot = bracket.values, np.int32(len(node.loads)), np.int32(len(node.loads))
        own, count, turn = np.int32(lane()), np.int32(0), node.loads.dtype.type(0)
        expert = own
        while expert < num_experts:
            turns[expert] = turn_of(expert, 1, most, evenly, node)
            expert = np.int32(expert + WARP)
        rank, first = _first_of(turns, own, np.int32(WARP), num_experts)
        while slot < len(node.slot_loads):
            _, winner = best_rank(rank, first)
            if own < num_experts:  # before it is known who gets the slot
                count = np.int32(np.int32(node.counts[first]) + 1)
                turn = turn_of(first, count, most, evenly, node)
            owner = np.int32(winner & np.int32(WARP - 1))
            meet_warp()
            if own == owner:
                node.slot_experts[slot] = winner
                node.slot_ranks[slot] = np.int32(count - 1)
                node.counts[winner] = count
                turns[winner] = turn
            meet_warp()
            next_rank, next_first = _first_of(turns, np.int32(owner + own * WARP), np.int32(WARP * WARP), num_experts)
            next_rank, next_first = best_rank(next_rank, next_first)
            rank, first = either(own == owner, next_rank, rank), either(own == owner, next_first, first)
            slot = np.int32(slot + 1)
        meet_warp()

    return hand_out


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
