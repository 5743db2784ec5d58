"""How do a node's experts get replicated and packed onto its GPUs?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ceiling import Ceiling, steady
from .noise import stream_of
from .pack import pack
from .replicate import node_bound, replicate
from .scratch import recall, recall_stage
from .terms import FREELY, WHERE_CHEAP, Layout, Stage, Tactics, Tools
from .words import barrier, each, fresh, lane, mine, parts, rule, tell, times

__all__ = [
    "copies_apart",
    "is_dear",
    "limits",
    "load_node",
    "may_be_dear",
    "note_heaviest",
    "place_node",
    "prepare_node",
    "replicate_node",
    "stage_node",
]


@rule
def prepare_node(index: int, together: bool, tactics: Tactics, tools: Tools, stage: Stage) -> Any:
    """Replicate the experts of a node that is loaded.

    Gives the load that the node's heaviest GPU cannot go below with replicas kept apart, if the tactics want that.  Together
    means that they need not be; then the stage knows that load already.
    """
    _, most = limits(tools.bench.layout, tactics, together)
    bound = replicate_node(tools, tactics, most)
    return fresh(recall_stage(stage).bounds, index) if together else bound  # a block that has settled writes the same there


@rule
def place_node(
    bound: Any, layer: int, restart: int, index: int, ceiling: Ceiling, tactics: Tactics, tools: Tools, stage: Stage
) -> None:
    """Pack the replicas of a prepared node onto its GPUs and stage the result.

    Where keeping replicas apart costs more than the tolerance against a plain start that packs them freely, they may lie
    together if the tactics allow it: the second attempt finds that out, the third packs them so.  Of a node whose heaviest GPU
    will not come below the ceiling only that is told: nobody wants that try.
    """
    stream = stream_of(tactics.seed, layer, restart, index + 1)
    layout = tools.bench.layout
    largest = tools.bench.values.dtype.type(0)
    if not _stands_alone(tactics):
        ceiling = steady(tools.bench.values.dtype.type(np.inf), ceiling.others)
    for attempt in each(3):
        copies, most = limits(layout, tactics, attempt > 0)
        if attempt > 0:
            replicate_node(tools, tactics, most)
        plainly = attempt == 1
        reached = pack(tools, tactics, plainly, copies, bound, stream, restart > 0 and not plainly, ceiling)
        if plainly:
            if not is_dear(largest, reached, tactics):
                break
        else:
            largest = reached
            if largest < ceiling.level:
                stage_node(index, bound, tools, stage)
            if not may_be_dear(largest, bound, layout, tactics):
                break
    note_heaviest(index, largest, stage)


@rule
def _stands_alone(tactics: Tactics) -> bool:
    """Tell whether nothing depends on a node's packing unless its try is delivered."""
    return tactics.starts == 1 and tactics.apart != WHERE_CHEAP


@rule
def may_be_dear(largest: Any, bound: Any, layout: Layout, tactics: Tactics) -> bool:
    """Tell whether it must be found out what keeping replicas apart costs, which has led to this largest load."""
    return tactics.apart == WHERE_CHEAP and layout.num_replicas > layout.num_gpus and largest > times(bound, tactics.limit)


@rule
def is_dear(largest: Any, freely: Any, tactics: Tactics) -> bool:
    """Tell whether keeping replicas apart costs more than the tolerance against what a plain start reaches freely."""
    return largest > times(freely, tactics.limit)


@rule
def load_node(loads: Any, index: int, tools: Tools, stage: Stage) -> None:
    """Fetch the loads of a node's experts from those of the layer (num_logical); abs makes -0.0 sort as what it is."""
    node_loads, order = recall(tools).node.loads, recall_stage(stage).order
    for expert in mine(len(node_loads)):
        node_loads[expert] = abs(loads[order[index * len(node_loads) + expert]])
    barrier()


@rule
def replicate_node(tools: Tools, tactics: Tactics, most: int) -> Any:
    """Replicate a node's experts and give the load that its heaviest GPU cannot go below."""
    node, _, kept, desk, _ = recall(tools)
    replicate(node, most, tactics.apart != FREELY, desk)
    return node_bound(node, len(kept.pack_loads))


@rule
def copies_apart(gpu_slots: int, num_experts: int) -> int:
    """Give how many replicas of one expert a GPU may hold: one, unless it has more slots than there are experts."""
    copies, _ = parts(gpu_slots + num_experts - 1, num_experts)
    return copies


@rule
def limits(layout: Layout, tactics: Tactics, together: bool) -> tuple[int, int]:
    """Give the replicas that an expert may have on one GPU (0: any number), and in all.

    Together means that replicas of one expert need not be kept apart, though the tactics would have it.
    """
    most = min(layout.node_slots, tactics.max_replicas) if tactics.max_replicas > 0 else layout.node_slots
    if tactics.apart == FREELY or together:
        return 0, most
    copies = copies_apart(layout.gpu_slots, layout.node_experts)
    return copies, min(most, layout.node_gpus * copies)


@rule
def stage_node(index: int, bound: Any, tools: Tools, stage: Stage) -> None:
    """Write a node's replicas, in the order of the kept packing, onto the stage; it may be written over once more."""
    node, _, kept, _, _ = recall(tools)
    stage = recall_stage(stage)
    num_experts, num_slots, num_gpus = len(node.loads), len(node.slot_loads), len(kept.pack_loads)
    for slot in mine(num_slots):
        item = kept.items[slot]
        stage.experts[index * num_slots + slot] = node.slot_experts[item]
        stage.ranks[index * num_slots + slot] = node.slot_ranks[item]
    for expert in mine(num_experts):
        stage.counts[index * num_experts + expert] = node.counts[expert]
    for gpu in mine(num_gpus):
        stage.loads[index * num_gpus + gpu] = kept.pack_loads[gpu]
    if lane() == 0:
        tell(stage.bounds, index, bound)
    barrier()


@rule
def note_heaviest(index: int, heaviest: Any, stage: Stage) -> None:
    """Note what a node's heaviest GPU has come to; a block that plans another node or try may go by it from now on."""
    stage = recall_stage(stage)
    if lane() == 0:
        tell(stage.heaviest, index, heaviest)
    barrier()
