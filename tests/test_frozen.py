"""Will tomorrow's version give today's answer?  Digests of whole plans; a change here is a change for every user."""

import hashlib

import numpy as np
import pytest

from eplb_numba import POLICIES, balanced_packing, plan_experts, replicate_experts

from .reference import mix

DIGESTS = {
    ("balanced", "float32", 1): "a9204854ecb15dde",
    ("balanced", "float32", 8): "656e7cc240d3cd6a",
    ("balanced", "float64", 1): "45a0f63cdb828bad",
    ("balanced", "float64", 8): "a82f541ccaa9b5b6",
    ("deepseek", "float32", 1): "4a4a180dbeb05a3f",
    ("deepseek", "float32", 8): "65c44b599c5bf3bd",
    ("deepseek", "float64", 1): "718965e9a1c955c6",
    ("deepseek", "float64", 8): "cd3bcde87a795c4f",
    ("optimize_and_2item_swap", "float32", 1): "4a2d45198c6e0956",
    ("optimize_and_2item_swap", "float32", 8): "46f630cb3a3cb9e9",
    ("optimize_and_2item_swap", "float64", 1): "58fda06c2bd4e0e1",
    ("optimize_and_2item_swap", "float64", 8): "3044de79e58c078e",
    ("opt_packing_and_repl", "float32", 1): "605afe6488cff775",
    ("opt_packing_and_repl", "float32", 8): "e5d3b736ddee36fa",
    ("opt_packing_and_repl", "float64", 1): "5d0feaac76d4b94c",
    ("opt_packing_and_repl", "float64", 8): "8b6dcd6704f0c360",
    ("parallel_randomized_greedy_with_l2_swap", "float32", 1): "f12bb6299419ffdf",
    ("parallel_randomized_greedy_with_l2_swap", "float32", 8): "d102d66d6c07fdde",
    ("parallel_randomized_greedy_with_l2_swap", "float64", 1): "3e884034a884ff77",
    ("parallel_randomized_greedy_with_l2_swap", "float64", 8): "7633820bb82558f4",
    ("vectorized_lpt_and_swap", "float32", 1): "7aa51a7098c115c6",
    ("vectorized_lpt_and_swap", "float32", 8): "fda150513b11fcb4",
    ("vectorized_lpt_and_swap", "float64", 1): "f5989f8b1f13b229",
    ("vectorized_lpt_and_swap", "float64", 8): "79538e3d63a6f99b",
    ("refine_packing_with_2item_swaps", "float32", 1): "a4514f30f4fd818f",
    ("refine_packing_with_2item_swaps", "float32", 8): "c5db8a33a482beeb",
    ("refine_packing_with_2item_swaps", "float64", 1): "c9bb3c4831621d06",
    ("refine_packing_with_2item_swaps", "float64", 8): "df827fe2085ffcf4",
}


# Windows of a number of steps, one of them idle, more of them than there are scenarios; with the seed that is given.
LASTING_DIGESTS = {
    ("float32", 1, 0): "9d6b1c947c1b4c39",
    ("float32", 8, 7): "0243b4f40c750c0a",
    ("float64", 1, 7): "d468ac5739db5a76",
    ("float64", 8, 0): "93907415c7916713",
}
STAGES_DIGESTS = {"float32": "e2af4fc3cb465390", "float64": "e2af4fc3cb465390"}


def made_up_load(num_layers, num_experts, dtype):
    """Make loads from a generator that is ours, so that no other library's version matters."""
    numbers = [[mix(mix(1, layer), expert) for expert in range(num_experts)] for layer in range(num_layers)]
    uniform = (np.array(numbers) + 1) / 2.0**32
    return (1000 / uniform).astype(dtype)  # a few experts get most of the load


def digest(*arrays):
    """Hash arrays."""
    together = hashlib.sha256()
    for array in arrays:
        together.update(np.ascontiguousarray(array).tobytes())
    return together.hexdigest()[:16]


def digest_of_plan(weight, groups, **options):
    """Hash all arrays of a plan."""
    plan = plan_experts(weight, 80, groups, 2, 16, **options)
    return digest(plan.phy2log, plan.log2phy, plan.logcnt, plan.gpu_loads, plan.bound, plan.balancedness)


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", POLICIES)
def test_answers_are_frozen(name, dtype, groups):
    """Each policy gives the same bits as when this digest was taken."""
    assert digest_of_plan(made_up_load(4, 64, dtype), groups, policy=name) == DIGESTS[name, dtype, groups]


@pytest.mark.parametrize(("dtype", "groups", "seed"), LASTING_DIGESTS)
def test_lasting_answers_are_frozen(dtype, groups, seed):
    """So do plans for windows of steps."""
    steps = made_up_load(40, 64, dtype).reshape(10, 4, 64)
    steps[3] = 0
    assert digest_of_plan(steps, groups, seed=seed) == LASTING_DIGESTS[dtype, groups, seed]


@pytest.mark.parametrize("dtype", STAGES_DIGESTS)
def test_single_stages_are_frozen(dtype):
    """So do packing and replication by themselves."""
    weight = made_up_load(4, 64, dtype)
    assert digest(*balanced_packing(weight, 16), *replicate_experts(weight, 80)) == STAGES_DIGESTS[dtype]
