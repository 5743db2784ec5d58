"""What is a placement, and how does it come off a stage, or back onto one?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .sums import largest_here, largest_of, total_of
from .terms import Layout, Stage
from .words import barrier, each, lane, mine, mine_from, rule, word

__all__ = ["Placement", "clear_log2phy", "deliver", "list_slots", "placement_arrays", "restage"]


class Placement(NamedTuple):
    """What a plan consists of, for all layers."""

    phy2log: Any  # (layers, num_replicas)
    phyrank: Any  # (layers, num_replicas) which of its expert's replicas a slot holds
    logcnt: Any  # (layers, num_logical)
    gpu_loads: Any  # (layers, num_gpus)
    bounds: Any  # (layers)
    balancedness: Any  # (layers)


def placement_arrays(num_layers: int, layout: Layout, dtype: np.dtype[Any]) -> list[tuple[tuple[int, ...], Any]]:
    """Give the shape and the type of each array of a placement."""
    slots = (num_layers, layout.num_replicas)
    return [
        (slots, np.int64),
        (slots, np.int64),
        ((num_layers, layout.num_logical), np.int64),
        ((num_layers, layout.num_gpus), dtype),
        ((num_layers,), dtype),
        ((num_layers,), dtype),
    ]


@rule
def deliver(layer: int, layout: Layout, stage: Stage, placement: Placement) -> None:
    """Write the staged layer to the placement, with the layer's own experts."""
    value = stage.loads.dtype.type
    num_slots, num_experts = layout.node_slots, layout.node_experts
    for node in each(layout.num_nodes):
        for slot in mine_from(node * num_slots, (node + 1) * num_slots):
            placement.phy2log[layer, slot] = stage.order[node * num_experts + stage.experts[slot]]
            placement.phyrank[layer, slot] = stage.ranks[slot]
    for place in mine(layout.num_logical):
        placement.logcnt[layer, stage.order[place]] = stage.counts[place]
    for gpu in mine(layout.num_gpus):
        placement.gpu_loads[layer, gpu] = stage.loads[gpu]
    mean, heaviest = total_of(stage.loads) / value(layout.num_gpus), largest_of(stage.heaviest)
    if lane() == 0:
        # Sums round: the bound must not exceed what was reached, nor the mean the maximum.
        placement.bounds[layer] = min(largest_here(stage.bounds), heaviest)
        placement.balancedness[layer] = min(mean / heaviest, value(1)) if heaviest > 0 else value(1)
    barrier()


@rule
def restage(layer: int, layout: Layout, placement: Placement, stage: Stage) -> None:
    """Put a delivered layer back onto the stage."""
    positions = stage.positions
    num_slots, num_experts, group_experts = layout.node_slots, layout.node_experts, layout.group_experts
    for node in each(layout.num_nodes):
        for slot in mine_from(node * num_slots, (node + 1) * num_slots):
            if placement.phyrank[layer, slot] == 0:
                positions[placement.phy2log[layer, slot]] = node  # for now
    for node in mine(layout.num_nodes):
        stage.bounds[node] = placement.bounds[layer]
    barrier()
    for group in mine(layout.num_groups):
        node = positions[group * group_experts]
        before = 0
        for other in each(group):
            before += np.int64(positions[other * group_experts] == node)
        for index in each(group_experts):
            stage.order[node * num_experts + before * group_experts + index] = group * group_experts + index
    barrier()
    for place in mine(layout.num_logical):
        stage.counts[place] = placement.logcnt[layer, stage.order[place]]
    for node in each(layout.num_nodes):
        for expert in mine(num_experts):
            positions[stage.order[node * num_experts + expert]] = expert
    barrier()
    for slot in mine(layout.num_replicas):
        stage.experts[slot] = positions[placement.phy2log[layer, slot]]
        stage.ranks[slot] = placement.phyrank[layer, slot]
    for gpu in mine(layout.num_gpus):
        stage.loads[gpu] = placement.gpu_loads[layer, gpu]
    barrier()
    for node in mine(layout.num_nodes):
        gpu_loads = stage.loads[node * layout.node_gpus : (node + 1) * layout.node_gpus]
        stage.heaviest[node] = largest_here(gpu_loads)
    barrier()


@rule
def list_slots(layer: int, placement: Placement, log2phy: Any) -> None:
    """Write each slot of a layer to its expert's row of log2phy (layers, num_logical, width), and -1 to all the rest."""
    clear_log2phy(layer, log2phy)
    for slot in mine(placement.phy2log.shape[1]):
        log2phy[layer, placement.phy2log[layer, slot], placement.phyrank[layer, slot]] = slot
    barrier()


@word
def clear_log2phy(layer: int, log2phy: Any) -> None:
    """Write -1 to all of a layer's log2phy."""
    for expert in mine(log2phy.shape[1]):
        for rank in range(log2phy.shape[2]):
            log2phy[layer, expert, rank] = -1
    barrier()
