"""What is a plan, and how is one made?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from .arrays import Guest
from .backend import Backend, find_backend
from .forks import refuse_to_import
from .loads import planned_dtype, receive_weight
from .policy import Policy, check_seed, check_width, find_policy
from .topology import Topology

if TYPE_CHECKING:
    from .rules.placement import Placement

__all__ = ["Plan", "as_plan", "plan_experts"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Where each replica goes, and how good that is; all arrays belong to the library of the weight.

    Attributes
    ----------
    phy2log : array of int64, (layers, num_replicas)
        The expert in each slot; GPU ``g`` has the slots from ``g * slots_per_gpu`` on.
    log2phy : array of int64, (layers, num_logical, width)
        The slots of each expert, in the order in which its replicas were made, padded with -1.
    logcnt : array of int64, (layers, num_logical)
        How many replicas each expert has.
    gpu_loads : array, (layers, num_gpus)
        The load of each GPU, where a replica carries its expert's load divided by the number of replicas; added up in the
        order of the slots, in the type that is planned in.
    bound : array, (layers,)
        A load that no placement which the policy allows can push the heaviest GPU below: the mean GPU load or the largest
        replica of the best replication, whichever is more; taken per node in a hierarchical placement, for the groups placed
        there.
    balancedness : array, (layers,)
        Mean GPU load divided by the largest: 1 is perfect.  A layer without load is balanced.  On a GPU, NaN for a layer that
        holds anything but loads.

    Notes
    -----
    Of a weight with steps, ``gpu_loads``, ``bound`` and ``balancedness`` are those of the sum of its steps.  A plan that is to
    last is made for each of them, and is less balanced there than one for the sum: measure it on the steps to come, with
    `replay` or `eplb_numba.metrics`.
    """

    phy2log: Any
    log2phy: Any
    logcnt: Any
    gpu_loads: Any
    bound: Any
    balancedness: Any


def plan_experts(
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
) -> Plan:
    """Decide how often to replicate each expert and where to put each replica, and tell how good that is.

    Parameters
    ----------
    weight, num_replicas, num_groups, num_nodes, num_gpus, policy, seed, log2phy_width, backend
        As for `rebalance_experts`.

    Returns
    -------
    Plan
        The placement, its GPU loads, the bound and the balancedness.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.
    RuntimeError
        If nothing can be planned on a GPU here, and one is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_experts(np.array([[8.0, 4.0, 2.0, 2.0]]), 6, 1, 1, 2)
    >>> plan.phy2log
    array([[0, 1, 3, 0, 2, 1]])
    >>> plan.balancedness
    array([1.])
    """
    refuse_to_import("rules.terms")
    from .rules.terms import layout_of, tactics_of

    guest = receive_weight(weight, may_lack_layers=True)
    topology = Topology(guest.shape[-1], num_replicas, num_groups, num_nodes, num_gpus)
    chosen = find_policy(policy)
    width = check_width(topology, chosen, log2phy_width)
    tactics = tactics_of(chosen, check_seed(seed), planned_dtype(guest))
    chosen_backend = find_backend(backend, guest)
    if guest.shape[-2] == 0:
        return _plan_of_nothing(guest, topology, width or 1)
    return as_plan(*chosen_backend.plan(guest, layout_of(topology), tactics, width))


def _plan_of_nothing(guest: Guest, topology: Topology, width: int) -> Plan:
    """Give the plan for a weight without layers: a stage of a model may have none with experts."""
    value, index = planned_dtype(guest), np.dtype(np.int64)
    shapes = (topology.num_replicas,), (topology.num_logical, width), (topology.num_logical,), (topology.num_gpus,), (), ()
    kinds = index, index, index, value, value, value
    return Plan(*(guest.hand_back(np.empty((0, *shape), kind)) for shape, kind in zip(shapes, kinds, strict=True)))


def as_plan(placement: Placement, log2phy: Any) -> Plan:
    """Give a plan made of what a backend hands back."""
    return Plan(
        phy2log=placement.phy2log,
        log2phy=log2phy,
        logcnt=placement.logcnt,
        gpu_loads=placement.gpu_loads,
        bound=placement.bounds,
        balancedness=placement.balancedness,
    )
