"""How does one layer get from its loads to a placement?

Groups go to nodes; inside each node experts are replicated and the replicas go to GPUs.  Each try does all of that anew, and
leaves its result on a stage; the try whose heaviest GPU is lightest is delivered.  Of several tries most are given up early: a
single node can show that a try will not be better than another one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .node import load_node, place_node, prepare_node
from .noise import stream_of
from .pack import pack
from .scratch import cut_stage, cut_tools, recall, recall_stage
from .sums import largest_here, largest_of, total_in_line, total_of
from .terms import EITHER, LEAST_NORMAL, ROUNDING, Bench, Job, Layout, Stage, Tables, Tactics, Tools
from .words import barrier, best_lane, lane, mine, mine_from, rule, strip, times, word

__all__ = [
    "Placement",
    "assign_groups",
    "best_try",
    "ceiling_after",
    "clear_log2phy",
    "deliver",
    "first_try",
    "is_lost",
    "list_slots",
    "load_groups",
    "node_in_turn",
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
        ceiling = weight.dtype.type(np.inf)
        groups_bound = load_groups(weight[layer], groups)
        for restart in range(first_try(layout, tactics), tactics.restarts):
            if _try_layer(weight[layer], layer, restart, groups_bound, ceiling, tactics, groups, replicas, stage):
                deliver(layer, layout, stage, placement)
                ceiling = ceiling_after(layout, tactics, stage)
                if ceiling == 0:
                    break


@rule
def best_try(layout: Layout, tactics: Tactics, stage_values: Any, stage_integers: Any) -> int:
    """Give the try that plan_layers would deliver, where each try of a layer stands on a stage of its own (tries, ...)."""
    lowest, best = stage_values.dtype.type(np.inf), 0
    if len(stage_values) == 1:
        return best
    for attempt in mine(len(stage_values)):
        stage = cut_stage(Bench(strip(stage_values[attempt]), strip(stage_integers[attempt]), layout, False))
        ceiling = ceiling_after(layout, tactics, stage)
        if ceiling < lowest:
            lowest, best = ceiling, attempt
    _, best = best_lane(-lowest, best)
    return best


@rule
def restage(layer: int, layout: Layout, placement: Placement, stage: Stage) -> None:
    """Put a delivered layer back onto the stage."""
    positions = stage.positions
    num_slots, num_experts, group_experts = layout.node_slots, layout.node_experts, layout.group_experts
    for node in range(layout.num_nodes):
        for slot in mine_from(node * num_slots, (node + 1) * num_slots):
            if placement.phyrank[layer, slot] == 0:
                positions[placement.phy2log[layer, slot]] = node  # for now
    for node in mine(layout.num_nodes):
        stage.bounds[node] = placement.bounds[layer]
    barrier()
    for group in mine(layout.num_groups):
        node = positions[group * group_experts]
        before = 0
        for other in range(group):
            before += np.int64(positions[other * group_experts] == node)
        for index in range(group_experts):
            stage.order[node * num_experts + before * group_experts + index] = group * group_experts + index
    barrier()
    for place in mine(layout.num_logical):
        stage.counts[place] = placement.logcnt[layer, stage.order[place]]
    for node in range(layout.num_nodes):
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


@rule
def first_try(layout: Layout, tactics: Tactics) -> int:
    """Give the number of the first try: 0, the first restart, or -1, where groups are assigned without swaps."""
    return -1 if tactics.groups == EITHER and layout.num_groups > layout.num_nodes else 0


@rule
def _try_layer(
    loads: Any,
    layer: int,
    restart: int,
    groups_bound: Any,
    ceiling: Any,
    tactics: Tactics,
    groups: Tools,
    replicas: Tools,
    stage: Stage,
) -> bool:
    """Plan a layer once and stage the result; tell whether it comes below the ceiling and is none that was staged before."""
    if not assign_groups(groups_bound, layer, restart, tactics, groups, stage):
        return False
    for turn in range(stage.bench.layout.num_nodes):
        if is_lost(stage, ceiling):
            return False
        node = node_in_turn(turn, stage)
        load_node(loads, node, replicas, stage)
        bound = prepare_node(node, False, tactics, replicas, stage)
        place_node(bound, layer, restart, node, ceiling, tactics, replicas, stage)
    return not is_lost(stage, ceiling)


@rule
def is_lost(stage: Stage, ceiling: Any) -> bool:
    """Tell whether a node shows that the try on the stage will not come below the ceiling, and need not be finished."""
    endless = stage.loads.dtype.type(np.inf)
    most = stage.loads.dtype.type(0)
    for node in mine(len(stage.floors)):
        heaviest = stage.heaviest[node]
        most = max(most, heaviest if heaviest < endless else stage.floors[node])
    most, _ = best_lane(most, 0)
    return not most < ceiling


@rule
def node_in_turn(turn: int, stage: Stage) -> int:
    """Give the node that is placed in some turn: first the one that will most likely have the heaviest GPU."""
    floors = stage.floors
    first = 0
    for node in range(1, len(floors)):
        if floors[node] > floors[first]:
            first = node
    node = first + turn
    return node if node < len(floors) else node - len(floors)


@rule
def ceiling_after(layout: Layout, tactics: Tactics, stage: Stage) -> Any:
    """Give what a later try must come below to be delivered in place of the staged one: 0, if no other can do better.

    That is so, up to the tolerance, where the staged one is so near to the bound that either holds for every try, because
    groups leave no choice, or would even if there were no groups.  After a try that is not finished it is infinite.
    """
    heaviest = largest_here(stage.heaviest)
    if heaviest < np.inf:
        bound = stage.mean[0] if layout.num_groups > layout.num_nodes else largest_here(stage.bounds)
        if heaviest <= times(bound, tactics.limit):
            return stage.heaviest.dtype.type(0)
    return heaviest


@rule
def deliver(layer: int, layout: Layout, stage: Stage, placement: Placement) -> None:
    """Write the staged layer to the placement, with the layer's own experts."""
    value = stage.loads.dtype.type
    num_slots, num_experts = layout.node_slots, layout.node_experts
    for node in range(layout.num_nodes):
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
def load_groups(loads: Any, tools: Tools) -> Any:
    """Sum the loads of groups that may go to any node; give the load that the heaviest node cannot go below.

    loads are those of the layer (num_logical); they are the same for all tries.
    """
    value = loads.dtype.type
    layout = tools.bench.layout
    if layout.num_groups == layout.num_nodes:
        return value(0)
    group_loads = recall(tools).items.loads
    group_experts = layout.group_experts
    for group in mine(layout.num_groups):
        group_loads[group] = total_in_line(loads, group * group_experts, group_experts)
    barrier()
    return max(total_of(group_loads) / value(layout.num_nodes), largest_of(group_loads))


