"""What holds for every plan, whatever the policy and the load?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eplb_numba import POLICIES, Policy, metrics, plan_experts, rebalance_experts

from .cases import QUICK_POLICIES, problems

every_policy = pytest.mark.parametrize("name", POLICIES)


@every_policy
@given(problem=problems())
def test_a_plan_is_a_placement(name, problem):
    """Each expert has a replica, counts sum to the slots, and log2phy inverts phy2log."""
    weight, (num_replicas, num_groups, num_nodes, num_gpus) = problem
    plan = plan_experts(weight, num_replicas, num_groups, num_nodes, num_gpus, policy=QUICK_POLICIES[name])
    num_layers, num_logical = weight.shape
    assert plan.phy2log.shape == (num_layers, num_replicas)
    assert plan.log2phy.shape == (num_layers, num_logical, plan.logcnt.max())
    for layer in range(num_layers):
        assert np.bincount(plan.phy2log[layer], minlength=num_logical).tolist() == plan.logcnt[layer].tolist()
        assert plan.logcnt[layer].min() >= 1
        for expert, slots in enumerate(plan.log2phy[layer]):
            count = plan.logcnt[layer, expert]
            assert sorted(slots[:count]) == np.flatnonzero(plan.phy2log[layer] == expert).tolist()
            assert np.all(slots[count:] == -1)


@every_policy
@given(problem=problems())
def test_metrics_measure_what_a_plan_claims(name, problem):
    """GPU loads and balancedness of a plan are those that anyone measures, bit for bit; the bound holds."""
    weight, numbers = problem
    num_gpus = numbers[3]
    plan = plan_experts(weight, *numbers, policy=QUICK_POLICIES[name])
    np.testing.assert_array_equal(plan.gpu_loads, metrics.gpu_loads(weight, plan.phy2log, num_gpus))
    np.testing.assert_array_equal(plan.balancedness, metrics.balancedness(weight, plan.phy2log, num_gpus))
    assert np.all(plan.bound <= plan.gpu_loads.max(axis=1))
    assert np.all((plan.balancedness <= 1) & (plan.balancedness > 0))


@every_policy
@given(problem=problems())
def test_the_bound_is_measured_alike(name, problem):
    """The bound that a plan gives is the one that anyone computes from the placement, but for rounding."""
    weight, numbers = problem
    assume(weight.max() == 0 or weight[weight > 0].min() > 1e-30)  # what underflows rounds by more
    plan = plan_experts(weight, *numbers, policy=replace(QUICK_POLICIES[name], apart="freely"))
    hierarchical = (numbers[1] or 1) % numbers[2] == 0
    measured = metrics.bound(weight, plan.phy2log, numbers[3], numbers[2] if hierarchical else 1)
    np.testing.assert_allclose(plan.bound, measured, rtol=1e-5)


def is_far_from_underflow(weight):
    """Tell whether no load is so small that its parts have fewer digits."""
    return weight.max() == 0 or weight[weight > 0].min() > 1e-30


@every_policy
@given(problem=problems())
def test_refining_never_raises_the_largest_load(name, problem):
    """With the swaps the largest load is never above what the same single start has without them."""
    weight, numbers = problem
    policy = replace(QUICK_POLICIES[name], starts=1, restarts=1, apart="freely")
    refined = plan_experts(weight, numbers[0], 1, 1, numbers[3], policy=policy)
    greedy = plan_experts(weight, numbers[0], 1, 1, numbers[3], policy=replace(policy, swaps=0, pair_swaps=0))
    assert np.all(refined.gpu_loads.max(axis=1) <= greedy.gpu_loads.max(axis=1))


@given(problem=problems(hierarchical=True))
def test_no_balanced_plan_is_worse_than_deepseeks(problem):
    """Nor does the largest load of "balanced" exceed DeepSeek's in hierarchical placements, by more than its tolerance."""
    weight, numbers = problem
    assume(is_far_from_underflow(weight))  # there loads round by more than the tolerance
    ours = plan_experts(weight, *numbers).gpu_loads.max(axis=1)
    theirs = plan_experts(weight, *numbers, policy="deepseek").gpu_loads.max(axis=1)
    assert np.all(ours <= theirs * weight.dtype.type(1 + POLICIES["balanced"].tolerance))


def test_a_better_balance_of_nodes_may_fit_the_gpus_worse():
    """With many small groups "balanced" does not pay for balanced nodes with unbalanced GPUs."""
    for seed in range(200):
        weight = np.random.default_rng(seed).lognormal(0, 1, (4, 24)).astype(np.float32)
        ours = plan_experts(weight, 32, 12, 4, 16).gpu_loads.max(axis=1)
        theirs = plan_experts(weight, 32, 12, 4, 16, policy="deepseek").gpu_loads.max(axis=1)
        packed = replace(POLICIES["balanced"], groups="packed")
        assert np.all(ours <= plan_experts(weight, 32, 12, 4, 16, policy=packed).gpu_loads.max(axis=1))
        assert np.all(ours <= theirs * np.float32(1.001))


