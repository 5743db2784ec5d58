"""Which groups of experts go to which node, and what does that let expect of the nodes?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ceiling import steady
from .noise import stream_of
from .pack import pack
from .scratch import recall, recall_stage
from .sums import largest_of, total_in_line, total_of
from .terms import EITHER, LEAST_NORMAL, ROUNDING, Layout, Stage, Tactics, Tools
from .words import barrier, each, lane, mine, rule, times

__all__ = ["assign_groups", "first_try", "load_groups"]


@rule
def first_try(layout: Layout, tactics: Tactics) -> int:
    """Give the number of the first try: 0, the first restart, or -1, where groups are assigned without swaps."""
    return -1 if tactics.groups == EITHER and layout.num_groups > layout.num_nodes else 0


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
        pack(tools, tactics, restart < 0, 0, bound, stream, restart > 0, steady(endless, stage.heaviest))
    _expect(layout, tools, stage)
    groups, order = recall(tools).kept, recall_stage(stage).order
    group_experts = layout.group_experts
    differs = restart != 0 or first_try(layout, tactics) == 0
    for place in each(layout.num_groups):
        group = groups.items[place] if layout.num_groups > layout.num_nodes else place
        differs |= order[place * group_experts] != group * group_experts
    barrier()
    for place in each(layout.num_groups):
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
