"""How are plans made again and again, in the same memory?"""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, Literal, SupportsIndex

import numpy as np

from .backend import open_backend
from .forks import refuse_to_import
from .loads import planned_dtype, receive_weight
from .plan import Plan, as_plan
from .policy import Policy, check_seed, check_width, find_policy, most_replicas
from .topology import Topology, integer

__all__ = ["Planner"]


class Planner:
    """Plans for one topology again and again, in memory of its own.

    Parameters
    ----------
    num_layers : int
        Layers of the weights to come.
    num_logical : int
        Experts of the weights to come.
    num_replicas, num_groups, num_nodes, num_gpus : int
        As for `rebalance_experts`.
    policy : Policy or str
        A policy or the name of one.
    seed : int
        What the noise of further starts depends on.
    dtype : {"float32", "float64"}
        The type that is planned in; only float64 weights need float64.
    log2phy_width : int, optional
        Width of ``log2phy``, at least the most replicas that an expert can get (the default).
    gpu : int, optional
        The CUDA GPU on which weights lie and plans are made; by default that is the CPU.

    Notes
    -----
    A planner needs at least one layer.  The arrays of a plan belong to it: read them, and copy what must outlive the next
    plan, is to be changed (the padding of ``log2phy`` is written only once) or, on a GPU, planned for.  It serves one thread
    and, on a GPU, one stream at a time.  A copy, and what is unpickled elsewhere, is a planner of its own.

    To capture a planner in a CUDA graph, plan once before that with a weight of the same library, shape, type and memory
    order: the first plan compiles, and that library allocates the planner's memory on the stream that is current then.
    If there is too little of it, that is when the library says so.  Keep a planner for as long as such a graph is
    replayed, and until other streams that it served are done.  CuPy's float16 weights cannot be captured: they are copied
    first, and CuPy's pool does not know that a graph still wants the copy.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be.
    RuntimeError
        If a GPU is asked for and nothing can be planned on one here.

    Examples
    --------
    >>> import numpy as np
    >>> planner = Planner(1, 4, 6, 1, 1, 2)
    >>> planner.plan(np.array([[8.0, 4.0, 2.0, 2.0]], np.float32)).gpu_loads
    array([[8., 8.]], dtype=float32)
    """

    def __init__(
        self,
        num_layers: SupportsIndex,
        num_logical: SupportsIndex,
        num_replicas: SupportsIndex,
        num_groups: SupportsIndex | None,
        num_nodes: SupportsIndex,
        num_gpus: SupportsIndex,
        *,
        policy: Policy | str = "balanced",
        seed: SupportsIndex = 0,
        dtype: Literal["float32", "float64"] = "float32",
        log2phy_width: SupportsIndex | None = None,
        gpu: SupportsIndex | None = None,
    ) -> None:
        refuse_to_import("rules.terms")
        from .rules.terms import layout_of, tactics_of

        self.num_layers = integer("num_layers", num_layers)
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.topology = Topology(num_logical, num_replicas, num_groups, num_nodes, num_gpus)
        self.policy = find_policy(policy)
        self._dtype = _find_dtype(dtype)
        width = check_width(self.topology, self.policy, log2phy_width) or most_replicas(self.topology, self.policy)
        tactics = tactics_of(self.policy, check_seed(seed), self._dtype)
        self.gpu = None if gpu is None else integer("gpu", gpu)
        if self.gpu is not None and self.gpu < 0:
            raise ValueError(f"gpu must not be negative, got {gpu}")
        where = () if self.gpu is None else (self.gpu,)
        workshop = open_backend("cpu" if self.gpu is None else "cuda").Workshop
        self._workshop = workshop(self.num_layers, layout_of(self.topology), tactics, self._dtype, width, *where)
        self._in_use = threading.Lock()
        self._process = os.getpid()
        self._made_of = partial(
            type(self), num_layers, num_logical, num_replicas, num_groups, num_nodes, num_gpus,
            policy=policy, seed=seed, dtype=dtype, log2phy_width=log2phy_width, gpu=gpu,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies, and what is unpickled elsewhere, be planners of their own with memory of their own."""
        return self._made_of, ()

    def plan(self, weight: Any) -> Plan:
        """Plan for the weight, (layers, experts) or (steps, layers, experts).

        Returns
        -------
        Plan
            Its arrays are the planner's own: copy what must outlive the next call.

        Raises
        ------
        ValueError, TypeError
            If the weight does not have the planner's shape and type, or does not hold loads.
        RuntimeError
            If another thread is using the planner.
        """
        guest = receive_weight(weight)
        expected = (self.num_layers, self.topology.num_logical)
        if guest.shape[-2:] != expected:
            raise ValueError(f"weight must have {expected[0]} layers of {expected[1]} experts, got shape {guest.shape}")
        if planned_dtype(guest).itemsize > self._dtype.itemsize:
            raise TypeError(
                f'weight must not be {guest.dtype} where its planner plans in {self._dtype}: build one with dtype="float64"'
            )
        if guest.gpu != self.gpu:
            raise ValueError(f"weight must lie on {_place(self.gpu)} like its planner, got one on {_place(guest.gpu)}")
        if self._process != os.getpid():  # a fork may have come while another thread was planning: it is not here
            self._in_use, self._process = threading.Lock(), os.getpid()
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("a planner serves one thread at a time, and another one is using it: build one for each")
        try:
            return as_plan(*self._workshop.plan(guest))
        finally:
            self._in_use.release()


def _place(gpu: int | None) -> str:
    return "the CPU" if gpu is None else f"GPU {gpu}"


def _find_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        found: np.dtype[Any] | None = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return found
