"""What do users of DeepSeek's EPLB call?  The same three functions, with the same positional arguments and results."""

from __future__ import annotations

from typing import Any, SupportsIndex

from .arrays import receive
from .backend import Backend, find_backend
from .forks import refuse_to_import
from .loads import planned_dtype
from .plan import plan_experts
from .policy import Policy, check_seed, find_policy
from .topology import MOST_SIZE, Topology, integer

__all__ = ["balanced_packing", "rebalance_experts", "replicate_experts"]


def rebalance_experts(
    weight: Any,
    num_replicas: SupportsIndex,
    num_groups: SupportsIndex | None,
    num_nodes: SupportsIndex,
    num_gpus: SupportsIndex,
    *,
    policy: Policy | str = "balanced",
    seed: SupportsIndex = 0,
    log2phy_width: SupportsIndex | None = None,
    backend: Backend | None = None,
) -> tuple[Any, Any, Any]:
    """Decide how often to replicate each expert and on which GPU to put each replica.

    Parameters
    ----------
    weight : array, (layers, experts) or (steps, layers, experts)
        The observed load of each expert: a NumPy array, one of torch or CuPy, or any other that exports DLPack from a CPU.
        float64 is planned in float64, everything else in float32.  Steps are summed, unless the policy's plans are to last:
        see ``Policy.objective``, and ``"balanced"``.  On a GPU, where the host does not see them, a layer that holds anything
        but loads is planned as if it had none, and its balancedness is NaN.  There may be no layers.
    num_replicas : int
        Slots per layer, a multiple of ``num_gpus`` and at least the number of experts.
    num_groups : int or None
        Groups of consecutive experts; None and 0 mean one.  The placement is hierarchical (groups stay within a node) where
        ``num_groups`` is a multiple of ``num_nodes``, and global otherwise.  In a hierarchical placement the number of
        experts must be a multiple of it.
    num_nodes : int
        Nodes; ``num_gpus`` must be a multiple of it in a hierarchical placement.
    num_gpus : int
        GPUs in all.
    policy : Policy or str
        A policy, or the name of one in ``eplb_numba.policy.POLICIES``; ``"deepseek"`` gives DeepSeek's own, with ties to
        the lowest index.
    seed : int
        What the noise of further starts depends on: the same seed gives the same answer everywhere.
    log2phy_width : int, optional
        Fixes the width of ``log2phy``; it must hold the most replicas that an expert can get, which is
        ``Topology(...).max_replicas``, or the policy's if that is less.  On a GPU the host need not wait for the largest
        replica count then.
    backend : {"cpu", "cuda"}, optional
        Who plans, wherever the weight lies; by default the device that it lies on.

    Returns
    -------
    phy2log : array of int64, (layers, num_replicas)
        The expert in each slot.
    log2phy : array of int64, (layers, experts, width)
        The slots of each expert, padded with -1; as wide as the largest replica count unless the width is fixed.
    logcnt : array of int64, (layers, experts)
        How many replicas each expert has.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be; nothing is computed then.
    RuntimeError
        If nothing can be planned on a GPU here, and one is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> phy2log, log2phy, logcnt = rebalance_experts(np.array([[8.0, 4.0, 2.0, 2.0]]), 6, 1, 1, 2)
    >>> phy2log
    array([[0, 1, 3, 0, 2, 1]])
    >>> logcnt
    array([[2, 2, 1, 1]])
    """
    plan = plan_experts(
        weight,
        num_replicas,
        num_groups,
        num_nodes,
        num_gpus,
        policy=policy,
        seed=seed,
        log2phy_width=log2phy_width,
        backend=backend,
    )
    return plan.phy2log, plan.log2phy, plan.logcnt


def balanced_packing(
    weight: Any,
    num_packs: SupportsIndex,
    *,
    policy: Policy | str = "balanced",
    seed: SupportsIndex = 0,
    backend: Backend | None = None,
) -> tuple[Any, Any]:
    """Pack items onto packs of equal size so that the heaviest pack is as light as possible.

    Parameters
    ----------
    weight : array, (rows, items)
        What each item weighs; each row is a problem of its own.
    num_packs : int
        Packs; the number of items must be a multiple of it.
    policy, seed
        As for `rebalance_experts`; of the policy, its starts and swaps count here.
    backend
        As for `rebalance_experts`.

    Returns
    -------
    pack_index : array of int64, (rows, items)
        The pack of each item.
    rank_in_pack : array of int64, (rows, items)
        The place of each item in its pack.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.
    RuntimeError
        If nothing can be planned on a GPU here, and one is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> pack_index, _ = balanced_packing(np.array([[5.0, 4.0, 3.0, 2.0]]), 2)
    >>> pack_index
    array([[0, 1, 1, 0]])
    """
    refuse_to_import("rules.terms")
    from .rules.terms import layout_of, tactics_of

    guest = receive("weight", weight, (2,), "(rows, items)")
    num_items = guest.shape[1]
    packs_wanted = integer("num_packs", num_packs)
    if packs_wanted < 1 or num_items % packs_wanted:
        raise ValueError(f"num_packs must divide the number of items ({num_items}), got {packs_wanted}")
    layout = layout_of(Topology(num_items, num_items, 1, 1, packs_wanted))
    tactics = tactics_of(find_policy(policy), check_seed(seed), planned_dtype(guest))
    packs = find_backend(backend, guest).pack(guest, layout, tactics)
    return packs.pack_index, packs.rank_in_pack


def replicate_experts(weight: Any, num_phy: SupportsIndex, *, backend: Backend | None = None) -> tuple[Any, Any, Any]:
    """Give each expert one slot, and every further slot to the expert with the largest load per replica.

    Parameters
    ----------
    weight : array, (rows, experts)
        The load of each expert; each row is a problem of its own.
    num_phy : int
        Slots; at least the number of experts.
    backend
        As for `rebalance_experts`.

    Returns
    -------
    phy2log : array of int64, (rows, num_phy)
        The expert in each slot.
    rank : array of int64, (rows, num_phy)
        Which of its expert's replicas a slot holds.
    logcnt : array of int64, (rows, experts)
        How many replicas each expert has.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.
    RuntimeError
        If nothing can be planned on a GPU here, and one is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> phy2log, rank, logcnt = replicate_experts(np.array([[9.0, 4.0, 1.0]]), 5)
    >>> phy2log, rank
    (array([[0, 1, 2, 0, 0]]), array([[0, 0, 0, 1, 2]]))
    """
    refuse_to_import("rules.terms")
    from .rules.terms import layout_of, tactics_of

    guest = receive("weight", weight, (2,), "(rows, experts)")
    num_experts = guest.shape[1]
    if not num_experts <= integer("num_phy", num_phy) < MOST_SIZE:
        raise ValueError(
            f"num_phy ({num_phy}) must be at least the number of experts ({num_experts}), and less than {MOST_SIZE}"
        )
    layout = layout_of(Topology(num_experts, num_phy, 1, 1, 1))
    tactics = tactics_of(find_policy("deepseek"), 0, planned_dtype(guest))
    replicas = find_backend(backend, guest).replicate(guest, layout, tactics)
    return replicas.phy2log, replicas.rank, replicas.logcnt
