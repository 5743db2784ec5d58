"""How long does a lasting plan take, and how well does it serve the steps that come?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eplb_numba import POLICIES, metrics, plan_experts

from .shapes import SHAPES

SHAPE_NAMES = ["deepseek_v3_ep32_hierarchical", "deepseek_v3_ep32_global", "qwen3_235b_ep16"]
OBJECTIVES = ["sum", "lasting"]


class Lasting:
    """Plans for a window of eight steps, by objective and shape."""

    version = "1"
    params = (OBJECTIVES, SHAPE_NAMES)
    param_names = ("objective", "shape")

    def setup(self, objective, shape):
        """Make up the loads, and plan once: that compiles."""
        self.shape = SHAPES[shape]
        self.policy = replace(POLICIES["balanced"], objective=objective)
        steps = self.shape.steps(16)
        self.window, self.next = steps[:8], steps[8:]
        self.plan()

    def plan(self):
        return plan_experts(self.window, *self.shape.numbers, policy=self.policy)

    def time_plan(self, objective, shape):
        """Time a plan for the window."""
        self.plan()

    def track_next_imbalance(self, objective, shape):
        """Track what the balancedness of the next eight steps lacks in the mean: airspeed velocity warns of what rises."""
        placement = self.plan().phy2log
        return 1 - float(np.mean([metrics.balancedness(step, placement, self.shape.num_gpus) for step in self.next]))

    track_next_imbalance.unit = "1 - mean / max GPU load"
