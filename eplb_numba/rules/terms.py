"""In which terms do the rules speak: sizes, tactics, and the arrays that they work on?

Arrays that belong together travel together, and a rule is handed only what it touches.  Sizes are read off the arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .bracket import Bracket, bracket_size
from .noise import STEPS, WORD, stir
from .sort import DIGITS
from .words import rule

if TYPE_CHECKING:
    from ..policy import Policy
    from ..topology import Topology

LIGHTEST, FIRST, BEST = 0, 1, 2  # which lighter packs a heavy one may swap with
AFTER, STUCK, TOGETHER = 0, 1, 2  # when two items may be swapped for two
PACKED, EITHER = 0, 1  # whether groups are also assigned without swaps
FREELY, WHERE_CHEAP, ALWAYS = 0, 1, 2  # how strictly replicas of one expert are kept apart
MOST_PAIR_SLOTS = 64  # slots of the largest packs between which two items may go for two


class Layout(NamedTuple):
    """What one layer looks like; a global problem has one group and one node."""

    num_logical: int
    num_replicas: int
    num_groups: int
    num_nodes: int
    num_gpus: int


class Tactics(NamedTuple):
    """A policy as numbers; limit and least_gain have the type of the weight."""

    restarts: int
    starts: int
    noise_floor: int  # in steps
    noise_span: int
    heaviest: int
    partners: int
    swaps: int
    pairs: int
    pair_swaps: int
    pair_partners: int
    pair_slots: int
    by_spread: int
    groups: int
    apart: int
    max_replicas: int
    limit: Any
    least_gain: Any
    seed: int


class Items(NamedTuple):
    """What is to be packed; experts and counts matter only where replicas are kept apart."""

    loads: Any  # (items)
    experts: Any  # (items) whose replica an item is
    counts: Any  # (experts) how many replicas there are of each


class Packing(NamedTuple):
    """What lies where: pack by pack, slot by slot."""

    items: Any  # (packs * slots)
    loads: Any  # (packs * slots) the load of the item in each slot, while it is refined
    pack_loads: Any  # (packs)


class Draft(NamedTuple):
    """Two packs as they were before a swap."""

    items: Any  # (2 * slots of a pack)
    loads: Any  # (2 * slots of a pack)
    lowers: Any  # (1) whether the swap lowers the larger load


class Pairs(NamedTuple):
    """What is known of each pair of items in a light pack."""

    sums: Any  # (slots of a pack * (slots of a pack - 1) / 2)
    gains: Any  # (the same) the most that a swap for it gains


class Desk(NamedTuple):
    """The scratch of a packer."""

    trial: Packing
    keys: Any  # (items) what a start sorts by
    order: Any  # (items)
    spare: Any  # (items + DIGITS)
    fill: Any  # (packs)
    ranking: Any  # (packs) from heaviest to lightest
    bracket: Bracket  # (leaves for the packs, or for the experts of a node)
    draft: Draft
    pairs: Pairs


class Node(NamedTuple):
    """The experts of a node, counted within it, and their replicas."""

    loads: Any  # (experts)
    counts: Any  # (experts)
    slot_experts: Any  # (slots)
    slot_ranks: Any  # (slots) which of its expert's replicas a slot holds
    slot_loads: Any  # (slots)


class Stage(NamedTuple):
    """A whole layer as one restart leaves it."""

    order: Any  # (experts) the layer's experts, node by node
    experts: Any  # (slots) the expert in each slot, counted within the node
    ranks: Any  # (slots)
    counts: Any  # (experts)
    loads: Any  # (gpus)
    bounds: Any  # (nodes)


class Bench(NamedTuple):
    """All the scratch of one layer."""

    node: Node
    group_loads: Any  # (groups)
    kept: Packing
    desk: Desk
    stage: Stage


def layout_of(topology: Topology) -> Layout:
    """Give the sizes of a layer."""
    return Layout(
        topology.num_logical,
        topology.num_replicas,
        topology.planned_groups,
        topology.planned_nodes,
        topology.num_gpus,
    )


@lru_cache(maxsize=64)
def tactics_of(policy: Policy, seed: int, dtype: np.dtype[Any]) -> Tactics:
    """Give a policy as numbers, for weights of the given type."""
    low, high = (round(end * STEPS) for end in policy.noise)
    return Tactics(
        restarts=policy.restarts,
        starts=policy.starts,
        noise_floor=low,
        noise_span=high - low,
        heaviest=policy.heaviest,
        partners=("lightest", "first", "best").index(policy.partners),
        swaps=policy.swaps,
        pairs=("after", "stuck", "together").index(policy.pairs),
        pair_swaps=policy.pair_swaps,
        pair_partners=("lightest", "first", "best").index(policy.pair_partners),
        pair_slots=policy.pair_slots,
        by_spread=int(policy.winner == "spread"),
        groups=("packed", "either").index(policy.groups),
        apart=("freely", "where_cheap", "always").index(policy.apart),
        max_replicas=policy.max_replicas,
        limit=dtype.type(1 + policy.tolerance),
        least_gain=dtype.type(policy.least_gain),
        seed=stir(stir(0, seed & WORD), seed >> 32),
    )


@rule
def plainly(tactics: Tactics) -> Tactics:
    """Give the tactics of one greedy start without swaps."""
    return Tactics(
        1,
        1,
        0,
        0,
        1,
        LIGHTEST,
        0,
        AFTER,
        0,
        LIGHTEST,
        0,
        0,
        PACKED,
        FREELY,
        tactics.max_replicas,
        tactics.limit,
        tactics.least_gain,
        tactics.seed,
    )


@lru_cache(maxsize=64)
def bench_size(layout: Layout) -> tuple[int, int]:
    """Give the number of values and of integers that lay_out takes, by laying out on an endless table."""
    endless = 2**60
    table = np.broadcast_to(np.int32(0), endless)
    _, values_left, integers_left = lay_out(table, table, layout)
    return endless - len(values_left), endless - len(integers_left)


@rule
def lay_out(values: Any, integers: Any, layout: Layout) -> tuple[Bench, Any, Any]:
    """Cut one worker's scratch into the arrays of a Bench; give it and what is left."""
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
    kept, values, integers = _take_packing(values, integers, items, packs)

    trial, values, integers = _take_packing(values, integers, items, packs)
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

    all_experts, integers = _take(integers, layout.num_logical)
    staged_experts, integers = _take(integers, layout.num_replicas)
    ranks, integers = _take(integers, layout.num_replicas)
    staged_counts, integers = _take(integers, layout.num_logical)
    gpu_loads, values = _take(values, layout.num_gpus)
    bounds, values = _take(values, layout.num_nodes)
    stage = Stage(all_experts, staged_experts, ranks, staged_counts, gpu_loads, bounds)
    return Bench(node, group_loads, kept, desk, stage), values, integers


@rule
def _take(scratch: Any, size: int) -> tuple[Any, Any]:
    """Cut size elements off the front; give them and the rest."""
    return scratch[:size], scratch[size:]


@rule
def _take_packing(values: Any, integers: Any, items: int, packs: int) -> tuple[Packing, Any, Any]:
    placed, integers = _take(integers, items)
    loads, values = _take(values, items)
    pack_loads, values = _take(values, packs)
    return Packing(placed, loads, pack_loads), values, integers
