"""Will tomorrow's version give today's answer?  Digests of whole plans; a change here is a change for every user."""

import hashlib

import numpy as np
import pytest

from eplb_numba import POLICIES, plan_experts

from .reference import mix

DIGESTS: dict[tuple[str, str, int], str] = {}


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
