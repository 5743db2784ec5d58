"""How long does a plan take on a CPU, and how good is it?

Time and balance stand side by side, so that neither is bought with the other.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

import numpy as np

from eplb_numba import Planner, plan_experts, rebalance_experts

from .shapes import SHAPES

POLICIES = ["deepseek", "balanced"]


class Planning:
    """Whole plans by policy and shape."""

    version = "1"
    params = (POLICIES, list(SHAPES))
    param_names = ("policy", "shape")

    def setup(self, policy, shape):
        """Make the load, and plan once: that compiles."""
        self.shape = SHAPES[shape]
        self.weight = self.shape.weight()
        self.planner = Planner(*self.shape, policy=policy)
        self.planner.plan(self.weight)
        rebalance_experts(self.weight, *self.shape.numbers, policy=policy)

    def time_rebalance(self, policy, shape):
        """Time the drop-in, allocation of its results included."""
        rebalance_experts(self.weight, *self.shape.numbers, policy=policy)

    def time_planner(self, policy, shape):
        """Time a planner that is used again."""
        self.planner.plan(self.weight)

    def track_imbalance(self, policy, shape):
        """Track what the balancedness of the layers lacks in the mean: airspeed velocity warns of what rises."""
        plan = plan_experts(self.weight, *self.shape.numbers, policy=policy)
        return 1 - float(np.mean(plan.balancedness))

    track_imbalance.unit = "1 - mean / max GPU load"

    def track_above_bound(self, policy, shape):
        """Track how far the largest GPU load is above the bound."""
        plan = plan_experts(self.weight, *self.shape.numbers, policy=policy)
        return float(np.mean(plan.gpu_loads.max(axis=1) / plan.bound - 1)) * 100

    track_above_bound.unit = "%"

    def peakmem_rebalance(self, policy, shape):
        """Watch the memory of the drop-in."""
        rebalance_experts(self.weight, *self.shape.numbers, policy=policy)


class Call:
    """What a call takes beside the planning: a layer of sixteen experts is planned in no time."""

    version = "1"

    def setup(self):
        """Make the load, and plan once: that compiles."""
        self.weight = np.random.default_rng(0).lognormal(0, 1, (1, 16)).astype(np.float32)
        self.planner = Planner(1, 16, 24, 1, 1, 4, policy="deepseek")
        self.time_rebalance()
        self.time_planner()

    def time_rebalance(self):
        """Time the drop-in."""
        rebalance_experts(self.weight, 24, 1, 1, 4, policy="deepseek")

    def time_planner(self):
        """Time a planner that is used again."""
        self.planner.plan(self.weight)


class Start:
    """What a new process pays before its first plan."""

    version = "1"
    timeout = 300

    def setup(self):
        """Fill a compile cache of its own."""
        self.cache = tempfile.TemporaryDirectory()
        self._run(self.cache.name)

    def teardown(self):
        """Remove the cache."""
        self.cache.cleanup()

    def track_import(self):
        """Track the import alone."""
        return self._measure("import eplb_numba", self.cache.name)

    track_import.unit = "s"

    def track_first_plan_warm(self):
        """Track import and first plan with a warm compile cache."""
        return self._run(self.cache.name)

    track_first_plan_warm.unit = "s"

    def track_first_plan_cold(self):
        """Track import and first plan with an empty compile cache."""
        with tempfile.TemporaryDirectory() as empty:
            return self._run(empty)

    track_first_plan_cold.unit = "s"

    def _run(self, cache):
        program = "import numpy as np, eplb_numba; eplb_numba.rebalance_experts(np.ones((58, 256), np.float32), 288, 8, 4, 32)"
        return self._measure(program, cache)

    def _measure(self, program, cache):
        import os

        timed = f"import time; begin = time.perf_counter(); {program}; print(time.perf_counter() - begin)"
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        result = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True, env=environment)
        return float(result.stdout)
