"""How does one layer get from its loads to a placement?

Groups go to nodes; inside each node experts are replicated and the replicas go to GPUs.  A restart does all of that anew;
the one whose heaviest GPU is lightest is delivered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .noise import stir
from .pack import largest_of, pack
from .replicate import node_bound, replicate
from .terms import EITHER, FREELY, WHERE_CHEAP, Bench, Desk, Items, Layout, Node, Packing, Stage, Tactics, lay_out, plainly
from .words import barrier, lane, lanes, rule, times

__all__ = ["Placement", "plan_layers", "sized"]


class Placement(NamedTuple):
    """What a plan consists of, for all layers."""

    phy2log: Any  # (layers, num_replicas)
    phyrank: Any  # (layers, num_replicas) which of its expert's replicas a slot holds
    logcnt: Any  # (layers, num_logical)
    gpu_loads: Any  # (layers, num_gpus)
    bounds: Any  # (layers)
    balancedness: Any  # (layers)


@rule
def plan_layers(
    weight: Any,
    first: int,
    step: int,
    layout: Layout,
    tactics: Tactics,
    values: Any,
    integers: Any,
    placement: Placement,
) -> None:
    """Plan the layers first, first + step, ... of weight (layers, num_logical); ties between restarts go to the first."""
    bench, _, _ = lay_out(values, integers, layout)
    groups, groups_desk = sized(bench, layout.num_groups, layout.num_nodes)
    kept, desk = sized(bench, len(bench.node.slot_loads), layout.num_gpus // layout.num_nodes)
    groups_matter = layout.num_groups > layout.num_nodes
    first_try = -1 if groups_matter and tactics.groups == EITHER else 0
    for layer in range(first, len(weight), step):
        lightest = weight.dtype.type(np.inf)
        for restart in range(first_try, tactics.restarts):
            stream = stir(stir(tactics.seed, layer), max(restart, 0))
            if not _assign_groups(weight, layer, restart, first_try, layout, tactics, stream, groups, groups_desk, bench):
                continue
            for node in range(layout.num_nodes):
                _load_node(weight, layer, node, bench)
                _place_node(node, tactics, stir(stream, node + 1), restart > 0, kept, desk, bench)
            heaviest = largest_of(bench.stage.loads)
            bound = largest_of(bench.stage.bounds)
            if heaviest < lightest or restart == first_try:
                lightest = heaviest
                _deliver(layer, layout, bench.stage, heaviest, bound, placement)
            # No other try can do better by more than the tolerance: the groups leave no choice, or do not matter any more.
            if heaviest <= times(_mean_of(bench.stage.loads) if groups_matter else bound, tactics.limit):
                break


@rule
def sized(bench: Bench, items: int, packs: int) -> tuple[Packing, Desk]:
    """Cut the packing and the desk to the size of one packing problem."""
    desk = bench.desk
    kept = Packing(bench.kept.items[:items], bench.kept.loads[:items], bench.kept.pack_loads[:packs])
    trial = Packing(desk.trial.items[:items], desk.trial.loads[:items], desk.trial.pack_loads[:packs])
    cut = Desk(
        trial,
        desk.keys[:items],
        desk.order[:items],
        desk.spare,
        desk.fill[:packs],
        desk.ranking[:packs],
        desk.bracket,
        desk.draft,
        desk.pairs,
    )
    return kept, cut


@rule
def _limits(node: Node, num_gpus: int, tactics: Tactics) -> tuple[int, int, int]:
    """Give the replicas that an expert may have on one GPU (0: any number), and in all: kept apart, and packed freely."""
    num_experts, num_slots = len(node.loads), len(node.slot_loads)
    most = min(num_slots, tactics.max_replicas) if tactics.max_replicas > 0 else num_slots
    if tactics.apart == FREELY:
        return 0, most, most
    # A GPU with more slots than the node has experts cannot hold each expert only once.
    copies = (num_slots // num_gpus + num_experts - 1) // num_experts
    return copies, min(most, num_gpus * copies), most


@rule
def _load_groups(weight: Any, layer: int, layout: Layout, loads: Any) -> Any:
    """Sum the groups' loads; give the load that the heaviest node cannot go below."""
    value = weight.dtype.type
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
def _assign_groups(
    weight: Any,
    layer: int,
    restart: int,
    first_try: int,
    layout: Layout,
    tactics: Tactics,
    stream: int,
    groups: Packing,
    desk: Desk,
    bench: Bench,
) -> bool:
    """Assign groups to nodes and list the layer's experts node by node; tell whether that was not so before.

    The try before the first restart assigns groups without swaps.
    """
    if layout.num_groups > layout.num_nodes:
        bound = _load_groups(weight, layer, layout, bench.group_loads)
        # Groups may lie together as they like: whose they are does not matter.
        items = Items(bench.group_loads, bench.node.slot_experts, bench.node.counts)
        group_tactics = plainly(tactics) if restart < 0 else tactics
        pack(items, groups, group_tactics, 0, bound, stir(stream, 0), restart > 0, desk)
    group_size = layout.num_logical // layout.num_groups
    anew = restart != 0 or first_try == 0
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        anew |= bench.stage.order[place * group_size] != group * group_size
    barrier()
    for place in range(lane(), layout.num_groups, lanes()):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        for index in range(group_size):
            bench.stage.order[place * group_size + index] = group * group_size + index
    barrier()
    return anew


