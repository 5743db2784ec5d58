"""How often is each expert of a node replicated?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .bracket import Bracket, bracket_size, champion, open_bracket, replay, seat
from .sums import largest_of, total_of
from .terms import Node
from .words import barrier, lane, mine, rule

__all__ = ["node_bound", "replicate"]


@rule
def replicate(node: Node, most: int, evenly: bool, bracket: Bracket) -> None:
    """Give each expert one slot and every further slot to the expert with the largest load per replica.

    Reads node.loads and writes the rest of node.  No expert gets more than most replicas; there must be room for all
    slots.  Ties go to the lowest index: every rank must agree.  Evenly means that of experts without load those with the
    fewest replicas come first: nobody wants a table that is as wide as there are slots for a layer that is idle.
    """
    value = node.loads.dtype.type
    num_experts, num_slots = len(node.loads), len(node.slot_loads)
    size = bracket_size(num_experts)
    for expert in mine(num_experts):
        node.counts[expert] = 1
        node.slot_experts[expert] = expert
        node.slot_ranks[expert] = 0
        seat(bracket, size, expert, _turn(expert, 1, evenly, node))
    barrier()
    lead = value(np.inf), np.int64(0)
    if num_slots > num_experts:
        lead = open_bracket(bracket, size, num_experts)
    for slot in range(num_experts, num_slots):
        _, expert = champion(lead)
        count = np.int64(node.counts[expert]) + 1
        barrier()
        if lane() == 0:
            node.slot_experts[slot] = expert
            node.slot_ranks[slot] = count - 1
            node.counts[expert] = count
        turn = _turn(expert, count, evenly, node) if count < most else value(np.inf)
        lead = replay(bracket, size, expert, turn, lead)
    barrier()
    for slot in mine(num_slots):
        expert = node.slot_experts[slot]
        node.slot_loads[slot] = node.loads[expert] / value(node.counts[expert])
    barrier()


@rule
def _turn(expert: int, count: int, evenly: bool, node: Node) -> Any:
    """Give an expert's value in the bracket, where the lowest wins the next slot: its load per replica, negated."""
    value = node.loads.dtype.type
    share = node.loads[expert] / value(count)
    return value(count) if evenly and share == 0 else -share


@rule
def node_bound(node: Node, num_gpus: int) -> Any:
    """Give the load that the node's heaviest GPU cannot go below: its mean GPU load or its largest replica."""
    return max(total_of(node.loads) / node.loads.dtype.type(num_gpus), largest_of(node.slot_loads))
