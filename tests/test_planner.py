"""Is a planner that is used again as good as a new one, and does it keep to its memory?"""

import copy
import pickle
import tracemalloc
from dataclasses import replace

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


ALL = (*FIELDS, "log2phy")


def test_a_planner_overwrites_its_plan():
    """The second plan lies where the first one lay."""
    planner = Planner(4, 16, 24, 1, 1, 4)
    first = planner.plan(np.ones((4, 16), np.float32))
    second = planner.plan(np.eye(4, 16, dtype=np.float32))
    assert all(getattr(first, field).ctypes.data == getattr(second, field).ctypes.data for field in ALL)


@pytest.mark.parametrize("rubbish", [-1, 2**62, -(2**62)])
def test_a_planner_does_not_read_what_its_caller_may_write(rubbish):
    """Whatever a caller does to the arrays of a plan, the next one is right; only padding stays as the caller left it."""
    planner = Planner(4, 16, 24, 1, 1, 4)
    weight = np.random.default_rng(0).lognormal(0, 1, (4, 16)).astype(np.float32)
    expected = plan_experts(weight, 24, 1, 1, 4, log2phy_width=9)
    for _ in range(2):
        plan = planner.plan(weight[::-1])
        for field in FIELDS:
            getattr(plan, field)[...] = rubbish
        plan.log2phy[plan.log2phy >= 0] = rubbish
        again = planner.plan(weight)
        for field in ALL:
            np.testing.assert_array_equal(getattr(again, field), getattr(expected, field))


class CopyingLibrary:
    """A library that copies what comes in."""

    @staticmethod
    def from_dlpack(array):
        return np.from_dlpack(array).copy()


class CopyingArray:
    """An array of that library."""

    dtype = np.dtype(np.float32)

    def __init__(self, array):
        self.array = array

    def __array_namespace__(self, api_version=None):
        return CopyingLibrary

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_a_library_that_copies_gets_each_plan():
    """Where handing back is copying, every plan is handed back anew."""
    planner = Planner(1, 8, 12, 1, 1, 4)
    for weight in (np.eye(1, 8, dtype=np.float32), np.ones((1, 8), np.float32)):
        plan = planner.plan(CopyingArray(weight))
        np.testing.assert_array_equal(plan.phy2log, plan_experts(weight, 12, 1, 1, 4).phy2log)


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


def test_a_float64_planner_sums_in_float64():
    """Integers and float32 steps are brought to the planner's type before anything is rounded."""
    counts = np.random.default_rng(2).integers(2**40, 2**50, (3, 2, 8))
    for weight in (counts, counts[0], counts.astype(np.float32)):
        plan = Planner(2, 8, 12, 1, 1, 4, dtype="float64").plan(weight)
        expected = plan_experts(weight.astype(np.float64), 12, 1, 1, 4)
        np.testing.assert_array_equal(plan.phy2log, expected.phy2log)
        np.testing.assert_allclose(plan.gpu_loads, expected.gpu_loads, rtol=1e-14)


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


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda planner: pickle.loads(pickle.dumps(planner))])
def test_copies_are_planners_of_their_own(copied):
    """A copy, and what is unpickled, plans the same in other memory."""
    planner = Planner(
        2, 16, 24, 2, 2, 4, policy=replace(POLICIES["balanced"], starts=2), seed=3, dtype="float64", log2phy_width=9
    )
    weight = np.random.default_rng(0).lognormal(0, 1, (2, 16))
    theirs, ours = copied(planner).plan(weight), planner.plan(weight)
    for field in ALL:
        np.testing.assert_array_equal(getattr(theirs, field), getattr(ours, field))
        assert not np.may_share_memory(getattr(theirs, field), getattr(ours, field))


def test_a_planner_plans_for_its_own_gpu_loads():
    """The GPU loads of its last plan are a weight like any other, though they lie where the next ones will."""
    for seed in range(5):
        planner = Planner(1, 16, 32, 4, 2, 16)
        loads = planner.plan(np.random.default_rng(seed).lognormal(0, 1, (1, 16)).astype(np.float32)).gpu_loads
        expected = plan_experts(loads.copy(), 32, 4, 2, 16)
        again = planner.plan(loads)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(again, field), getattr(expected, field))
        planner = Planner(2, 8, 32, 1, 1, 16)
        window = planner.plan(np.random.default_rng(seed).lognormal(0, 1, (2, 8)).astype(np.float32)).gpu_loads.reshape(
            2, 2, 8
        )
        expected = plan_experts(window.copy(), 32, 1, 1, 16)
        again = planner.plan(window)
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(again, field), getattr(expected, field))