@rule
def _load_node(weight: Any, layer: int, index: int, bench: Bench) -> None:
    """Fetch the loads of a node's experts; abs makes -0.0 sort as what it is."""
    loads = bench.node.loads
    for expert in range(lane(), len(loads), lanes()):
        loads[expert] = abs(weight[layer, bench.stage.order[index * len(loads) + expert]])
    barrier()


@rule
def _place_node(node: int, tactics: Tactics, stream: int, disturbed: bool, kept: Packing, desk: Desk, bench: Bench) -> None:
    """Replicate a node's experts, pack the replicas onto its GPUs and stage the result.

    Where keeping replicas apart costs more than the tolerance against a plain start that packs them freely, they may lie
    together if the tactics allow it.
    """
    num_gpus = len(kept.pack_loads)
    items = Items(bench.node.slot_loads, bench.node.slot_experts, bench.node.counts)
    copies, most_apart, most = _limits(bench.node, num_gpus, tactics)
    replicate(bench.node, most_apart, desk.bracket)
    bound = node_bound(bench.node, num_gpus)
    largest = pack(items, kept, tactics, copies, bound, stream, disturbed, desk)
    _stage_node(node, bench, kept, bound)
    choice = len(desk.order) > num_gpus
    if choice and tactics.apart == WHERE_CHEAP and largest > times(bound, tactics.limit):
        replicate(bench.node, most, desk.bracket)
        freely = pack(items, kept, plainly(tactics), 0, bound, stream, False, desk)
        if largest > times(freely, tactics.limit):
            pack(items, kept, tactics, 0, bound, stream, disturbed, desk)
            _stage_node(node, bench, kept, bound)


@rule
def _stage_node(index: int, bench: Bench, kept: Packing, bound: Any) -> None:
    """Write a node's replicas, in the order of the kept packing, into the staged layer."""
    node, stage = bench.node, bench.stage
    num_experts, num_slots, num_gpus = len(node.loads), len(node.slot_loads), len(kept.pack_loads)
    for slot in range(lane(), num_slots, lanes()):
        item = kept.items[slot]
        stage.experts[index * num_slots + slot] = node.slot_experts[item]
        stage.ranks[index * num_slots + slot] = node.slot_ranks[item]
    for expert in range(lane(), num_experts, lanes()):
        stage.counts[index * num_experts + expert] = node.counts[expert]
    for gpu in range(lane(), num_gpus, lanes()):
        stage.loads[index * num_gpus + gpu] = kept.pack_loads[gpu]
    stage.bounds[index] = bound
    barrier()


@rule
def _deliver(layer: int, layout: Layout, stage: Stage, heaviest: Any, bound: Any, placement: Placement) -> None:
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
    mean = _mean_of(stage.loads)
    # Sums round: the bound must not exceed what was reached, nor the mean the maximum.
    placement.bounds[layer] = min(bound, heaviest)
    placement.balancedness[layer] = min(mean / heaviest, value(1)) if heaviest > 0 else value(1)
    barrier()


@rule
def _mean_of(loads: Any) -> Any:
    """Give the mean load."""
    total = loads.dtype.type(0)
    for index in range(len(loads)):
        total += loads[index]
    return total / loads.dtype.type(len(loads))
