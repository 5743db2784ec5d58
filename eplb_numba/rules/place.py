"""How does one layer get from its loads to a placement?

Groups go to nodes; inside each node experts are replicated and the replicas go to GPUs.  Each try does all of that anew, and
leaves its result on a stage; the try whose heaviest GPU is lightest is delivered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .node import place_node
from .noise import stream_of
from .pack import largest_of, pack
from .scratch import cut_stage, cut_tools, recall, recall_stage
from .terms import EITHER, Bench, Job, Layout, Stage, Tables, Tactics, Tools
from .words import barrier, lane, lanes, rule, times

__all__ = [
    "Placement",
    "assign_groups",
    "best_try",
    "deliver",
    "first_try",
    "list_slots",
    "placement_arrays",
    "plan_layers",
    "restage",
]


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
def plan_layers(job: Job, first: int, step: int, tables: Tables, placement: Placement) -> None:
    """Plan the layers first, first + step, ...; ties between tries go to the first."""
    weight, _, layout, tactics = job
    groups = cut_tools(Bench(tables.values, tables.integers, layout, True))
    replicas = cut_tools(Bench(tables.values, tables.integers, layout, False))
    stage = cut_stage(Bench(tables.stage_values, tables.stage_integers, layout, False))
    for layer in range(first, len(weight), step):
        lightest = weight.dtype.type(np.inf)
        for restart in range(first_try(layout, tactics), tactics.restarts):
            if not _try_layer(weight, layer, restart, tactics, groups, replicas, stage):
                continue
            heaviest = largest_of(stage.loads)
            if heaviest < lightest or restart == first_try(layout, tactics):
                lightest = heaviest
                deliver(layer, layout, stage, placement)
            if is_enough(layout, tactics, stage):
                break


@rule
def best_try(layout: Layout, tactics: Tactics, stage_values: Any, stage_integers: Any) -> int:
    """Give the try that plan_layers would deliver, where each try of a layer stands on a stage of its own (tries, ...)."""
    best = 0
    lightest = stage_values.dtype.type(np.inf)
    for attempt in range(len(stage_values)):
        stage = cut_stage(Bench(stage_values[attempt], stage_integers[attempt], layout, False))
        heaviest = largest_of(stage.loads)
        if heaviest < lightest:
            lightest = heaviest
            best = attempt
        if is_enough(layout, tactics, stage):
            break
    return best


@rule
def restage(layer: int, layout: Layout, placement: Placement, stage: Stage) -> None:
    """Put a delivered layer back onto the stage."""
    positions = stage.positions
    num_slots = layout.num_replicas // layout.num_nodes
    num_experts = layout.num_logical // layout.num_nodes
    for slot in range(lane(), layout.num_replicas, lanes()):
        if placement.phyrank[layer, slot] == 0:
            positions[placement.phy2log[layer, slot]] = slot // num_slots  # for now, the node
    barrier()
    if lane() == 0:
        for node in range(layout.num_nodes):
            stage.bounds[node] = placement.bounds[layer]
            place = node * num_experts
            for expert in range(layout.num_logical):
                if positions[expert] == node:
                    stage.order[place] = expert
                    place += 1
    barrier()
    for place in range(lane(), layout.num_logical, lanes()):
        positions[stage.order[place]] = place % num_experts
        stage.counts[place] = placement.logcnt[layer, stage.order[place]]
    barrier()
    for slot in range(lane(), layout.num_replicas, lanes()):
        stage.experts[slot] = positions[placement.phy2log[layer, slot]]
        stage.ranks[slot] = placement.phyrank[layer, slot]
    for gpu in range(lane(), layout.num_gpus, lanes()):
        stage.loads[gpu] = placement.gpu_loads[layer, gpu]
    barrier()


@rule
def list_slots(layer: int, placement: Placement, log2phy: Any) -> None:
    """Write each slot of a layer to its expert's row of log2phy (layers, num_logical, width), and -1 to all the rest."""
    for expert in range(lane(), log2phy.shape[1], lanes()):
        for rank in range(log2phy.shape[2]):
            log2phy[layer, expert, rank] = -1
    barrier()
    for slot in range(lane(), placement.phy2log.shape[1], lanes()):
        log2phy[layer, placement.phy2log[layer, slot], placement.phyrank[layer, slot]] = slot
    barrier()


