"""How long does a plan take on a GPU?  Skipped, with the reason, where there is none; wants ``--launch-method spawn``."""

from __future__ import annotations

from dataclasses import replace

from eplb_numba import POLICIES, Planner, rebalance_experts
from eplb_numba.backend import why_not_cuda

from .shapes import SHAPES


class OnGpu:
    """Plans for loads that lie on the GPU: end to end with a synchronise, and by the GPU's own clock."""

    version = "1"
    params = ([*POLICIES, "128 starts with pair swaps"], list(SHAPES))
    param_names = ("policy", "shape")

    def setup(self, policy, shape):
        """Make the load, and plan once: that compiles."""
        reason = why_not_cuda()
        if reason is not None:
            raise NotImplementedError(reason)  # that is how airspeed velocity skips
        import torch

        self.torch = torch
        self.shape = SHAPES[shape]
        many = replace(POLICIES["optimize_and_2item_swap"], starts=128, restarts=1)
        self.policy = POLICIES.get(policy, many)
        self.weight = torch.from_numpy(self.shape.weight()).cuda()
        self.planner = Planner(*self.shape, policy=self.policy, gpu=0)
        self.width = self.planner.plan(self.weight).log2phy.shape[2]
        self.time_rebalance(policy, shape)

    def time_rebalance(self, policy, shape):
        """Time the drop-in with a fixed width, until the results are there."""
        rebalance_experts(self.weight, *self.shape.numbers, policy=self.policy, log2phy_width=self.width)
        self.torch.cuda.synchronize()

    def time_planner(self, policy, shape):
        """Time a planner that is used again, until the results are there."""
        self.planner.plan(self.weight)
        self.torch.cuda.synchronize()

    def track_device_time(self, policy, shape):
        """Track the time between two events around the launches of a plan, captured in a CUDA graph: the median of 21."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            self.planner.plan(self.weight)
        times = []
        for _ in range(21):
            begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
        return sorted(times)[10]

    track_device_time.unit = "ms"
