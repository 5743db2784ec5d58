"""On what is a problem worked out, and how is scratch cut into arrays?

On a CPU it is cut once.  A GPU has too few registers to keep all arrays at hand: there each step of a problem cuts again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import lower_builtin, type_callable

from .bracket import Bracket
from .sort import DIGITS, MARKS
from .terms import Bench, Desk, Draft, Items, Kept, Layout, Node, Packing, Pairs, Stage, Tools
from .words import OfGPU, aside, rule, take

__all__ = [
    "bench_size",
    "cut_stage",
    "cut_tools",
    "endless",
    "handed_on",
    "recall",
    "recall_stage",
    "stage_size",
    "taken",
]

MOST_PAIR_SLOTS = 64  # slots of the largest packs between which two items may go for two
AT_ONCE = 4  # values that a lane of a GPU reads, from a multiple of so many on: arrays that are read so have some to spare
ENDLESS = 2**60
Same = TypeVar("Same")


@lru_cache(maxsize=64)
def bench_size(layout: Layout, of_gpu: bool) -> tuple[int, int]:
    """Give the number of values and of integers on which the groups or the nodes of a layer can be worked out."""
    table = endless(of_gpu)
    sizes = [taken(*_cut(Bench(table, table, layout, of_groups))) for of_groups in (True, False)]
    return max(values for values, _ in sizes), max(integers for _, integers in sizes)


@lru_cache(maxsize=64)
def stage_size(layout: Layout) -> tuple[int, int]:
    """Give the number of values and of integers of a staged layer."""
    table = endless(False)
    return taken(*_cut_stage(Bench(table, table, layout, False)))


def endless(of_gpu: bool) -> Any:
    """Give what can be cut like scratch, and takes no memory."""
    table = np.broadcast_to(np.int32(0), ENDLESS)
    return table.view(OfGPU) if of_gpu else table


def taken(_: Any, values_left: Any, integers_left: Any) -> tuple[int, int]:
    """Give the number of values and of integers that were cut from endless ones."""
    return ENDLESS - len(values_left), ENDLESS - len(integers_left)


@rule
def cut_tools(bench: Bench) -> Tools:
    """Cut the tools for groups or for the replicas of a node."""
    tools, _, _ = _cut(bench)
    return tools


@rule
def cut_stage(bench: Bench) -> Stage:
    """Cut a stage."""
    stage, _, _ = _cut_stage(bench)
    return stage


def handed_on(recall: Callable[[Same], Same]) -> Callable[[Same], Same]:
    """Make a word of a function that gives what it is handed: a CPU hands on what is there, a GPU says what it does.

    If it were compiled, it would take and give hundreds of numbers.
    """
    type_callable(recall)(lambda context: lambda same: same)  # noqa: ARG005
    lower_builtin(recall, types.Any)(_same_on_cpu)
    return recall


def _same_on_cpu(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return impl_ret_borrowed(context, builder, signature.return_type, arguments[0])


@handed_on
def recall(tools: Tools) -> Tools:
    """Give the same tools; on a GPU, cut anew."""
    return tools


@handed_on
def recall_stage(stage: Stage) -> Stage:
    """Give the same stage; on a GPU, cut anew."""
    return stage


@rule
def _cut(bench: Bench) -> tuple[Tools, Any, Any]:
    """Cut all tools; give them and what is left."""
    values, integers, layout = bench.values, bench.integers, bench.layout
    experts, slots = layout.node_experts, layout.node_slots
    num_items = layout.num_groups if bench.of_groups else slots
    packs = layout.num_nodes if bench.of_groups else layout.node_gpus
    pack_slots = layout.node_groups if bench.of_groups else layout.gpu_slots
    leaves = layout.leaves

    # On a GPU the loads of a layer may lie anywhere behind the loads of experts, slots and groups, which come first.
    expert_loads, values = take(values, experts)
    counts, integers = take(integers, experts)
    slot_experts, integers = take(integers, slots)
    slot_ranks, integers = take(integers, slots)
    slot_loads, values = take(values, slots)
    node = Node(expert_loads, counts, slot_experts, slot_ranks, slot_loads)
    group_loads, values = take(values, layout.num_groups)
    kept_items, integers = take(integers, num_items)
    kept_loads, values = take(values, packs)
    kept = Kept(kept_items, kept_loads)

    trial_pack_loads, values = take(values, packs)
    draft_items, integers = take(integers, 2 * pack_slots)
    draft_loads, values = take(values, 2 * pack_slots)
    draft_pack_loads, values = take(values, aside(values, 2))
    draft = Draft(draft_items, draft_loads, draft_pack_loads)
    order, integers = take(integers, num_items)
    fill, integers = take(integers, packs)
    ranking, integers = take(integers, packs)

    # What is not needed at the same time lies in one place, for on a GPU less memory lets more blocks in.  Items are sorted
    # before they are packed, and packs afterwards; a bracket is over before a trial's loads are noted; and nobody sorts while
    # pairs are weighed.
    spare_for_packs = packs + aside(integers, DIGITS)
    spare, _ = take(integers, spare_for_packs + num_items)
    _, integers = take(integers, spare_for_packs)
    trial_items, integers = take(integers, num_items)
    num_pairs = min(pack_slots, MOST_PAIR_SLOTS) * (min(pack_slots, MOST_PAIR_SLOTS) - 1) // 2 + 2 * AT_ONCE
    num_marks = max(MARKS, 2 * num_pairs, leaves + AT_ONCE - num_items)
    loads_and_marks, _ = take(values, num_items + num_marks)
    trial_loads, values = take(values, num_items)
    marks, values = take(values, num_marks)
    trial = Packing(trial_items, trial_loads, trial_pack_loads, pack_slots)
    keys, values = _take_or_share(values, trial_loads, num_items)
    matches, values = _take_or_share(values, loads_and_marks, 2 * leaves)
    winners, integers = take(integers, aside(integers, 2 * leaves))
    pair_sums, values = _take_or_share(values, marks, num_pairs)
    pair_gains, values = _take_or_share(values, marks[num_pairs : len(marks)], num_pairs)
    pair_slots, integers = take(integers, num_pairs)
    pairs = Pairs(pair_sums, pair_gains, pair_slots)
    desk = Desk(trial, keys, order, spare, marks, fill, ranking, Bracket(matches, winners), draft, pairs)

    items = Items(group_loads if bench.of_groups else slot_loads, slot_experts, counts)
    return Tools(node, items, kept, desk, bench), values, integers


@rule
def _take_or_share(scratch: Any, place: Any, size: int) -> tuple[Any, Any]:
    """Cut off a place; on a GPU share one that is not needed at the same time, for less memory lets more blocks in."""
    own_size = aside(scratch, size)
    return take(scratch, own_size) if own_size > 0 else (place, scratch)


@rule
def _cut_stage(bench: Bench) -> tuple[Stage, Any, Any]:
    """Cut all arrays of a stage; give it and what is left."""
    values, integers, layout = bench.values, bench.integers, bench.layout
    order, integers = take(integers, layout.num_logical)
    experts, integers = take(integers, layout.num_replicas)
    ranks, integers = take(integers, layout.num_replicas)
    counts, integers = take(integers, layout.num_logical)
    gpu_loads, values = take(values, layout.num_gpus)
    bounds, values = take(values, layout.num_nodes)
    floors, values = take(values, layout.num_nodes)
    heaviest, values = take(values, layout.num_nodes)
    mean, values = take(values, 1)
    positions, integers = take(integers, layout.num_logical)
    stage = Stage(order, experts, ranks, counts, gpu_loads, bounds, floors, heaviest, mean, positions, bench)
    return stage, values, integers