@rule
def first_try(layout: Layout, tactics: Tactics) -> int:
    """Give the number of the first try: 0, the first restart, or -1, where groups are assigned without swaps."""
    return -1 if tactics.groups == EITHER and layout.num_groups > layout.num_nodes else 0


@rule
def _try_layer(weight: Any, layer: int, restart: int, tactics: Tactics, groups: Tools, replicas: Tools, stage: Stage) -> bool:
    """Plan a layer once and stage the result; tell whether there was anything to plan that is not on the stage already."""
    if not assign_groups(weight, layer, restart, tactics, groups, stage):
        return False
    for node in range(stage.bench.layout.num_nodes):
        place_node(weight, layer, restart, node, tactics, replicas, stage)
    return True


@rule
def is_enough(layout: Layout, tactics: Tactics, stage: Stage) -> bool:
    """Tell whether no other try can do better by more than the tolerance.

    The staged one is so near to the bound that either holds for every try, because groups leave no choice, or would even if
    there were no groups.
    """
    bound = _mean_of(stage.loads) if layout.num_groups > layout.num_nodes else largest_of(stage.bounds)
    return largest_of(stage.loads) <= times(bound, tactics.limit)


@rule
def deliver(layer: int, layout: Layout, stage: Stage, placement: Placement) -> None:
    """Write the staged layer to the placement, with the layer's own experts."""
    value = stage.loads.dtype.type
    num_slots = layout.num_replicas // layout.num_nodes
    num_experts = layout.num_logical // layout.num_nodes
    for node in range(layout.num_nodes):
        for slot in range(node * num_slots + lane(), (node + 1) * num_slots, lanes()):
            placement.phy2log[layer, slot] = stage.order[node * num_experts + stage.experts[slot]]
            placement.phyrank[layer, slot] = stage.ranks[slot]
    for place in range(lane(), layout.num_logical, lanes()):
        placement.logcnt[layer, stage.order[place]] = stage.counts[place]
    for gpu in range(lane(), layout.num_gpus, lanes()):
        placement.gpu_loads[layer, gpu] = stage.loads[gpu]
    heaviest = largest_of(stage.loads)
    # Sums round: the bound must not exceed what was reached, nor the mean the maximum.
    placement.bounds[layer] = min(largest_of(stage.bounds), heaviest)
    placement.balancedness[layer] = min(_mean_of(stage.loads) / heaviest, value(1)) if heaviest > 0 else value(1)
    barrier()


@rule
def assign_groups(weight: Any, layer: int, restart: int, tactics: Tactics, tools: Tools, stage: Stage) -> bool:
    """Assign groups to nodes and stage the experts node by node; tell whether the first restart differs from try -1."""
    layout = tools.bench.layout
    if layout.num_groups > layout.num_nodes:
        bound = _load_groups(weight, layer, tools)
        pack(tools, tactics, restart < 0, 0, bound, stream_of(tactics.seed, layer, restart, 0), restart > 0)
    groups, order = recall(tools).kept, recall_stage(stage).order
    group_size = layout.num_logical // layout.num_groups
    differs = restart != 0 or first_try(layout, tactics) == 0
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        differs |= order[place * group_size] != group * group_size
    barrier()
    for place in range(lane(), layout.num_groups, lanes()):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        for index in range(group_size):
            order[place * group_size + index] = group * group_size + index
    barrier()
    return differs


@rule
def _load_groups(weight: Any, layer: int, tools: Tools) -> Any:
    """Sum the groups' loads; give the load that the heaviest node cannot go below."""
    value = weight.dtype.type
    layout = tools.bench.layout
    loads = recall(tools).items.loads
    group_size = layout.num_logical // layout.num_groups
    for group in range(lane(), layout.num_groups, lanes()):
        load = value(0)
        for expert in range(group * group_size, (group + 1) * group_size):
            load += abs(weight[layer, expert])
        loads[group] = load
    barrier()
    total = value(0)
    for group in range(layout.num_groups):
        total += loads[group]
    return max(total / value(layout.num_nodes), largest_of(loads))


@rule
def _mean_of(loads: Any) -> Any:
    """Give the mean load."""
    total = loads.dtype.type(0)
    for index in range(len(loads)):
        total += loads[index]
    return total / loads.dtype.type(len(loads))
