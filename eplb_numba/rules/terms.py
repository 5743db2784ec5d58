"""In which terms do the rules speak: sizes, tactics, and the arrays that they work on?

Arrays that belong together travel together, and a rule is handed only what it touches.  Sizes are read off the arrays.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .bracket import Bracket
from .noise import STEPS, WORD, stir

if TYPE_CHECKING:
    from ..policy import Policy
    from ..topology import Topology

LIGHTEST, FIRST, BEST = 0, 1, 2  # which lighter packs a heavy one may swap with
AFTER, STUCK, TOGETHER = 0, 1, 2  # when two items may be swapped for two
PACKED, EITHER = 0, 1  # whether groups are also assigned without swaps
FREELY, WHERE_CHEAP, ALWAYS = 0, 1, 2  # how strictly replicas of one expert are kept apart


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


class Kept(NamedTuple):
    """The best packing so far."""

    items: Any  # (packs * slots)
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
    """A whole layer as one try leaves it."""

    order: Any  # (experts) the layer's experts, node by node
    experts: Any  # (slots) the expert in each slot, counted within the node
    ranks: Any  # (slots)
    counts: Any  # (experts)
    loads: Any  # (gpus)
    bounds: Any  # (nodes)


class Bench(NamedTuple):
    """What one try at a layer is worked out on."""

    node: Node
    group_loads: Any  # (groups)
    kept: Kept
    desk: Desk


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
