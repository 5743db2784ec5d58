"""Do the metrics measure what they say, on cases that a person can follow?"""

import numpy as np
import pytest

from eplb_numba import metrics, plan_experts


def test_loads_are_shared_among_replicas():
    """A replica carries its expert's load divided by the number of replicas."""
    loads = metrics.gpu_loads(np.array([[6.0, 2.0, 1.0]]), np.array([[0, 1, 0, 0, 2, 1]]), 3)
    assert loads.tolist() == [[3.0, 4.0, 2.0]]
    assert metrics.balancedness(np.array([[6.0, 2.0, 1.0]]), np.array([[0, 1, 0, 0, 2, 1]]), 3) == 0.75


def test_the_bound_is_the_mean_or_the_largest_replica():
    """Where loads can be split evenly the mean binds, else the largest replica."""
    even = np.array([[4.0, 4.0, 4.0, 4.0]])
    assert metrics.bound(even, np.array([[0, 1, 2, 3]]), 2).tolist() == [8.0]
    uneven = np.array([[10.0, 1.0, 1.0]])
    assert metrics.bound(uneven, np.array([[0, 1, 2, 1]]), 4).tolist() == [5.0]


def test_the_bound_of_nodes_is_that_of_the_heavier_one():
    """With two nodes the bound is taken on each for the experts that it holds."""
    weight = np.array([[6.0, 6.0, 1.0, 1.0]])
    placement = np.array([[0, 1, 2, 3]])
    assert metrics.bound(weight, placement, 2, num_nodes=2).tolist() == [12.0]
    assert metrics.bound(weight, placement, 2).tolist() == [7.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_idle_layers_are_balanced(dtype):
    """Without load balancedness is 1 and the bound is 0."""
    weight, placement = np.zeros((2, 4), dtype), np.tile(np.arange(4), (2, 1))
    assert metrics.balancedness(weight, placement, 2).tolist() == [1.0, 1.0]
    assert metrics.bound(weight, placement, 2).tolist() == [0.0, 0.0]


def test_the_bound_is_at_most_what_was_reached():
    """The bound is taken in the type of the weight, and never exceeds the load that the placement has."""
    for seed in range(50):
        weight = np.random.default_rng(seed).random((1, 64)).astype(np.float32)
        placement = plan_experts(weight, 64, 1, 1, 1).phy2log
        assert metrics.bound(weight, placement, 1) <= metrics.gpu_loads(weight, placement, 1).max()


def test_an_idle_expert_needs_no_replica():
    """Only an expert with load must have a replica to be measured."""
    assert metrics.gpu_loads(np.array([[3.0, 0.0]]), np.array([[0, 0]]), 2).tolist() == [[1.5, 1.5]]
