"""Is every answer the one that the plain reference gives, bit for bit?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eplb_numba import POLICIES, Policy, balanced_packing, plan_experts, replicate_experts

from . import deepseek, reference
from .cases import QUICK_POLICIES, any_policies, problems, topologies, weights


def assert_same_plan(weight, numbers, policy, seed=0):
    """Compare a plan with the reference's, loads and bounds included."""
    plan = plan_experts(weight, *numbers, policy=policy, seed=seed)
    phy2log, log2phy, logcnt, gpu_loads, bounds = reference.plan(weight, *numbers, policy, seed)
    np.testing.assert_array_equal(plan.phy2log, phy2log)
    np.testing.assert_array_equal(plan.log2phy, log2phy)
    np.testing.assert_array_equal(plan.logcnt, logcnt)
    np.testing.assert_array_equal(plan.gpu_loads, gpu_loads)
    np.testing.assert_array_equal(plan.bound, bounds)


@pytest.mark.parametrize("name", POLICIES)
@given(problem=problems(), seed=st.integers(0, 2**64 - 1))
def test_named_policies_equal_the_reference(name, problem, seed):
    """Each named policy gives the reference's plan on every kind of topology and load."""
    weight, numbers = problem
    assert_same_plan(weight, numbers, QUICK_POLICIES[name], seed)


@given(
    problem=problems(),
    policy=any_policies,
)
def test_any_policy_equals_the_reference(problem, policy):
    """Every combination of tactics gives the reference's plan."""
    weight, numbers = problem
    assert_same_plan(weight, numbers, policy)


@given(problem=problems(), policy=any_policies, tries=st.integers(3, 12))
def test_many_tries_equal_the_reference(problem, policy, tries):
    """Tries that are given up early make no difference: the reference finishes them all."""
    weight, numbers = problem
    assert_same_plan(weight, numbers, replace(policy, restarts=tries))


@given(problem=problems(), policy=any_policies, starts=st.integers(3, 12))
def test_many_starts_equal_the_reference(problem, policy, starts):
    """Nor do starts that end early, because they will not be kept."""
    weight, numbers = problem
    assert_same_plan(weight, numbers, replace(policy, starts=starts))


@pytest.mark.parametrize(
    ("loads", "num_replicas", "num_gpus", "policy"),
    [
        ([21, 1, 21, 25, 26], 9, 3, Policy(tolerance=0.05, restarts=3, apart="where_cheap")),
        ([10, 20, 21, 24, 18, 25], 12, 4, Policy(starts=2, restarts=4, winner="spread")),
    ],
)
def test_packings_on_which_more_depends_are_finished(loads, num_replicas, num_gpus, policy):
    """What keeping replicas apart costs, or which start is kept, does not depend on what another try has come to."""
    policy = replace(policy, noise=(0.5, 1.5), swaps=1, partners="best")
    assert_same_plan(np.float32([loads]), (num_replicas, 1, 1, num_gpus), policy)


@pytest.mark.parametrize("several", ["restarts", "starts"])
def test_a_swap_may_relieve_both_packs(several):
    """Two go for two, and both sums come out lower, that which should rise by rounding: such a try or start may still win."""
    one = [30136548, 17431984, 6766359, 12053088, 18290068, 27564870]
    other = [30136540, 17431990, 6766356, 12053085, 18290068, 27564874]
    policy = Policy(**{several: 10}, noise=(1.0, 1.001), pair_swaps=1, pair_partners="best", least_gain=0.0)
    assert_same_plan(np.float32([one + other]), (12, 1, 1, 2), policy, seed=27)


@given(problem=problems(), policy=st.builds(Policy, swaps=st.just(9), pair_swaps=st.just(9), heaviest=st.integers(1, 3)))
def test_a_double_swap_must_gain_more_than_the_single_one(problem, policy):
    """Where singles come from the first partner and doubles compete with them, the gain of that single counts."""
    weight, numbers = problem
    assert_same_plan(weight, numbers, replace(policy, partners="first", pairs="together", pair_partners="best"))


@given(problem=problems(dtypes=(np.float32,)))
def test_deepseek_is_deepseeks_algorithm(problem):
    """The policy "deepseek" gives exactly the triple of DeepSeek's algorithm."""
    weight, (num_replicas, num_groups, num_nodes, num_gpus) = problem
    expected = deepseek.rebalance_experts(weight, num_replicas, num_groups or 1, num_nodes, num_gpus)
    plan = plan_experts(weight, num_replicas, num_groups, num_nodes, num_gpus, policy="deepseek")
    for ours, theirs in zip((plan.phy2log, plan.log2phy, plan.logcnt), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("groups", [1, 8])
def test_deepseek_at_full_size(groups):
    """At DeepSeek-V3's size the policy "deepseek" gives exactly the triple of DeepSeek's algorithm."""
    weight = np.random.default_rng(5).integers(0, 10_000, (58, 256))
    expected = deepseek.rebalance_experts(weight, 288, groups, 4, 32)
    plan = plan_experts(weight, 288, groups, 4, 32, policy="deepseek")
    for ours, theirs in zip((plan.phy2log, plan.log2phy, plan.logcnt), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", POLICIES)
def test_one_layer_at_full_size(name):
    """At the size of a DeepSeek-V3 layer every policy gives the reference's plan."""
    weight = np.random.default_rng(6).lognormal(0, 1, (1, 64)).astype(np.float32)
    assert_same_plan(weight, (72, 1, 1, 8), replace(QUICK_POLICIES[name], restarts=1, starts=min(POLICIES[name].starts, 2)))


@pytest.mark.parametrize("name", POLICIES)
@given(data=st.data())
def test_packing_equals_the_reference(name, data):
    """balanced_packing packs every row as the reference does."""
    num_packs = data.draw(st.integers(1, 5))
    num_items = num_packs * data.draw(st.integers(1, 6))
    weight = data.draw(weights(num_items))
    policy = QUICK_POLICIES[name]
    pack_index, rank_in_pack = balanced_packing(weight, num_packs, policy=policy)
    value = weight.dtype.type
    for row, loads in enumerate(weight):
        bound = max(reference.add_by_eighths(loads, value) / value(num_packs), max(loads))
        problem = reference.Problem(list(loads), [0] * num_items, num_packs, 0, bound)
        stream = reference.mix(reference.mix(reference.mix(0, 0), 0), row)
        packs = reference.pack(problem, policy, stream, False)
        for pack, items in enumerate(packs):
            for rank, item in enumerate(items):
                assert (pack_index[row, item], rank_in_pack[row, item]) == (pack, rank)


@given(data=st.data())
def test_replication_equals_the_reference(data):
    """replicate_experts replicates every row as the reference does."""
    num_logical, num_slots, *_ = data.draw(topologies())
    weight = data.draw(weights(num_logical))
    phy2log, rank, logcnt = replicate_experts(weight, num_slots)
    for row, loads in enumerate(weight):
        slots, counts = reference.replicate(list(loads), num_slots, num_slots)
        assert slots == list(zip(phy2log[row], rank[row], strict=True))
        assert counts == list(logcnt[row])
