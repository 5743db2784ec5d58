"""What may the packer do?  A policy says it, and the well-known ones have names."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, SupportsIndex, get_args, get_type_hints

import numpy as np

from .topology import MOST_SIZE, Topology, integer

__all__ = ["POLICIES", "Policy", "check_seed", "check_width", "find_policy", "most_replicas"]

Partners = Literal["lightest", "first", "best"]
Pairs = Literal["after", "stuck", "together"]
Winner = Literal["max", "spread"]
Groups = Literal["packed", "either"]
Objective = Literal["sum", "lasting"]
Apart = Literal["freely", "where_cheap", "always"]

MOST = 2**31 - 1  # the rules count in integers of this size


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How replicas are packed onto GPUs, and groups onto nodes.

    A packing starts greedily: heaviest item first, each onto the lightest pack with room.  Swaps between packs then lower
    the heaviest.  Further starts disturb the order of the items and keep the best result.

    Parameters
    ----------
    starts : int
        Greedy starts of each packing; the first is undisturbed.  Where the lowest largest load wins, one that cannot be kept
        any more ends early.
    restarts : int
        Runs of the whole pipeline for each layer (groups, replication, packing); the first is undisturbed, and the one with
        the lowest largest GPU load is kept.  What cannot be kept any more is given up early.
    noise : tuple of float
        The range of the multiplier that a disturbed start applies to each weight before sorting, within [0, 2].
    swaps : int
        The most swaps of one item for one.
    heaviest : int
        How many of the heaviest packs are tried in turn, until one of them has a swap.
    partners : {"lightest", "first", "best"}
        Whom a heavy pack swaps with: only the lightest pack; the first, from the lightest up, that has a swap; or the one
        with the best swap.
    pair_swaps : int
        The most swaps of two items for two, between the heaviest pack and a lighter one.
    pair_partners : {"lightest", "first", "best"}
        Whom the heaviest pack swaps two items with.
    pairs : {"after", "stuck", "together"}
        When two go for two: once no single swap is left; whenever no single swap is found; or whenever no single swap of the
        heaviest pack gains as much (the larger of the two limits then counts all rounds).
    pair_slots : int
        Two go for two only where a pack has at most so many slots; at most 64.
    tolerance : float
        A packing is good enough when its heaviest pack is at most this fraction above the bound.
    least_gain : float
        A swap must lower the larger of its two loads by more than this fraction of the bound.
    winner : {"max", "spread"}
        Which start is kept: lowest largest load, or smallest difference of largest and smallest (never at the price of a
        heavier pack than the first start has).
    groups : {"packed", "either"}
        How groups are assigned to nodes: as the policy packs; or, where that is not the plain greedy assignment, as either of
        the two, whichever leaves the heaviest GPU lighter (a better balance of nodes may fit the GPUs worse).
    apart : {"freely", "where_cheap", "always"}
        Whether replicas of one expert may share a GPU: yes; only where keeping them apart would cost more than the tolerance
        against packing them freely; or only where there are more slots on a GPU than experts to fill them.
    objective : {"sum", "lasting"}
        What is balanced where a weight has steps: their sum; or each of them, in the mean, so that the plan lasts.  There each
        step counts the same, but for those with less than a 64th of the mean step's load, which count for nothing.  What a
        lasting plan changes about that for the sum keeps replicas of one expert on different GPUs, whatever ``apart`` says.
    lasting_swaps : int
        The most searches for a swap in a lasting plan of a layer, shared out among its nodes.
    lasting_starts : int
        The most greedy starts among which they are shared out, up to three searches for each GPU to a start.  What noise,
        partners and gains are there is fixed: ``noise``, ``partners``, ``least_gain``, ``tolerance`` and ``winner`` are for
        the plan for the sum, from which a lasting one sets out.
    max_replicas : int
        The most replicas that an expert may get; 0 is no limit.
    summary : str
        What the policy does, in a sentence or two.

    Examples
    --------
    >>> from dataclasses import replace
    >>> replace(POLICIES["balanced"], tolerance=1e-4).tolerance
    0.0001
    """

    starts: int = 1
    restarts: int = 1
    noise: tuple[float, float] = (1.0, 1.0)
    swaps: int = 0
    heaviest: int = 1
    partners: Partners = "lightest"
    pair_swaps: int = 0
    pair_partners: Partners = "lightest"
    pairs: Pairs = "after"
    pair_slots: int = 16
    tolerance: float = 0.0
    least_gain: float = 2.0**-16
    winner: Winner = "max"
    groups: Groups = "packed"
    apart: Apart = "freely"
    objective: Objective = "sum"
    lasting_starts: int = 1
    lasting_swaps: int = 0
    max_replicas: int = 0
    summary: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name in ("starts", "restarts", "heaviest", "lasting_starts"):
            self._settle(name, _count(name, getattr(self, name), 1, MOST))
        for name in ("swaps", "pair_swaps", "lasting_swaps", "max_replicas"):
            self._settle(name, _count(name, getattr(self, name), 0, MOST))
        self._settle("pair_slots", _count("pair_slots", self.pair_slots, 0, 64))
        for name in ("tolerance", "least_gain"):
            self._settle(name, _number(name, getattr(self, name), 1))
        for name in ("partners", "pair_partners", "pairs", "winner", "groups", "apart", "objective"):
            chosen = getattr(self, name)
            if not isinstance(chosen, str) or chosen not in get_args(hints[name]):
                raise ValueError(f"{name} must be one of {get_args(hints[name])}, got {chosen!r}")
        self._settle("noise", _range("noise", self.noise))

    def _settle(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _count(name: str, value: int, least: int, most: int) -> int:
    count = integer(name, value)
    if not least <= count <= most:
        raise ValueError(f"{name} must be within [{least}, {most}], got {count}")
    return count


def _number(name: str, value: object, most: float) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be within [0, {most}], got {value}")
    return float(value)


def _range(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, got {value!r}")
    low, high = (_number(name, end, 2) for end in value)
    if low > high:
        raise ValueError(f"{name} must be an ascending pair within [0, 2], got {value}")
    return low, high


POLICIES = MappingProxyType(
    {
        "balanced": Policy(
            starts=4,
            noise=(1.0, 1.125),
            swaps=256,
            partners="best",
            pair_swaps=64,
            pair_partners="first",
            pairs="stuck",
            tolerance=1e-3,
            least_gain=2.0**-20,
            groups="either",
            apart="where_cheap",
            objective="lasting",
            lasting_starts=8,
            lasting_swaps=96,
            summary="The default. Replicas of one expert on different GPUs unless that costs balance; stops within 0.1 % of "
            "the bound, and where one greedy start with swaps does not get there, tries two-for-two swaps and further starts.",
        ),
        "deepseek": Policy(summary="DeepSeek's algorithm, one greedy pass and no swaps, with ties to the lowest index."),
        "optimize_and_2item_swap": Policy(
            restarts=128,
            noise=(1.0, 1.25),
            swaps=50,
            pair_swaps=10,
            pairs="after",
            summary="128 runs of the whole pipeline; swaps of heaviest and lightest, then up to 10 of two for "
            "two. Added where its description is silent: 50 single swaps, and weights raised by up to a quarter as noise.",
        ),
        "opt_packing_and_repl": Policy(
            starts=2,
            noise=(0.925, 1.075),
            swaps=30,
            heaviest=3,
            partners="first",
            winner="spread",
            summary="Two starts; the three heaviest packs in turn swap with the first pack, from the lightest "
            "up, that allows it; the narrowest spread wins.",
        ),
        "parallel_randomized_greedy_with_l2_swap": Policy(
            starts=8,
            noise=(1.0, 1.2),
            swaps=20,
            summary="Eight starts; up to 20 swaps of heaviest and lightest.",
        ),
        "vectorized_lpt_and_swap": Policy(
            swaps=50,
            partners="best",
            summary="One start; up to 50 swaps of the heaviest pack with whichever pack gains most.",
        ),
        "refine_packing_with_2item_swaps": Policy(
            starts=8,
            noise=(0.8, 1.2),
            swaps=50,
            partners="best",
            pair_swaps=50,
            pairs="together",
            summary="Eight starts; up to 50 rounds, each the better of the best single swap and the best swap "
            "of two for two. Added where its description is silent: attempts re-weight the items by up to a fifth either way.",
        ),
    }
)


def find_policy(policy: Policy | str) -> Policy:
    """Give the policy of that name, or the policy itself."""
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, str):
        raise TypeError(f"policy must be a Policy or the name of one, got {policy!r} of type {type(policy).__name__}")
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    return POLICIES[policy]


def most_replicas(topology: Topology, policy: Policy) -> int:
    """Give the most replicas that an expert can get, and check that there are enough for all slots."""
    if policy.max_replicas == 0:
        return topology.max_replicas
    if topology.num_logical * policy.max_replicas < topology.num_replicas:
        raise ValueError(
            f"max_replicas ({policy.max_replicas}) times the number of experts ({topology.num_logical}) must be at least "
            f"num_replicas ({topology.num_replicas})"
        )
    return min(topology.max_replicas, policy.max_replicas)


def check_width(topology: Topology, policy: Policy, width: SupportsIndex | None) -> int | None:
    """Check a fixed width of log2phy: it must hold whatever the loads may ask for, so that no load can overflow it."""
    most = most_replicas(topology, policy)
    if width is None:
        return None
    fixed = integer("log2phy_width", width)
    if fixed < most:
        raise ValueError(f"log2phy_width ({fixed}) must be at least {most}, the most replicas that an expert can get")
    if fixed >= MOST_SIZE:
        raise ValueError(f"log2phy_width must be less than {MOST_SIZE}, got {fixed}")
    return fixed


def check_seed(seed: SupportsIndex) -> int:
    """Check that a seed is an integer of 64 bits."""
    number = integer("seed", seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"seed must be within [0, 2**64), got {number}")
    return number
