"""How often is each expert of a node replicated?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .bracket import bracket_size, champion, open_bracket, replay, seat
from .sums import largest_of, total_of
from .terms import Desk, Node
from .words import barrier, lane, mine, rule, word

__all__ = ["hand_out", "node_bound", "replicate", "turn_of"]


@rule
def replicate(node: Node, most: int, evenly: bool, desk: Desk) -> None:
    """Give each expert one slot and every further slot to the expert with the largest load per replica.

    Reads node.loads and writes the rest of node; the desk is scratch.  No expert gets more than most replicas; there must be
    room for all slots.  Ties go to the lowest index: every rank must agree.  Evenly means that of experts without load those
    with the fewest replicas come first: nobody wants a table that is as wide as there are slots for a layer that is idle.
    """
    for expert in mine(len(node.loads)):
        node.counts[expert] = 1
        node.slot_experts[expert] = expert
        node.slot_ranks[expert] = 0
    barrier()
    if len(node.slot_loads) > len(node.loads):
        hand_out(node, most, evenly, desk)
    for slot in mine(len(node.slot_loads)):
        expert = node.slot_experts[slot]
        node.slot_loads[slot] = node.loads[expert] / node.loads.dtype.type(node.counts[expert])
    barrier()


@word
def hand_out(node: Node, most: int, evenly: bool, desk: Desk) -> None:
    """Give the slots that are left once each expert has one, one after the other, to the expert whose turn is lowest."""
    bracket, num_experts = desk.bracket, len(node.loads)
    size = bracket_size(num_experts)
    for expert in mine(num_experts):
        seat(bracket, size, expert, turn_of(expert, 1, most, evenly, node))
    barrier()
    lead = open_bracket(bracket, size, num_experts)
    for slot in range(num_experts, len(node.slot_loads)):
        _, expert = champion(lead)
        count = np.int64(node.counts[expert]) + 1
        barrier()
        if lane() == 0:
            node.slot_experts[slot] = expert
            node.slot_ranks[slot] = count - 1
            node.counts[expert] = count
        lead = replay(bracket, size, expert, turn_of(expert, count, most, evenly, node), lead)
    barrier()


@rule
def turn_of(expert: int, count: int, most: int, evenly: bool, node: Node) -> Any:
    """Give when the turn of an expert with so many replicas is: the lower, the larger its load per replica."""
    value = node.loads.dtype.type
    if count >= most:
        return value(np.inf)
    share = node.loads[expert] / value(count)
    return value(count) if evenly and share == 0 else -share


@rule
def node_bound(node: Node, num_gpus: int) -> Any:
    """Give the load that the node's heaviest GPU cannot go below: its mean GPU load or its largest replica."""
    return max(total_of(node.loads) / node.loads.dtype.type(num_gpus), largest_of(node.slot_loads))
