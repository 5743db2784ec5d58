"""Is a planner that is used again as good as a new one, and does it keep to its memory?"""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eplb_numba import POLICIES, Planner, Policy, plan_experts

from .cases import QUICK_POLICIES, topologies, weights

FIELDS = ("phy2log", "logcnt", "gpu_loads", "bound", "balancedness")


@given(data=st.data(), name=st.sampled_from(sorted(POLICIES)))
def test_a_planner_plans_as_plan_experts(data, name):
    """Every plan of a planner equals that of plan_experts, whatever it planned before."""
    topology = data.draw(topologies())
    policy = QUICK_POLICIES[name]
    planner = Planner(2, *topology, policy=policy, seed=7)
    for _ in range(3):
        weight = data.draw(weights(topology[0], dtypes=(np.float32,)))
        again = planner.plan(weight)
        once = plan_experts(weight, *topology[1:], policy=policy, seed=7)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(again, field), getattr(once, field))
        width = once.log2phy.shape[2]
        np.testing.assert_array_equal(again.log2phy[:, :, :width], once.log2phy)
        assert np.all(again.log2phy[:, :, width:] == -1)


def test_a_planner_overwrites_its_plan():
    """The second plan lies where the first one lay."""
    planner = Planner(4, 16, 24, 1, 1, 4)
    first = planner.plan(np.ones((4, 16), np.float32))
    assert planner.plan(np.eye(4, 16, dtype=np.float32)) is first


def test_a_planner_allocates_nothing():
    """A call leaves nothing behind, and needs less than one result array while it runs."""
    planner = Planner(58, 256, 288, 8, 4, 32)
    weight = np.random.default_rng(0).lognormal(0, 1, (58, 256)).astype(np.float32)
    plan = planner.plan(weight)
    tracemalloc.start()
    planner.plan(weight)
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 10_000
    assert peak < plan.phy2log.nbytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integers_and_halves_become_the_planners_type(dtype):
    """A planner brings integers and halves to its own type."""
    counts = np.random.default_rng(1).integers(0, 99, (2, 8))
    planner = Planner(2, 8, 12, 1, 1, 4, dtype=dtype)
    expected = plan_experts(counts.astype(dtype), 12, 1, 1, 4)
    for weight in (counts, counts.astype(np.float16), torch.from_numpy(counts).to(torch.bfloat16)):
        plan = planner.plan(weight)
        np.testing.assert_array_equal(np.asarray(plan.gpu_loads), expected.gpu_loads)
        assert np.asarray(plan.gpu_loads).dtype == dtype


def test_max_replicas_narrows_log2phy():
    """A limit on replicas bounds the width that a planner needs."""
    assert Planner(1, 16, 32, 1, 1, 4).plan(np.ones((1, 16))[:, :].astype(np.float32)).log2phy.shape == (1, 16, 17)
    planner = Planner(1, 16, 32, 1, 1, 4, policy=Policy(max_replicas=3))
    plan = planner.plan(np.arange(16, dtype=np.float32)[None] ** 4)
    assert plan.log2phy.shape == (1, 16, 3)
    assert plan.logcnt.max() == 3


def test_a_plan_is_frozen():
    """The fields of a plan cannot be set."""
    plan = plan_experts(np.ones((1, 4)), 4, 1, 1, 2)
    with pytest.raises(AttributeError):
        plan.phy2log = None
