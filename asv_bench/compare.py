"""How much faster than a plain NumPy version of DeepSeek's algorithm, and how much better balanced?

Prints the README's table: ``python asv_bench/compare.py``.  All rows of a shape are timed in turn, in one run.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numba
import numpy as np

from asv_bench.benchmarks.shapes import SHAPES
from eplb_numba import metrics, plan_experts, rebalance_experts
from eplb_numba.policy import POLICIES
from tests import deepseek

SECONDS = 2.0  # for each row of a shape, shared among its turns


def main():
    """Time each policy on each shape beside the plain version."""
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, numba {numba.__version__}, NumPy {np.__version__}")
    print()
    print("| shape | who | ms | times faster | balancedness | above the bound |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, shape in SHAPES.items():
        compare(name, shape, list(POLICIES) if "ep32_" in name else ["balanced", "deepseek"])


def compare(name, shape, policies):
    """Print the rows of one shape."""
    weight = shape.weight()
    rows = {"NumPy": lambda: deepseek.rebalance_experts(weight, *shape.numbers)}
    for policy in policies:
        rows[policy] = lambda policy=policy: rebalance_experts(weight, *shape.numbers, policy=policy)
    placements = {who: run()[0] for who, run in rows.items()}
    durations = {who: [] for who in rows}
    repeats = {who: max(1, int(SECONDS / 5 / seconds(rows[who]))) for who in rows}
    for _ in range(5):
        for who, run in rows.items():
            durations[who] += [seconds(run) for _ in range(repeats[who])]
    bounds = plan_experts(weight, *shape.numbers, policy="deepseek").bound
    for who in rows:
        loads = metrics.gpu_loads(weight, placements[who], shape.num_gpus)
        balanced = metrics.balancedness(weight, placements[who], shape.num_gpus)
        median = np.median(durations[who])
        faster = np.median(durations["NumPy"]) / median
        print(
            f"| {name} | {who} | {median * 1e3:.2f} | {faster:.3g} | {balanced.mean():.4f} "
            f"| {np.mean(loads.max(axis=1) / bounds - 1):.3%} |"
        )


def seconds(run):
    """Time one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
