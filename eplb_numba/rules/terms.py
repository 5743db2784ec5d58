"""In which terms do the rules speak: sizes, tactics, and the arrays that they work on?

Arrays that belong together travel together, and a rule is handed only what it touches.  Sizes are read off the arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .bracket import Bracket, bracket_size
from .noise import STEPS, WORD, stir

if TYPE_CHECKING:
    from ..policy import Policy
    from ..topology import Topology

ROUNDING = 2.0**-22  # four times what an operation in float32 may be off by, relatively; float64 is nearer
LEAST_NORMAL = 2.0**-126  # numbers below it are rounded more coarsely in float32
MOST_SWAPS = 2**30 - 1  # of either kind: more are never made, and two such numbers add up to 31 bits
LIGHTEST, FIRST, BEST = 0, 1, 2  # which lighter packs a heavy one may swap with
AFTER, STUCK, TOGETHER = 0, 1, 2  # when two items may be swapped for two
PACKED, EITHER = 0, 1  # whether groups are also assigned without swaps
FREELY, WHERE_CHEAP, ALWAYS = 0, 1, 2  # how strictly replicas of one expert are kept apart


class Layout(NamedTuple):
    """What one layer looks like; a global problem has one group and one node.  The rest follows: no rule need divide."""

    num_logical: int
    num_replicas: int
    num_groups: int
    num_nodes: int
    num_gpus: int
    group_experts: int
    node_groups: int
    node_experts: int
    node_slots: int
    node_gpus: int
    gpu_slots: int
    leaves: int  # of a bracket for the experts or the GPUs of a node, or for the nodes


class Job(NamedTuple):
    """What is to be planned, and how."""

    weight: Any  # (layers, num_logical)
    steps: Any  # (steps, layers, num_logical) of a window whose plan is to last; no steps where it need not
    layout: Layout
    tactics: Tactics


class Tables(NamedTuple):
    """The scratch of one worker."""

    values: Any
    integers: Any
    stage_values: Any
    stage_integers: Any
    window_values: Any
    outlook_values: Any
    outlook_integers: Any


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
    is_lasting: int
    lasting_starts: int
    lasting_swaps: int
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
    slots: int  # of a pack


class Kept(NamedTuple):
    """The best packing so far."""

    items: Any  # (packs * slots)
    pack_loads: Any  # (packs)


class Draft(NamedTuple):
    """Two packs that swap: as they were or, on a GPU, with their items exchanged already."""

    items: Any  # (2 * slots of a pack)
    loads: Any  # (2 * slots of a pack)
    pack_loads: Any  # (2) after the swap; on a GPU none


class Pairs(NamedTuple):
    """What is noted of each pair of items in a pack, with room for a few more; on a GPU sums and gains lie where marks do."""

    sums: Any  # (slots of a pack * (slots of a pack - 1) / 2) of the light pack; on a GPU, of the heavy one
    gains: Any  # (the same) the most that a swap for a pair of the light pack gains; on a GPU, what that pair sums to
    slots: Any  # (the same) which two slots it is, for a GPU


class Desk(NamedTuple):
    """The scratch of a packer."""

    trial: Packing
    keys: Any  # (items) what a start sorts by; then scratch.  On a GPU they lie where the trial's loads do
    order: Any  # (items)
    spare: Any  # (packs + items + DIGITS); on a GPU (packs + items).  Its end is where the trial's items lie
    marks: Any  # (MARKS or more) for a GPU to sort with
    fill: Any  # (packs)
    ranking: Any  # (packs) from heaviest to lightest
    bracket: Bracket  # (leaves for the packs, or for the experts of a node); on a GPU where the trial's loads and marks do
    draft: Draft
    pairs: Pairs


class Node(NamedTuple):
    """The experts of a node, counted within it, and their replicas."""

    loads: Any  # (experts)
    counts: Any  # (experts)
    slot_experts: Any  # (slots)
    slot_ranks: Any  # (slots) which of its expert's replicas a slot holds
    slot_loads: Any  # (slots)


class Bench(NamedTuple):
    """The scratch of a problem, before it is cut into arrays."""

    values: Any
    integers: Any
    layout: Layout
    of_groups: bool  # whether it is groups that are packed, onto nodes; else it is the replicas of a node, onto its GPUs


class Tools(NamedTuple):
    """All arrays that a problem is worked out on, and the bench that they were cut from."""

    node: Node
    items: Items
    kept: Kept
    desk: Desk
    bench: Bench


class Stage(NamedTuple):
    """A whole layer as one try leaves it, and the bench that it was cut from."""

    order: Any  # (experts) the layer's experts, node by node
    experts: Any  # (slots) the expert in each slot, counted within the node
    ranks: Any  # (slots)
    counts: Any  # (experts)
    loads: Any  # (gpus)
    bounds: Any  # (nodes)
    floors: Any  # (nodes) a load that the heaviest GPU cannot go below with these experts, or 0
    heaviest: Any  # (nodes) the load of the heaviest GPU; infinite until the node is placed
    mean: Any  # (1) the mean load of the layer's GPUs, where groups leave a choice
    positions: Any  # (experts) of each within its node, where a delivered layer is staged again
    bench: Bench


@lru_cache(maxsize=64)
def layout_of(topology: Topology) -> Layout:
    """Give the sizes of a layer."""
    groups, nodes = topology.planned_groups, topology.planned_nodes
    node_experts, node_gpus = topology.num_logical // nodes, topology.num_gpus // nodes
    return Layout(
        num_logical=topology.num_logical,
        num_replicas=topology.num_replicas,
        num_groups=groups,
        num_nodes=nodes,
        num_gpus=topology.num_gpus,
        group_experts=topology.num_logical // groups,
        node_groups=groups // nodes,
        node_experts=node_experts,
        node_slots=topology.num_replicas // nodes,
        node_gpus=node_gpus,
        gpu_slots=topology.num_replicas // topology.num_gpus,
        leaves=bracket_size(max(node_experts, node_gpus, nodes)),
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
        swaps=min(policy.swaps, MOST_SWAPS),
        pairs=("after", "stuck", "together").index(policy.pairs),
        pair_swaps=min(policy.pair_swaps, MOST_SWAPS),
        pair_partners=("lightest", "first", "best").index(policy.pair_partners),
        pair_slots=policy.pair_slots,
        by_spread=int(policy.winner == "spread"),
        groups=("packed", "either").index(policy.groups),
        apart=("freely", "where_cheap", "always").index(policy.apart),
        max_replicas=policy.max_replicas,
        is_lasting=int(policy.objective == "lasting"),
        lasting_starts=policy.lasting_starts,
        lasting_swaps=policy.lasting_swaps,
        limit=dtype.type(1 + policy.tolerance),
        least_gain=dtype.type(policy.least_gain),
        seed=stir(stir(0, seed & WORD), seed >> 32),
    )
