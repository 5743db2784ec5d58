"""How does a plan last: how are a node's replicas placed so that they are balanced in each of several scenarios?

What is lowered is the mean over the steps of the 8-norm of the GPUs' loads, a smooth largest load: on steps that were not seen
it does better than the largest load itself, which follows a single GPU of a single step.
"""

from __future__ import annotations

from typing import Any

from .node import copies_apart, load_node
from .noise import stir, stream_of
from .norm import look_up, norm_of
from .outlook import Outlook, Sheet, Window, cut_outlook, cut_window, recall_outlook
from .placement import Placement, deliver, restage
from .scratch import cut_stage, cut_tools
from .spread import pack_over_scenarios, reckon, replicate_by_spread
from .sums import largest_of
from .terms import Bench, Job, Stage, Tables, Tactics, Tools
from .trade import trade
from .window import read_window
from .words import barrier, each, each_from, lane, mine, rule

__all__ = ["outlast_layers", "outlast_node"]

ROUNDS = 3  # searches for each GPU, from one start; what is left of them goes to further starts


@rule
def outlast_layers(job: Job, first: int, step: int, tables: Tables, placement: Placement) -> None:
    """Replace the plans of the layers first, first + step, ... by what is better over the steps."""
    layout = job.layout
    tools = cut_tools(Bench(tables.values, tables.integers, layout, False))
    stage = cut_stage(Bench(tables.stage_values, tables.stage_integers, layout, False))
    window = cut_window(tables.window_values, layout)
    outlook = cut_outlook(Sheet(tables.outlook_values, tables.outlook_integers, layout))
    for layer in range(first, len(job.weight), step):
        count = read_window(job.steps, layer, job.weight[layer], layout.num_gpus, window)
        if count > 1:
            restage(layer, layout, placement, stage)
            for node in range(layout.num_nodes):
                outlast_node(job.weight[layer], layer, node, count, job.tactics, tools, stage, window, outlook)
            deliver(layer, layout, stage, placement)


@rule
def outlast_node(
    loads: Any,
    layer: int,
    index: int,
    count: int,
    tactics: Tactics,
    tools: Tools,
    stage: Stage,
    window: Window,
    outlook: Outlook,
) -> None:
    """Put onto the stage, for one node, a placement that is better over the scenarios than the one that stands there."""
    load_node(loads, index, tools, stage)
    num_slots, num_experts = len(outlook.costs), len(outlook.means)
    first_slot, first_expert = index * num_slots, index * num_experts
    reckon(first_expert, count, stage, window, outlook)
    for slot in mine(num_slots):
        outlook.experts[slot] = stage.experts[first_slot + slot]
    for expert in mine(num_experts):
        outlook.counts[expert] = stage.counts[first_expert + expert]
    barrier()
    look_up(count, outlook)
    best = norm_of(count, outlook)
    copies = copies_apart(outlook.slots, num_experts)
    replicate_by_spread(copies, tactics, tools.desk.bracket, outlook)
    stream = stream_of(tactics.seed, layer, 0, index + 1)
    rounds = tactics.lasting_swaps // tools.bench.layout.num_nodes
    for start in each(tactics.lasting_starts):
        if start > 0 and rounds == 0:
            break
        if pack_over_scenarios(count, copies, stir(stream, start), start > 0, tools, outlook):
            look_up(count, outlook)
            rounds -= trade(count, copies, min(rounds, ROUNDS * len(outlook.burdens)), outlook)
            norm = norm_of(count, outlook)
            if norm < best:
                best = norm
                _stage_again(index, tools, stage, outlook)


@rule
def _stage_again(index: int, tools: Tools, stage: Stage, outlook: Outlook) -> None:
    """Write the placement onto the stage, with the loads of the whole window."""
    outlook = recall_outlook(outlook)
    value = stage.loads.dtype.type
    num_slots, num_experts, num_gpus = len(outlook.costs), len(outlook.means), len(outlook.burdens)
    slots = outlook.slots
    for slot in mine(num_slots):
        stage.experts[index * num_slots + slot] = outlook.experts[slot]
        stage.ranks[index * num_slots + slot] = outlook.ranks[slot]
    for expert in mine(num_experts):
        stage.counts[index * num_experts + expert] = outlook.counts[expert]
    for gpu in mine(num_gpus):
        total = value(0)
        for slot in each_from(gpu * slots, (gpu + 1) * slots):
            expert = outlook.experts[slot]
            total += tools.node.loads[expert] / value(outlook.counts[expert])
        stage.loads[index * num_gpus + gpu] = total
    barrier()
    gpu_loads = stage.loads[index * num_gpus : (index + 1) * num_gpus]
    heaviest = largest_of(gpu_loads)
    if lane() == 0:
        stage.heaviest[index] = heaviest
    barrier()
