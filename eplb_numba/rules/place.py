"""How does one layer get from its loads to a placement?

Groups go to nodes; inside each node experts are replicated and the replicas go to GPUs.  Each try does all of that anew, and
leaves its result on a stage; the try whose heaviest GPU is lightest is delivered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .node import place_node
from .noise import stream_of
from .pack import pack
from .scratch import cut_stage, cut_tools, recall
from .sums import largest_here, largest_of, total_here, total_of
from .terms import EITHER, Bench, Job, Layout, Stage, Tables, Tactics, Tools
from .words import barrier, best_lane, lane, lanes, rule, strip, times

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
            if not _try_layer(weight[layer], layer, restart, tactics, groups, replicas, stage):
                continue
            heaviest = largest_of(stage.heaviest)
            if heaviest < lightest or restart == first_try(layout, tactics):
                lightest = heaviest
                deliver(layer, layout, stage, placement)
            if is_enough(layout, tactics, stage):
                break


@rule
def best_try(layout: Layout, tactics: Tactics, stage_values: Any, stage_integers: Any) -> int:
    """Give the try that plan_layers would deliver, where each try of a layer stands on a stage of its own (tries, ...).

    Each lane looks at some of the tries: which is the first that is enough, and which is the best up to that one?
    """
    value = stage_values.dtype.type
    is_last, last = value(0), len(stage_values) - 1
    if last == 0:
        return last
    for attempt in range(lane(), len(stage_values), lanes()):
        stage = cut_stage(Bench(strip(stage_values[attempt]), strip(stage_integers[attempt]), layout, False))
        if is_last == 0 and is_enough(layout, tactics, stage):
            is_last, last = value(1), attempt
    _, last = best_lane(is_last, last)
    lightest, best = value(np.inf), last
    for attempt in range(lane(), last + 1, lanes()):
        stage = cut_stage(Bench(strip(stage_values[attempt]), strip(stage_integers[attempt]), layout, False))
        heaviest = largest_here(stage.heaviest)
        if heaviest < lightest:
            lightest, best = heaviest, attempt
    _, best = best_lane(-lightest, best)
    return best


@rule
def restage(layer: int, layout: Layout, placement: Placement, stage: Stage) -> None:
    """Put a delivered layer back onto the stage."""
    positions = stage.positions
    num_slots, num_experts, group_experts = layout.node_slots, layout.node_experts, layout.group_experts
    for node in range(layout.num_nodes):
        for slot in range(node * num_slots + lane(), (node + 1) * num_slots, lanes()):
            if placement.phyrank[layer, slot] == 0:
                positions[placement.phy2log[layer, slot]] = node  # for now
    for node in range(lane(), layout.num_nodes, lanes()):
        stage.bounds[node] = placement.bounds[layer]
    barrier()
    for group in range(lane(), layout.num_groups, lanes()):
        node = positions[group * group_experts]
        before = 0
        for other in range(group):
            before += np.int64(positions[other * group_experts] == node)
        for index in range(group_experts):
            stage.order[node * num_experts + before * group_experts + index] = group * group_experts + index
    barrier()
    for place in range(lane(), layout.num_logical, lanes()):
        stage.counts[place] = placement.logcnt[layer, stage.order[place]]
    for node in range(layout.num_nodes):
        for expert in range(lane(), num_experts, lanes()):
            positions[stage.order[node * num_experts + expert]] = expert
    barrier()
    for slot in range(lane(), layout.num_replicas, lanes()):
        stage.experts[slot] = positions[placement.phy2log[layer, slot]]
        stage.ranks[slot] = placement.phyrank[layer, slot]
    for gpu in range(lane(), layout.num_gpus, lanes()):
        stage.loads[gpu] = placement.gpu_loads[layer, gpu]
    barrier()
    for node in range(lane(), layout.num_nodes, lanes()):
        gpu_loads = stage.loads[node * layout.node_gpus : (node + 1) * layout.node_gpus]
        stage.heaviest[node] = largest_here(gpu_loads)
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
def _try_layer(loads: Any, layer: int, restart: int, tactics: Tactics, groups: Tools, replicas: Tools, stage: Stage) -> bool:
    """Plan a layer once and stage the result; tell whether there was anything to plan that is not on the stage already."""
    if not assign_groups(loads, layer, restart, tactics, groups, stage.order):
        return False
    for node in range(stage.bench.layout.num_nodes):
        place_node(loads, layer, restart, node, tactics, replicas, stage)
    return True


@rule
def is_enough(layout: Layout, tactics: Tactics, stage: Stage) -> bool:
    """Tell whether no other try can do better by more than the tolerance.

    The staged one is so near to the bound that either holds for every try, because groups leave no choice, or would even if
    there were no groups.
    """
    if layout.num_groups > layout.num_nodes:
        bound = total_here(stage.loads) / stage.loads.dtype.type(layout.num_gpus)
    else:
        bound = largest_here(stage.bounds)
    return largest_here(stage.heaviest) <= times(bound, tactics.limit)


@rule
def deliver(layer: int, layout: Layout, stage: Stage, placement: Placement) -> None:
    """Write the staged layer to the placement, with the layer's own experts."""
    value = stage.loads.dtype.type
    num_slots, num_experts = layout.node_slots, layout.node_experts
    for node in range(layout.num_nodes):
        for slot in range(node * num_slots + lane(), (node + 1) * num_slots, lanes()):
            placement.phy2log[layer, slot] = stage.order[node * num_experts + stage.experts[slot]]
            placement.phyrank[layer, slot] = stage.ranks[slot]
    for place in range(lane(), layout.num_logical, lanes()):
        placement.logcnt[layer, stage.order[place]] = stage.counts[place]
    for gpu in range(lane(), layout.num_gpus, lanes()):
        placement.gpu_loads[layer, gpu] = stage.loads[gpu]
    mean, heaviest = total_of(stage.loads) / value(layout.num_gpus), largest_of(stage.heaviest)
    if lane() == 0:
        # Sums round: the bound must not exceed what was reached, nor the mean the maximum.
        placement.bounds[layer] = min(largest_here(stage.bounds), heaviest)
        placement.balancedness[layer] = min(mean / heaviest, value(1)) if heaviest > 0 else value(1)
    barrier()


