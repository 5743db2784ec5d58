"""How do a node's experts get replicated and packed onto its GPUs?"""

from __future__ import annotations

from typing import Any

from .noise import stream_of
from .pack import pack
from .replicate import node_bound, replicate
from .scratch import sized
from .terms import FREELY, WHERE_CHEAP, Bench, Items, Kept, Layout, Node, Stage, Tactics
from .words import barrier, lane, lanes, rule, times

__all__ = ["place_node"]


@rule
def place_node(
    weight: Any, layer: int, restart: int, index: int, layout: Layout, tactics: Tactics, bench: Bench, stage: Stage
) -> None:
    """Replicate a node's experts, pack the replicas onto its GPUs and stage the result.

    Where keeping replicas apart costs more than the tolerance against a plain start that packs them freely, they may lie
    together if the tactics allow it: the second attempt finds that out, the third packs them so.
    """
    node = bench.node
    kept, desk = sized(bench, len(node.slot_loads), layout.num_gpus // layout.num_nodes)
    stream = stream_of(tactics.seed, layer, restart, index + 1)
    _load_node(weight, layer, index, node, stage)
    num_gpus = len(kept.pack_loads)
    items = Items(node.slot_loads, node.slot_experts, node.counts)
    copies, most_apart, most = _limits(node, num_gpus, tactics)
    largest = bound = node.loads.dtype.type(0)
    for attempt in range(3):
        replicate(node, most_apart if attempt == 0 else most, desk.bracket)
        if attempt == 0:
            bound = node_bound(node, num_gpus)
        plainly = attempt == 1
        reached = pack(
            items,
            kept,
            tactics,
            plainly,
            copies if attempt == 0 else 0,
            bound,
            stream,
            restart > 0 and not plainly,
            desk,
        )
        if plainly:
            if largest <= times(reached, tactics.limit):
                break
        else:
            largest = reached
            _stage_node(index, kept, node, bound, stage)
            if tactics.apart != WHERE_CHEAP or len(desk.order) == num_gpus or largest <= times(bound, tactics.limit):
                break


@rule
def _load_node(weight: Any, layer: int, index: int, node: Node, stage: Stage) -> None:
    """Fetch the loads of a node's experts; abs makes -0.0 sort as what it is."""
    loads = node.loads
    for expert in range(lane(), len(loads), lanes()):
        loads[expert] = abs(weight[layer, stage.order[index * len(loads) + expert]])
    barrier()


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
def _stage_node(index: int, kept: Kept, node: Node, bound: Any, stage: Stage) -> None:
    """Write a node's replicas, in the order of the kept packing, onto the stage."""
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
