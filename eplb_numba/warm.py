"""How is all that plans compiled before it is wanted?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import config

from .api import balanced_packing, rebalance_experts, replicate_experts
from .backend import why_not_compile, why_not_cuda
from .cpu import cache_folder
from .kept import not_kept
from .planner import Planner
from .topology import Topology

__all__ = ["warm", "warm_for_gpu"]

NUMBERS = 288, 8, 4, 32


def warm() -> Iterator[tuple[str, float]]:
    """Compile all that plans on a CPU, one thing after the other; give what it was and the seconds that it took."""
    _must_not_be_set("DISABLE_JIT")
    _must_be_kept(cache_folder())
    for dtype in (np.float32, np.float64):
        for what, call in _calls(np.ones((16, 256), dtype)):
            yield f"{np.dtype(dtype).name} {what}", _seconds(call)


def warm_for_gpu(capability: tuple[int, int] | None, topology: Topology | None = None) -> Iterator[tuple[str, float]]:
    """Compile likewise for GPUs of a compute capability, of which none need be here; without one, for the current GPU.

    With a topology it is only what plans for that; without one, all that needs no more scratch than a block has at hand.
    """
    _must_not_be_set("DISABLE_JIT")
    reason = why_not_compile() if capability else why_not_cuda()
    if reason is not None:
        raise ValueError(f"to compile for a GPU, there must be numba-cuda and a GPU or its compute capability, but {reason}")
    _must_not_be_set("ENABLE_CUDASIM")
    from .gpu.ahead import ahead
    from .gpu.kernels import KERNELS

    _must_be_kept(KERNELS.place.stats.cache_path)
    for what, call in ahead(capability, topology):
        yield what, _seconds(call)


def _seconds(call: Callable[[], object]) -> float:
    """Call something that compiles, and give how long that took."""
    begin = time.perf_counter()
    call()
    if not_kept:
        raise not_kept.pop()
    return time.perf_counter() - begin


def _must_not_be_set(name: str) -> None:
    if getattr(config, name, False):  # some only numba-cuda knows
        raise ValueError(f"to compile, NUMBA_{name} must not be set: with it nothing is compiled")


def _must_be_kept(folder: str | None) -> None:
    if folder is None:
        raise ValueError("to keep what is compiled there must be a folder that can be written to: name one in NUMBA_CACHE_DIR")


def _calls(weight: Any) -> list[tuple[str, Callable[[], object]]]:
    """Give what users call: with so many layers that threads share them, and with a single one."""
    steps = np.stack([weight, weight])
    steps[1, :, 0] = 2
    planner = Planner(1, weight.shape[1], *NUMBERS, dtype=weight.dtype.name)
    return [
        ("plans", lambda: [rebalance_experts(part, *NUMBERS, log2phy_width=256) for part in (weight, weight[:1])]),
        ("lasting plans", lambda: [rebalance_experts(part, *NUMBERS) for part in (steps, steps[:, :1])]),
        ("planners", lambda: planner.plan(weight[:1])),
        ("packing", lambda: [balanced_packing(part, 32) for part in (weight, weight[:1])]),
        ("replication", lambda: [replicate_experts(part, 288) for part in (weight, weight[:1])]),
    ]
