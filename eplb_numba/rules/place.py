"""How does one layer get from its loads to a placement?

Groups go to nodes; inside each node experts are replicated and the replicas go to GPUs.  Each try does all of that anew, and
leaves its result on a stage; the try whose heaviest GPU is lightest is delivered.  Of several tries most are given up early: a
single node can show that a try will not be better than another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ceiling import steady
from .groups import assign_groups, first_try, load_groups
from .node import load_node, place_node, prepare_node
from .placement import Placement, deliver
from .scratch import cut_stage, cut_tools
from .terms import Bench, Job, Layout, Stage, Tables, Tactics, Tools
from .words import best_lane, each_from, fresh, mine, rule, strip, times

__all__ = ["best_try", "ceiling_after", "is_lost", "node_in_turn", "plan_layers"]


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
        place_node(bound, layer, restart, node, steady(ceiling, stage.heaviest), tactics, replicas, stage)
    return not is_lost(stage, ceiling)


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
def is_lost(stage: Stage, ceiling: Any) -> bool:
    """Tell whether a node shows that the try on the stage will not come below the ceiling, and need not be finished."""
    endless = stage.loads.dtype.type(np.inf)
    most = stage.loads.dtype.type(0)
    for node in mine(len(stage.floors)):
        heaviest = fresh(stage.heaviest, node)  # on a GPU each node is placed by another block
        most = max(most, heaviest if heaviest < endless else stage.floors[node])
    most, _ = best_lane(most, 0)
    return not most < ceiling


@rule
def node_in_turn(turn: int, stage: Stage) -> int:
    """Give the node that is placed in some turn: first the one that will most likely have the heaviest GPU."""
    floors = stage.floors
    first = 0
    for node in each_from(1, len(floors)):
        if floors[node] > floors[first]:
            first = node
    node = first + turn
    return node if node < len(floors) else node - len(floors)


@rule
def _largest_told(loads: Any) -> Any:
    """Give the largest of what nodes have come to, which on a GPU other blocks may tell at the same time."""
    largest = fresh(loads, 0)
    for node in each_from(1, len(loads)):
        largest = max(largest, fresh(loads, node))
    return largest


@rule
def ceiling_after(layout: Layout, tactics: Tactics, stage: Stage) -> Any:
    """Give what a later try must come below to be delivered in place of the staged one: 0, if no other can do better.

    That is so, up to the tolerance, where the staged one is so near to the bound that either holds for every try, because
    groups leave no choice, or would even if there were no groups.  After a try that is not finished it is infinite.
    """
    heaviest = _largest_told(stage.heaviest)
    if heaviest < np.inf:
        bound = stage.mean[0] if layout.num_groups > layout.num_nodes else _largest_told(stage.bounds)
        if heaviest <= times(bound, tactics.limit):
            return stage.heaviest.dtype.type(0)
    return heaviest
