"""How do blocks plan?  Some assign groups and prepare nodes, each node of each try is placed, and the best try delivered."""

from __future__ import annotations

import numpy as np
from numba import cuda

from ..rules.ceiling import Ceiling, sunk
from ..rules.groups import assign_groups, first_try, load_groups
from ..rules.node import place_node, prepare_node
from ..rules.pack import raised
from ..rules.place import best_try, ceiling_after, is_lost, node_in_turn
from ..rules.placement import deliver, list_slots
from ..rules.words import barrier, each_from, lane, mine, mine_from, parts, rule, strip, tell
from .memory import KEPT_APART, Work
from .own import fetch, load_own_node, loads_and_tools, ours, ours_in, prepared_of, stage_of
from .prepared import leave_node, take_up_node
from .tries import try_and_turn

__all__ = ["assign_to_nodes", "deliver_best", "list_layers", "place_nodes", "prepare_nodes"]


def assign_to_nodes(weight, most, layout, tactics, work, scratch):  # type: ignore[no-untyped-def]
    """Assign the groups of each try to nodes, and note of each that nothing has come of it yet."""
    loads, tools = loads_and_tools(scratch, layout, True)
    tries, nodes, step = work.stage_values.shape[1], layout.num_nodes, work.assigners
    for problem in ours_in(scratch, len(work.stage_values) * step):
        layer, first = parts(problem, step)
        if layout.num_groups > nodes:
            is_sound = fetch(weight, layer, most, loads)
            if first == 0:
                work.sound[layer] = is_sound
                for expert in mine(len(loads)):
                    work.fetched[layer, expert] = loads[expert]
        groups_bound, attempt = load_groups(loads, tools), first
        while attempt < tries:  # a range with such a step would divide
            restart = attempt + first_try(layout, tactics)
            assign_groups(groups_bound, layer, restart, tactics, tools, stage_of(work, layer, attempt, layout))
            if lane() == 0:
                work.ceilings[layer, attempt] = np.inf
            if work.largest.shape[3] > 0:
                for part in each_from(attempt * nodes, (attempt + 1) * nodes):
                    _open_starts(layer, part, tactics.starts, work)
            attempt += step


@rule
def _open_starts(layer: int, part: int, starts: int, work: Work) -> None:
    """Note that none of a packing's starts is made yet."""
    if lane() == 0:
        work.first_near[layer, part, KEPT_APART] = starts
    for together in range(2):
        if lane() == 0:
            work.made[layer, part, together] = 0
        for start in mine(starts):
            work.largest[layer, part, together, start] = np.inf


def prepare_nodes(weight, most, layout, tactics, work, scratch):  # type: ignore[no-untyped-def]
    """Prepare nodes that many blocks have in common."""
    loads, tools = loads_and_tools(scratch, layout, False)
    layers, prepared = work.prepared.values.shape[:2]
    for problem in ours_in(scratch, layers * prepared):
        layer, part = parts(problem, prepared)
        attempt, node = parts(part, layout.num_nodes)
        stage = stage_of(work, layer, attempt, layout)
        load_own_node(weight, layer, node, part == 0, most, work, tools, loads, stage)
        bound = prepare_node(node, False, tactics, tools, stage)
        raised_bound = bound
        # For the starts of an undisturbed try; where they are made beside each other, packs hold more than one item.
        if work.largest.shape[3] > 0 and attempt + first_try(layout, tactics) <= 0:
            raised_bound = raised(bound, tools, tactics)
        leave_node(bound, raised_bound, tools, *prepared_of(work, layer, part))


def place_nodes(weight, most, layout, tactics, work, scratch):  # type: ignore[no-untyped-def]
    """Place each node of each try that is not lost."""
    loads, tools = loads_and_tools(scratch, layout, False)
    layers, tries, nodes = len(work.stage_values), work.stage_values.shape[1], layout.num_nodes
    for problem in ours_in(scratch, layers * tries * nodes):
        # All layers have their first blocks first, so that late tries of each find early ones finished.
        part, layer = parts(problem, layers)
        attempt, node = try_and_turn(part, tries, nodes)
        stage = stage_of(work, layer, attempt, layout)
        ceiling = sunk(Ceiling(weight.dtype.type(np.inf), strip(work.ceilings[layer]), attempt))
        if tries > 1:
            if is_lost(stage, ceiling.level):
                continue
            node = node_in_turn(node, stage)
        if work.prepared.values.shape[1] > 0:
            # All tries have it in common: groups leave them no choice.
            bound, _ = take_up_node(*prepared_of(work, layer, node), tools)
        else:
            if tries == 1 and layout.num_groups == nodes:  # there was nothing to choose, and groups were not assigned before
                for place in mine_from(node * layout.node_experts, (node + 1) * layout.node_experts):
                    stage.order[place] = place
                barrier()
            load_own_node(weight, layer, node, part == 0, most, work, tools, loads, stage)
            bound = prepare_node(node, False, tactics, tools, stage)
        place_node(bound, layer, attempt + first_try(layout, tactics), node, ceiling, tactics, tools, stage)
        if tries > 1:
            if lane() == 0:
                cuda.threadfence()  # behind it the last of a try's blocks sees what the others have staged
                level = ceiling_after(layout, tactics, stage)
                if level < np.inf:
                    tell(strip(work.ceilings[layer]), attempt, level)
            barrier()  # the next problem may be a later try of the same layer


def deliver_best(layout, tactics, work, placement, log2phy, lists):  # type: ignore[no-untyped-def]
    """Deliver the best try of each layer."""
    for layer in ours(len(work.sound)):
        best = best_try(layout, tactics, work.stage_values[layer], work.stage_integers[layer])
        deliver(layer, layout, stage_of(work, layer, best, layout), placement)
        if lane() == 0 and work.sound[layer] == 0:
            placement.balancedness[layer] = np.nan
        if lists:
            list_slots(layer, placement, log2phy)


def list_layers(placement, log2phy):  # type: ignore[no-untyped-def]
    """List the slots of each layer."""
    for layer in ours(len(log2phy)):
        list_slots(layer, placement, log2phy)
