"""How are kernels compiled before anybody plans with them, for a GPU that need not be here?

The launches of plans are prepared, of which each compiles its kernel, and never started.  What they are handed lies nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda import dispatcher
from numba.cuda.cudadrv import devices, nvrtc

from ..arrays import LEAST_CAPABILITY
from ..loads import most_of
from ..policy import POLICIES
from ..rules.placement import Placement
from ..rules.rows import Packs, Replicas
from ..rules.terms import layout_of, tactics_of
from ..topology import Topology
from .memory import MANY_SHARE, allocate, allocate_for_rows
from .orders import lasts, order_to_list, orders_of_plan, orders_to_pack, orders_to_replicate
from .site import Site, device, empty_results, limits_of

__all__ = ["ahead"]

# For a plan that is to last there is a kernel for few slots on a node and one for many, and its outlook may not fit.
SHAPES = Topology(256, 288, 8, 4, 32), Topology(256, 288, 1, 1, 32), Topology(384, 480, 1, 1, 96)
# Large packs want so much scratch that, in float64, it does not fit.
PACKED_SHAPES = Topology(16, 16, 1, 1, 4), Topology(384, 384, 1, 1, 2)
REPLICATED_SHAPES = Topology(16, 24, 1, 1, 1), Topology(256, 288, 1, 1, 1)
# Launched with these policies: one has restarts, the other one starts.
RESTARTS = replace(POLICIES["optimize_and_2item_swap"], restarts=MANY_SHARE)
STARTS = POLICIES["balanced"]


def ahead(capability: tuple[int, int] | None, topology: Topology | None = None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name what is to be compiled, and give what does so, for GPUs of a compute capability; without one, for the current GPU.

    It is what plans dense weights of some types: for a topology or, without one, wherever scratch fits into shared memory, and
    then also what packs and replicates.  A process that does this does nothing else meanwhile, and compiles for one compute
    capability: Numba knows kernels by their types alone.
    """
    supported = [number for number in nvrtc.get_supported_ccs() if number >= LEAST_CAPABILITY]
    capability = capability or cuda.get_current_device().compute_capability
    if capability not in supported:
        known = ", ".join(f"{major}.{minor}" for major, minor in supported)
        raise ValueError(f"the compute capability must be one of {known}, got {capability[0]}.{capability[1]}")
    shapes = SHAPES if topology is None else (topology,)
    float32, float64, int32, int64 = map(np.dtype, ("float32", "float64", "int32", "int64"))
    for kind, value in ((float32, float32), (float64, float64), (int32, float32), (int64, float32)):
        tasks = [("plans", partial(_plan, kind, value, 1, shapes)), ("lasting plans", partial(_plan, kind, value, 2, shapes))]
        if topology is None:
            tasks += [("packing", partial(_pack, kind, value)), ("replication", partial(_replicate, kind, value))]
        for what, compile_it in tasks:
            yield f"{kind} {what}", partial(_compile_for, capability, compile_it)
    for kind in (float32, int32, int64):
        for what, num_steps in (("plans", 1), ("lasting plans", 2)):
            compile_it = partial(_plan, kind, float64, num_steps, shapes)
            yield f"{kind} {what} in float64", partial(_compile_for, capability, compile_it)


def _plan(kind: np.dtype[Any], value: np.dtype[Any], num_steps: int, shapes: Iterable[Topology]) -> None:
    """Compile what plans so many steps of one type in another one."""
    for topology in shapes:
        site, layout = _site((num_steps, 1, topology.num_logical), kind, value), layout_of(topology)
        for policy in (STARTS, RESTARTS):
            tactics = tactics_of(policy, 0, value)
            room = allocate(site.empty, 1, layout, tactics, value, lasts(site, tactics))
            placement, log2phy = empty_results(site, 1, layout, value, 1)
            seen = Placement(*map(device.see, placement)), device.see(log2phy)
            orders_of_plan(site, layout, tactics, room, *seen, lists=True)
            order_to_list(site, *seen)


def _pack(kind: np.dtype[Any], value: np.dtype[Any]) -> None:
    for topology in PACKED_SHAPES:
        row = 1, topology.num_logical
        site, layout, tactics = _site((1, *row), kind, value), layout_of(topology), tactics_of(STARTS, 0, value)
        room = allocate_for_rows(site.empty, 1, layout, tactics, value)
        orders_to_pack(site, layout, tactics, room, Packs(*(_indices(row) for _ in range(2))))


def _replicate(kind: np.dtype[Any], value: np.dtype[Any]) -> None:
    for topology in REPLICATED_SHAPES:
        row, slots = (1, topology.num_logical), (1, topology.num_replicas)
        site, layout, tactics = _site((1, *row), kind, value), layout_of(topology), tactics_of(STARTS, 0, value)
        room = allocate_for_rows(site.empty, 1, layout, tactics, value)
        orders_to_replicate(site, layout, room, Replicas(*map(_indices, (slots, slots, row))))


class _Nowhere:
    """An array without memory."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (0, False), "version": 3}


def _indices(shape: tuple[int, int]) -> Any:
    return device.see(_Nowhere(shape, np.int64))


def _site(shape: tuple[int, int, int], kind: np.dtype[Any], value: np.dtype[Any]) -> Site:
    """Serve a weight (steps, layers, experts) that lies nowhere."""
    weight = device.see(_Nowhere(shape, kind))
    return Site(weight, weight, *limits_of(kind, value), most_of(value), None, _Nowhere, lambda array: array)


@contextmanager
def _for_gpus_of(capability: tuple[int, int]) -> Iterator[None]:
    """Let Numba compile for GPUs of a compute capability, whichever is here, and load nothing."""
    gpu = SimpleNamespace(compute_capability=capability)
    replaced = (
        (dispatcher, "get_current_device", lambda: gpu),
        (devices, "get_context", lambda *_: SimpleNamespace(device=gpu)),
        (dispatcher._Kernel, "bind", lambda kernel: kernel._codelibrary.get_cubin()),
    )
    before = [getattr(owner, name) for owner, name, _ in replaced]
    try:
        for owner, name, new in replaced:
            setattr(owner, name, new)
        yield
    finally:
        for (owner, name, _), old in zip(replaced, before, strict=True):
            setattr(owner, name, old)


def _compile_for(capability: tuple[int, int], compile_it: Callable[[], None]) -> None:
    with _for_gpus_of(capability):
        compile_it()
