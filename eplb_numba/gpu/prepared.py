"""What is the same for several blocks?  A node's experts and their replicas: one block leaves them for the others."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..rules.scratch import recall
from ..rules.terms import Layout, Tools
from ..rules.words import barrier, lane, mine, rule

__all__ = ["Prepared", "leave_node", "prepared_size", "take_up_node"]


class Prepared(NamedTuple):
    """What blocks leave of prepared nodes; there are none where few blocks have one in common."""

    # (layers, nodes, ...), the nodes of each try if they differ
    values: Any  # loads of experts and of replicas, the load that no heaviest GPU can go below, and the same raised
    integers: Any  # counts of experts, experts of replicas, and which of its expert's each one is


def prepared_size(layout: Layout) -> tuple[int, int]:
    """Give the number of values and of integers of a prepared node."""
    return layout.node_experts + layout.node_slots + 2, layout.node_experts + 2 * layout.node_slots


@rule
def leave_node(bound: Any, raised_bound: Any, tools: Tools, values: Any, integers: Any) -> None:
    """Leave a prepared node for other blocks, and what its bound comes to once it is raised."""
    node = recall(tools).node
    num_experts, num_slots = len(node.loads), len(node.slot_loads)
    for expert in mine(num_experts):
        values[expert], integers[expert] = node.loads[expert], node.counts[expert]
    for slot in mine(num_slots):
        values[num_experts + slot] = node.slot_loads[slot]
        integers[num_experts + slot] = node.slot_experts[slot]
        integers[num_experts + num_slots + slot] = node.slot_ranks[slot]
    if lane() == 0:
        values[num_experts + num_slots], values[num_experts + num_slots + 1] = bound, raised_bound
    barrier()


@rule
def take_up_node(values: Any, integers: Any, tools: Tools) -> tuple[Any, Any]:
    """Do what `load_node` and `prepare_node` do, from what a block has left; give the bound, too, as it was raised."""
    node = recall(tools).node
    num_experts, num_slots = len(node.loads), len(node.slot_loads)
    for expert in mine(num_experts):
        node.loads[expert], node.counts[expert] = values[expert], integers[expert]
    for slot in mine(num_slots):
        node.slot_loads[slot] = values[num_experts + slot]
        node.slot_experts[slot] = integers[num_experts + slot]
        node.slot_ranks[slot] = integers[num_experts + num_slots + slot]
    barrier()
    return values[num_experts + num_slots], values[num_experts + num_slots + 1]