@every_policy
@given(problem=problems(hierarchical=False))
def test_no_global_plan_is_worse_than_deepseeks(name, problem):
    """In global mode no largest load exceeds DeepSeek's, by more than the tolerance where replicas are kept apart."""
    weight, numbers = problem
    policy = QUICK_POLICIES[name]
    assume(policy.apart == "freely" or is_far_from_underflow(weight))  # there loads round by more than the tolerance
    ours = plan_experts(weight, *numbers, policy=policy).gpu_loads.max(axis=1)
    theirs = plan_experts(weight, *numbers, policy="deepseek").gpu_loads.max(axis=1)
    limit = weight.dtype.type(1 + policy.tolerance) if policy.apart == "where_cheap" else weight.dtype.type(1)
    assert np.all(ours <= theirs * limit)


@given(problem=problems(), tolerance=st.sampled_from([0.0, 1e-3, 0.1]))
def test_replicas_of_one_expert_are_kept_apart(problem, tolerance):
    """apart="always" puts two replicas on one GPU only where it has more slots than its node has experts."""
    weight, (num_replicas, num_groups, num_nodes, num_gpus) = problem
    policy = Policy(
        apart="always",
        starts=3,
        noise=(0.5, 1.5),
        swaps=20,
        partners="best",
        pair_swaps=9,
        pairs="stuck",
        tolerance=tolerance,
    )
    phy2log, _, logcnt = rebalance_experts(weight, num_replicas, num_groups, num_nodes, num_gpus, policy=policy)
    nodes = num_nodes if (num_groups or 1) % num_nodes == 0 else 1
    slots = num_replicas // num_gpus
    copies = -(-slots // (weight.shape[1] // nodes))
    assert logcnt.max() <= num_gpus // nodes * copies
    for gpu in phy2log.reshape(-1, slots):
        assert np.bincount(gpu).max() <= copies


def test_balanced_keeps_replicas_apart_at_full_size():
    """On DeepSeek-V3's shapes the default policy puts no two replicas of one expert on one GPU."""
    weight = np.random.default_rng(3).lognormal(0, 1.5, (58, 256)).astype(np.float32)
    for groups in (1, 8):
        phy2log, _, _ = rebalance_experts(weight, 288, groups, 4, 32)
        assert all(len(set(gpu)) == 9 for gpu in phy2log.reshape(-1, 9).tolist())


@pytest.mark.parametrize("groups", [1, 8])
def test_balanced_reaches_its_tolerance_at_full_size(groups):
    """On DeepSeek-V3's shapes the default policy ends within 0.1 % of the bound on average, and 0.01 % when asked to."""
    weight = np.random.default_rng(4).lognormal(0, 1, (58, 256)).astype(np.float32)
    for policy, goal in ((POLICIES["balanced"], 1e-3), (replace(POLICIES["balanced"], tolerance=1e-4), 1e-4)):
        plan = plan_experts(weight, 288, groups, 4, 32, policy=policy)
        assert np.mean(plan.gpu_loads.max(axis=1) / plan.bound - 1) <= goal


@every_policy
@given(problem=problems(), power=st.integers(-20, 20))
def test_the_unit_of_load_does_not_matter(name, problem, power):
    """Loads multiplied by a power of two give the same placement."""
    weight, numbers = problem
    assume(is_far_from_underflow(weight))  # there halving rounds
    policy = QUICK_POLICIES[name]
    plan = plan_experts(weight, *numbers, policy=policy)
    scaled = plan_experts(weight * weight.dtype.type(2.0**power), *numbers, policy=policy)
    np.testing.assert_array_equal(plan.phy2log, scaled.phy2log)
    np.testing.assert_array_equal(plan.gpu_loads * weight.dtype.type(2.0**power), scaled.gpu_loads)


@given(problem=problems(), num_steps=st.integers(1, 4), data=st.data())
def test_steps_may_be_summed_by_the_caller(problem, num_steps, data):
    """Summed, a window of steps gives the same plan as its sum; integers are summed as integers."""
    summed = replace(POLICIES["balanced"], objective="sum")
    weight, numbers = problem
    steps = np.stack([weight * weight.dtype.type(1 + step) for step in range(num_steps)])
    total = steps[0].copy()
    for step in steps[1:]:
        total += step
    np.testing.assert_array_equal(plan_experts(steps, *numbers, policy=summed).phy2log, plan_experts(total, *numbers).phy2log)
    counts = data.draw(st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).integers(0, 2**30, steps.shape)))
    np.testing.assert_array_equal(
        plan_experts(counts.astype(np.int32), *numbers, policy=summed).phy2log,
        plan_experts(counts.sum(axis=0), *numbers).phy2log,
    )


@given(problem=problems())
def test_layers_are_planned_alone(problem):
    """A layer without noise gets the same plan whatever the other layers are."""
    weight, numbers = problem
    together = plan_experts(weight, *numbers, policy="vectorized_lpt_and_swap")
    for layer in range(len(weight)):
        alone = plan_experts(weight[layer : layer + 1], *numbers, policy="vectorized_lpt_and_swap")
        np.testing.assert_array_equal(together.phy2log[layer], alone.phy2log[0])


def test_seeds_matter_only_where_there_is_noise():
    """Another seed moves a policy with disturbed starts, and no other."""
    weight = np.random.default_rng(8).lognormal(0, 1, (16, 64)).astype(np.float32)
    for name, moves in (("deepseek", False), ("vectorized_lpt_and_swap", False), ("opt_packing_and_repl", True)):
        plans = [plan_experts(weight, 72, 1, 1, 8, policy=name, seed=seed).phy2log for seed in (0, 1, 2**63)]
        assert any(not np.array_equal(plans[0], other) for other in plans[1:]) == moves
