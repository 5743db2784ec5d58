"""Will tomorrow's version give today's answer?  Digests of whole plans; a change here is a change for every user."""

import hashlib

import numpy as np
import pytest

from eplb_numba import POLICIES, plan_experts

from .reference import mix

DIGESTS = {
    ("balanced", "float32", 1): "991730d06e91d2c4",
    ("balanced", "float32", 8): "10cb662c0245c407",
    ("balanced", "float64", 1): "71f21cb4f5033752",
    ("balanced", "float64", 8): "fa978651fec40d3a",
    ("deepseek", "float32", 1): "511771e52aa58fe2",
    ("deepseek", "float32", 8): "3c3ea22af48d83d9",
    ("deepseek", "float64", 1): "3a151ea9c015115b",
    ("deepseek", "float64", 8): "63bb8505524115ed",
    ("optimize_and_2item_swap", "float32", 1): "f97aeb9d794e7abf",
    ("optimize_and_2item_swap", "float32", 8): "ec42c8f03a6237e2",
    ("optimize_and_2item_swap", "float64", 1): "1c7a5962230ada50",
    ("optimize_and_2item_swap", "float64", 8): "b0f00b46ab9d7fbb",
    ("opt_packing_and_repl", "float32", 1): "823e7dc154a331ac",
    ("opt_packing_and_repl", "float32", 8): "b5910500d2a7e350",
    ("opt_packing_and_repl", "float64", 1): "32ac59dfeb792533",
    ("opt_packing_and_repl", "float64", 8): "cbb0bfe5a5be1343",
    ("parallel_randomized_greedy_with_l2_swap", "float32", 1): "26bb3f1a31a98d28",
    ("parallel_randomized_greedy_with_l2_swap", "float32", 8): "91668ba0a02876c5",
    ("parallel_randomized_greedy_with_l2_swap", "float64", 1): "0e180de60cfecb0a",
    ("parallel_randomized_greedy_with_l2_swap", "float64", 8): "2904a262c760a42d",
    ("vectorized_lpt_and_swap", "float32", 1): "168712fa3381d39d",
    ("vectorized_lpt_and_swap", "float32", 8): "5899b0a409096774",
    ("vectorized_lpt_and_swap", "float64", 1): "60a99973b4120c17",
    ("vectorized_lpt_and_swap", "float64", 8): "24a13bfd5a2e7abc",
    ("refine_packing_with_2item_swaps", "float32", 1): "9a1cc4c4ee021009",
    ("refine_packing_with_2item_swaps", "float32", 8): "c3e29711b9654868",
    ("refine_packing_with_2item_swaps", "float64", 1): "2ceb947295db5bea",
    ("refine_packing_with_2item_swaps", "float64", 8): "6d6d3522a0823fbb",
}


def made_up_load(num_layers, num_experts, dtype):
    """Make loads from a generator that is ours, so that no other library's version matters."""
    numbers = [[mix(mix(1, layer), expert) for expert in range(num_experts)] for layer in range(num_layers)]
    uniform = (np.array(numbers) + 1) / 2.0**32
    return (1000 / uniform).astype(dtype)  # a few experts get most of the load


def digest(name, dtype, groups):
    """Hash all arrays of a plan."""
    plan = plan_experts(made_up_load(4, 64, dtype), 80, groups, 2, 16, policy=name)
    together = hashlib.sha256()
    for array in (plan.phy2log, plan.log2phy, plan.logcnt, plan.gpu_loads, plan.bound, plan.balancedness):
        together.update(np.ascontiguousarray(array).tobytes())
    return together.hexdigest()[:16]


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", POLICIES)
def test_answers_are_frozen(name, dtype, groups):
    """Each policy gives the same bits as when this digest was taken."""
    assert digest(name, dtype, groups) == DIGESTS[name, dtype, groups]
