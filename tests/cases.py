"""Which topologies and loads are tried?  Small ones of every kind: ties, zeros, giants, huge integers, subnormals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from eplb_numba import POLICIES, Policy

# What the policies do, with fewer restarts: the reference is slow.
QUICK_POLICIES = {name: replace(policy, restarts=min(policy.restarts, 5)) for name, policy in POLICIES.items()}

# Every combination of tactics.
any_policies = st.builds(
    Policy,
    starts=st.integers(1, 3),
    restarts=st.integers(1, 2),
    noise=st.sampled_from([(1.0, 1.0), (0.5, 1.5), (0.0, 2.0)]),
    swaps=st.integers(0, 6),
    heaviest=st.integers(1, 4),
    partners=st.sampled_from(["lightest", "first", "best"]),
    pair_swaps=st.integers(0, 6),
    pair_partners=st.sampled_from(["lightest", "first", "best"]),
    pairs=st.sampled_from(["after", "stuck", "together"]),
    pair_slots=st.sampled_from([0, 3, 16]),
    tolerance=st.sampled_from([0.0, 1e-3, 0.1]),
    least_gain=st.sampled_from([0.0, 2.0**-20, 0.01]),
    winner=st.sampled_from(["max", "spread"]),
    groups=st.sampled_from(["packed", "either"]),
    apart=st.sampled_from(["freely", "where_cheap", "always"]),
)


@st.composite
def topologies(draw, hierarchical=None):
    """Draw (num_logical, num_replicas, num_groups, num_nodes, num_gpus) that fit together."""
    num_nodes = draw(st.integers(1, 3))
    num_gpus = num_nodes * draw(st.integers(1, 4))
    if draw(st.booleans()) if hierarchical is None else hierarchical:
        num_groups = num_nodes * draw(st.integers(1, 3))
        num_logical = num_groups * draw(st.integers(1, 4))
    else:
        num_groups = 1 if num_nodes > 1 else draw(st.sampled_from([0, 1, None]))
        num_logical = draw(st.integers(1, 16))
    fewest = -(-num_logical // num_gpus)
    num_replicas = num_gpus * draw(st.integers(fewest, fewest + 4))
    return num_logical, num_replicas, num_groups, num_nodes, num_gpus


def _ties(draw, shape):
    return np.array(draw(st.lists(st.integers(0, 3), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])))


def _zeros(draw, shape):
    return np.zeros(shape)


def _all_equal(draw, shape):
    return np.full(shape, draw(st.floats(1e-3, 1e6)))


def _one_giant(draw, shape):
    load = np.ones(shape)
    load[:, draw(st.integers(0, shape[1] - 1))] = draw(st.sampled_from([1e2, 1e6, 1e12]))
    return load


def _skewed(draw, shape):
    return np.random.default_rng(draw(st.integers(0, 2**32))).lognormal(0, 1.5, shape)


def _huge_integers(draw, shape):
    return np.random.default_rng(draw(st.integers(0, 2**32))).integers(2**24, 2**40, shape)


def _mostly_idle(draw, shape):
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    return np.where(generator.random(shape) < 0.7, 0, generator.lognormal(3, 1, shape))


def _subnormal(draw, shape):
    return np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 100, shape) * 1.4e-45


@st.composite
def weights(draw, num_logical, num_layers=2, dtypes=(np.float32, np.float64)):
    """Draw a weight (layers, experts)."""
    kinds = [_ties, _zeros, _all_equal, _one_giant, _skewed, _huge_integers, _mostly_idle, _subnormal]
    shape = (num_layers, num_logical)
    return draw(st.sampled_from(kinds))(draw, shape).reshape(shape).astype(draw(st.sampled_from(dtypes)))


@st.composite
def problems(draw, hierarchical=None, dtypes=(np.float32, np.float64)):
    """Draw a weight and the four numbers that follow it."""
    topology = draw(topologies(hierarchical))
    return draw(weights(topology[0], dtypes=dtypes)), topology[1:]


# Windows of 15 slots on 5 GPUs in which GPUs that rest find a swap later: after all rest, and after another's swap with them.
RESTING = (
    np.float32([[[5, 4, 9, 4, 5, 9, 8, 8]], [[7, 3, 5, 4, 1, 2, 2, 9]]]),
    np.float32([[[0, 1, 9, 7, 0, 1, 2, 1, 3]], [[7, 6, 6, 9, 8, 4, 3, 1, 6]]]),
)