@rule
def assign_groups(loads: Any, layer: int, restart: int, tactics: Tactics, tools: Tools, order: Any) -> bool:
    """Assign groups to nodes and order the experts node by node; tell whether the first restart differs from try -1.

    loads are those of the layer (num_logical).
    """
    layout = tools.bench.layout
    if layout.num_groups > layout.num_nodes:
        bound = _load_groups(loads, tools)
        pack(tools, tactics, restart < 0, 0, bound, stream_of(tactics.seed, layer, restart, 0), restart > 0)
    groups = recall(tools).kept
    group_experts = layout.group_experts
    differs = restart != 0 or first_try(layout, tactics) == 0
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        differs |= order[place * group_experts] != group * group_experts
    barrier()
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        for index in range(lane(), group_experts, lanes()):
            order[place * group_experts + index] = group * group_experts + index
    barrier()
    return differs


@rule
def _load_groups(loads: Any, tools: Tools) -> Any:
    """Sum the groups' loads; give the load that the heaviest node cannot go below."""
    value = loads.dtype.type
    layout = tools.bench.layout
    group_loads = recall(tools).items.loads
    group_experts = layout.group_experts
    for group in range(lane(), layout.num_groups, lanes()):
        load = value(0)
        for expert in range(group * group_experts, (group + 1) * group_experts):
            load += abs(loads[expert])
        group_loads[group] = load
    barrier()
    return max(total_of(group_loads) / value(layout.num_nodes), largest_of(group_loads))
