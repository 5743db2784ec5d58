"""What would a policy have done on a recorded trace: how balanced, how many moves, and how long did planning take?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .arrays import receive
from .loads import planned_loads
from .metrics import balancedness
from .plan import plan_experts
from .policy import Policy, find_policy
from .topology import Topology, integer

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, eq=False)
class Replay:
    """How a policy did on a trace.

    Attributes
    ----------
    steps : array of int64, (scored steps,)
        The steps of the trace that were scored: all from the first plan on.
    balancedness : array of float64, (scored steps, layers)
        Mean GPU load divided by the largest, with the plan that was in force; 1 is perfect.
    loaded : array of bool, (scored steps, layers)
        Whether there was any load; where there was none the balancedness is 1 and says nothing.
    planned : array of int64, (plans,)
        The steps before which a plan was made.
    moves : array of int64, (plans, layers)
        Replicas that came to a GPU which had not held them before; the first plan moves nothing.
    seconds : array of float64, (plans,)
        What planning took.
    """

    steps: NDArray[np.int64]
    balancedness: NDArray[np.float64]
    loaded: NDArray[np.bool_]
    planned: NDArray[np.int64]
    moves: NDArray[np.int64]
    seconds: NDArray[np.float64]


def replay(
    trace: Any,
    topology: Topology,
    policy: Policy | str = "balanced",
    *,
    every: SupportsIndex = 1,
    history: SupportsIndex = 8,
    seed: SupportsIndex = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Replay:
    """Walk a trace: plan on the last steps, score the plan on the steps that follow, plan anew.

    Parameters
    ----------
    trace : array, (steps, layers, experts)
        The loads of each step.
    topology : Topology
        Where the experts go.
    policy : Policy or str
        A policy or the name of one.
    every : int
        Steps that a plan is in force.
    history : int
        How many past steps each plan is made from.
    seed : int
        What the noise of further starts depends on.
    progress : callable, optional
        Is called with the number of steps done and to be done.

    Returns
    -------
    Replay
        Balancedness of each step and layer, moves and planning times.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be, or the trace is not longer than the history.

    Examples
    --------
    >>> import numpy as np
    >>> trace = np.random.default_rng(0).lognormal(0, 1, (12, 2, 16)).astype(np.float32)
    >>> result = replay(trace, Topology(16, 24, 1, 1, 4), every=2, history=8)
    >>> result.steps, result.planned
    (array([ 8,  9, 10, 11]), array([ 8, 10]))
    >>> result.balancedness.shape
    (4, 2)
    """
    guest = receive("trace", trace, (3,), "(steps, layers, experts)")
    loads = guest.view
    if not isinstance(topology, Topology):
        raise TypeError(f"topology must be a Topology, got {topology!r} of type {type(topology).__name__}")
    every, history = integer("every", every), integer("history", history)
    for name, number in (("every", every), ("history", history)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if len(loads) <= history:
        raise ValueError(f"trace must have more steps than the history ({history}), got {len(loads)}")
    if loads.shape[2] != topology.num_logical:
        raise ValueError(f"trace must have {topology.num_logical} experts like the topology, got {loads.shape[2]}")
    planned_loads(guest)  # says what is wrong with the loads before anything is planned
    numbers = topology.num_replicas, topology.num_groups, topology.num_nodes, topology.num_gpus
    chosen = find_policy(policy)
    plan_experts(loads[:history], *numbers, policy=chosen, seed=seed)  # compiles
    scores, moves, seconds = [], [], []
    steps = np.arange(history, len(loads))
    placement: NDArray[np.int64] | None = None
    for done, step in enumerate(steps):
        if done % every == 0:
            begin = time.perf_counter()
            after = plan_experts(loads[step - history : step], *numbers, policy=chosen, seed=seed).phy2log
            seconds.append(time.perf_counter() - begin)
            before = after if placement is None else placement
            new = ~np.isin(_number_replicas(after, topology), _number_replicas(before, topology), assume_unique=True)
            moves.append(np.count_nonzero(new, axis=(1, 2)))
            placement = after
        scores.append(balancedness(loads[step], placement, topology.num_gpus))
        if progress is not None:
            progress(done + 1, len(steps))
    return Replay(
        steps=steps,
        balancedness=np.array(scores, np.float64),
        loaded=loads[history:].max(axis=2) > 0,
        planned=steps[::every],
        moves=np.array(moves, np.int64),
        seconds=np.array(seconds),
    )


def _number_replicas(phy2log: NDArray[np.int64], topology: Topology) -> NDArray[np.int64]:
    """Give each replica (layers, GPUs, slots of each) a number of its own, whichever slot of its GPU it lies in."""
    num_slots = topology.slots_per_gpu
    experts = np.sort(phy2log.reshape(len(phy2log), topology.num_gpus, num_slots), axis=2)
    places = np.arange(num_slots)
    begins = np.where(experts != np.roll(experts, 1, axis=2), places, 0)
    rank = places - np.maximum.accumulate(begins, axis=2)  # among the replicas of one expert on one GPU
    gpus = np.arange(len(phy2log) * topology.num_gpus).reshape(len(phy2log), topology.num_gpus, 1)
    numbers: NDArray[np.int64] = (gpus * topology.num_logical + experts) * num_slots + rank
    return numbers
