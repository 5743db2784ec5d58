"""How is all that plans on a CPU compiled before it is wanted?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .api import balanced_packing, rebalance_experts, replicate_experts
from .planner import Planner

__all__ = ["warm"]

NUMBERS = 288, 8, 4, 32


def warm() -> Iterator[tuple[str, float]]:
    """Compile one thing after the other, in all its forms; give what it was and the seconds that it took."""
    for dtype in (np.float32, np.float64):
        for what, call in _calls(np.ones((16, 256), dtype)):
            begin = time.perf_counter()
            call()
            yield f"{np.dtype(dtype).name} {what}", time.perf_counter() - begin


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
