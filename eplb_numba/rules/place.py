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
from .scratch import lay_out, lay_out_stage, sized
from .terms import EITHER, Bench, Items, Layout, Stage, Tactics
from .words import barrier, lane, lanes, rule, times

__all__ = ["Placement", "assign_groups", "deliver_best", "first_try", "plan_layers"]


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
    """Plan the layers first, first + step, ... of weight (layers, num_logical); ties between tries go to the first."""
    stage, values_left, integers_left = lay_out_stage(values, integers, layout)
    bench, _, _ = lay_out(values_left, integers_left, layout)
    for layer in range(first, len(weight), step):
        lightest = weight.dtype.type(np.inf)
        for restart in range(first_try(layout, tactics), tactics.restarts):
            if not _try_layer(weight, layer, restart, layout, tactics, bench, stage):
                continue
            heaviest = largest_of(stage.loads)
            if heaviest < lightest or restart == first_try(layout, tactics):
                lightest = heaviest
                _deliver(layer, layout, stage, placement)
            if _is_enough(layout, tactics, stage):
                break


@rule
def deliver_best(
    layer: int, layout: Layout, tactics: Tactics, stage_values: Any, stage_integers: Any, placement: Placement
) -> None:
    """Deliver what plan_layers would, where each try of the layer stands on a stage of its own (tries, ...)."""
    best = 0
    lightest = stage_values.dtype.type(np.inf)
    for attempt in range(len(stage_values)):
        stage, _, _ = lay_out_stage(stage_values[attempt], stage_integers[attempt], layout)
        heaviest = largest_of(stage.loads)
        if heaviest < lightest:
            lightest = heaviest
            best = attempt
        if _is_enough(layout, tactics, stage):
            break
    stage, _, _ = lay_out_stage(stage_values[best], stage_integers[best], layout)
    _deliver(layer, layout, stage, placement)


@rule
def first_try(layout: Layout, tactics: Tactics) -> int:
    """Give the number of the first try: 0, the first restart, or -1, where groups are assigned without swaps."""
    return -1 if tactics.groups == EITHER and layout.num_groups > layout.num_nodes else 0


@rule
def _try_layer(weight: Any, layer: int, restart: int, layout: Layout, tactics: Tactics, bench: Bench, stage: Stage) -> bool:
    """Plan a layer once and stage the result; tell whether there was anything to plan that is not on the stage already."""
    if not assign_groups(weight, layer, restart, layout, tactics, bench, stage):
        return False
    for node in range(layout.num_nodes):
        place_node(weight, layer, restart, node, layout, tactics, bench, stage)
    return True


@rule
def _is_enough(layout: Layout, tactics: Tactics, stage: Stage) -> bool:
    """Tell whether no other try can do better by more than the tolerance.

    The staged one is so near to the bound that either holds for every try, because groups leave no choice, or would even if
    there were no groups.
    """
    bound = _mean_of(stage.loads) if layout.num_groups > layout.num_nodes else largest_of(stage.bounds)
    return largest_of(stage.loads) <= times(bound, tactics.limit)


@rule
def _deliver(layer: int, layout: Layout, stage: Stage, placement: Placement) -> None:
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
def assign_groups(weight: Any, layer: int, restart: int, layout: Layout, tactics: Tactics, bench: Bench, stage: Stage) -> bool:
    """Assign groups to nodes and stage the experts node by node; tell whether the first restart differs from try -1."""
    stream = stream_of(tactics.seed, layer, restart, 0)
    groups, desk = sized(bench, layout.num_groups, layout.num_nodes)
    if layout.num_groups > layout.num_nodes:
        bound = _load_groups(weight, layer, layout, bench.group_loads)
        # Groups may lie together as they like: whose they are does not matter.
        items = Items(bench.group_loads, bench.node.slot_experts, bench.node.counts)
        pack(items, groups, tactics, restart < 0, 0, bound, stream, restart > 0, desk)
    group_size = layout.num_logical // layout.num_groups
    anew = restart != 0 or first_try(layout, tactics) == 0
    for place in range(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        anew |= stage.order[place * group_size] != group * group_size
    barrier()
    for place in range(lane(), layout.num_groups, lanes()):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        for index in range(group_size):
            stage.order[place * group_size + index] = group * group_size + index
    barrier()
    return anew


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
def _mean_of(loads: Any) -> Any:
    """Give the mean load."""
    total = loads.dtype.type(0)
    for index in range(len(loads)):
        total += loads[index]
    return total / loads.dtype.type(len(loads))
