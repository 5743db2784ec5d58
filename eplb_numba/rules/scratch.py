"""On what is a problem worked out, and how is it cut from the scratch of a worker?"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .bracket import Bracket, bracket_size
from .sort import DIGITS
from .terms import Bench, Desk, Draft, Kept, Layout, Node, Packing, Pairs, Stage
from .words import rule

__all__ = ["bench_size", "lay_out", "lay_out_stage", "sized", "stage_size"]

MOST_PAIR_SLOTS = 64  # slots of the largest packs between which two items may go for two


@lru_cache(maxsize=64)
def bench_size(layout: Layout) -> tuple[int, int]:
    """Give the number of values and of integers that a bench takes."""
    return _size_of(lay_out, layout)


@lru_cache(maxsize=64)
def stage_size(layout: Layout) -> tuple[int, int]:
    """Give the number of values and of integers that a stage takes."""
    return _size_of(lay_out_stage, layout)


def _size_of(cut: Callable[..., tuple[Any, Any, Any]], layout: Layout) -> tuple[int, int]:
    """Measure by cutting from an endless table."""
    endless = 2**60
    table = np.broadcast_to(np.int32(0), endless)
    _, values_left, integers_left = cut(table, table, layout)
    return endless - len(values_left), endless - len(integers_left)


@rule
def lay_out(values: Any, integers: Any, layout: Layout) -> tuple[Bench, Any, Any]:
    """Cut scratch into the arrays of a Bench; give it and what is left."""
    experts = layout.num_logical // layout.num_nodes
    slots = layout.num_replicas // layout.num_nodes
    # The same desk serves both stages of packing: groups onto nodes, replicas onto the GPUs of a node.
    items = max(slots, layout.num_groups)
    packs = max(layout.num_gpus // layout.num_nodes, layout.num_nodes)
    pack_slots = max(layout.num_replicas // layout.num_gpus, layout.num_groups // layout.num_nodes)
    leaves = 2 * bracket_size(max(experts, packs))

    expert_loads, values = _take(values, experts)
    counts, integers = _take(integers, experts)
    slot_experts, integers = _take(integers, slots)
    slot_ranks, integers = _take(integers, slots)
    slot_loads, values = _take(values, slots)
    node = Node(expert_loads, counts, slot_experts, slot_ranks, slot_loads)

    group_loads, values = _take(values, layout.num_groups)
    kept_items, integers = _take(integers, items)
    kept_loads, values = _take(values, packs)
    kept = Kept(kept_items, kept_loads)

    trial_items, integers = _take(integers, items)
    trial_loads, values = _take(values, items)
    trial_pack_loads, values = _take(values, packs)
    trial = Packing(trial_items, trial_loads, trial_pack_loads)
    keys, values = _take(values, items)
    order, integers = _take(integers, items)
    spare, integers = _take(integers, items + DIGITS)
    fill, integers = _take(integers, packs)
    ranking, integers = _take(integers, packs)
    matches, values = _take(values, leaves)
    winners, integers = _take(integers, leaves)
    draft_items, integers = _take(integers, 2 * pack_slots)
    draft_loads, values = _take(values, 2 * pack_slots)
    lowers, integers = _take(integers, 1)
    draft = Draft(draft_items, draft_loads, lowers)
    num_pairs = min(pack_slots, MOST_PAIR_SLOTS) * (min(pack_slots, MOST_PAIR_SLOTS) - 1) // 2
    pair_sums, values = _take(values, num_pairs)
    pair_gains, values = _take(values, num_pairs)
    pairs = Pairs(pair_sums, pair_gains)
    desk = Desk(trial, keys, order, spare, fill, ranking, Bracket(matches, winners), draft, pairs)

    return Bench(node, group_loads, kept, desk), values, integers


@rule
def lay_out_stage(values: Any, integers: Any, layout: Layout) -> tuple[Stage, Any, Any]:
    """Cut scratch into the arrays of a Stage; give it and what is left."""
    order, integers = _take(integers, layout.num_logical)
    experts, integers = _take(integers, layout.num_replicas)
    ranks, integers = _take(integers, layout.num_replicas)
    counts, integers = _take(integers, layout.num_logical)
    gpu_loads, values = _take(values, layout.num_gpus)
    bounds, values = _take(values, layout.num_nodes)
    return Stage(order, experts, ranks, counts, gpu_loads, bounds), values, integers


@rule
def sized(bench: Bench, items: int, packs: int) -> tuple[Kept, Desk]:
    """Cut what is kept and the desk to the size of one packing problem."""
    desk = bench.desk
    kept = Kept(bench.kept.items[:items], bench.kept.pack_loads[:packs])
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
def _take(scratch: Any, size: int) -> tuple[Any, Any]:
    """Cut size elements off the front; give them and the rest."""
    return scratch[:size], scratch[size:]