@rule
def assign_groups(bound: Any, layer: int, restart: int, tactics: Tactics, tools: Tools, stage: Stage) -> bool:
    """Assign loaded groups to nodes and order the experts node by node; tell whether the first restart differs from try -1.

    bound is what `load_groups` gives.
    """
    layout = tools.bench.layout
    if layout.num_groups > layout.num_nodes:
        stream, endless = stream_of(tactics.seed, layer, restart, 0), tools.bench.values.dtype.type(np.inf)
        pack(tools, tactics, restart < 0, 0, bound, stream, restart > 0, endless)
    _expect(layout, tools, stage)
    groups, order = recall(tools).kept, recall_stage(stage).order
    group_experts = layout.group_experts
    differs = restart != 0 or first_try(layout, tactics) == 0
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        differs |= order[place * group_experts] != group * group_experts
    barrier()
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        for index in mine(group_experts):
            order[place * group_experts + index] = group * group_experts + index
    barrier()
    return differs


@rule
def _expect(layout: Layout, tools: Tools, stage: Stage) -> None:
    """Note what the assigned groups let expect of each node, and in the mean.

    However the sums of a node are rounded, its floor stays below: on the way to either each load is divided once at most, and
    added no more often than the node has experts and slots.
    """
    _, items, kept, _, _ = recall(tools)
    stage = recall_stage(stage)
    value = stage.floors.dtype.type
    slack = value((layout.node_experts + layout.node_slots) * ROUNDING)
    for node in mine(layout.num_nodes):
        floor = value(0)
        if layout.num_groups > layout.num_nodes:
            mean = kept.pack_loads[node] / value(layout.node_gpus)
            if mean >= value(LEAST_NORMAL):
                floor = mean - times(mean, slack)
        stage.floors[node] = floor
        stage.heaviest[node] = np.inf
        # Another block may look before it is known, and of a lost try it never is: then the layer is not good enough.
        stage.bounds[node] = 0
    if layout.num_groups > layout.num_nodes:
        total = total_of(items.loads)
        if lane() == 0:
            stage.mean[0] = total / value(layout.num_gpus)
    barrier()
