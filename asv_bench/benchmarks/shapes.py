"""Which models on which clusters are timed?  Cases that users know by name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Shape(NamedTuple):
    """The layers of a model and the cluster that serves it."""

    num_layers: int
    num_logical: int
    num_replicas: int
    num_groups: int
    num_nodes: int
    num_gpus: int

    def weight(self):
        """Make up a skewed load."""
        generator = np.random.default_rng(0)
        return generator.lognormal(6.0, 1.0, (self.num_layers, self.num_logical)).astype(np.float32)

    def steps(self, num_steps):
        """Make up steps of loads that follow a mixture of topics."""
        generator = np.random.default_rng(0)
        topics = generator.lognormal(0.0, 1.0, (6, self.num_layers, self.num_logical))
        mixtures = generator.dirichlet([0.7] * 6, num_steps)
        return (1000 * np.einsum("st,tle->sle", mixtures, topics)).astype(np.float32)

    @property
    def numbers(self):
        """What follows the weight in a call."""
        return self[2:]


SHAPES = {
    "deepseek_v3_ep32_hierarchical": Shape(58, 256, 288, 8, 4, 32),
    "deepseek_v3_ep32_global": Shape(58, 256, 288, 1, 4, 32),
    "deepseek_v3_ep144": Shape(58, 256, 288, 1, 18, 144),
    "qwen3_235b_ep16": Shape(94, 128, 144, 1, 2, 16),
    "kimi_k2_ep96": Shape(60, 384, 480, 1, 12, 96),
    "large_ep320": Shape(100, 1024, 1280, 1, 40, 320),
}
