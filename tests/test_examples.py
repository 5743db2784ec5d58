"""Are the answers right on cases that a person can follow by hand?"""

from dataclasses import replace

import numpy as np
import pytest

from eplb_numba import POLICIES, Policy, balanced_packing, plan_experts, rebalance_experts, replicate_experts

GOLDEN = np.array(
    [
        [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
        [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
    ]
)


def test_deepseeks_own_example():
    """The example of DeepSeek's own documentation comes out as it is printed there."""
    phy2log, log2phy, logcnt = rebalance_experts(GOLDEN, 16, 4, 2, 8, policy="deepseek")
    assert phy2log.tolist() == [
        [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
        [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
    ]
    assert logcnt.tolist() == [[1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1], [1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1]]
    assert log2phy.shape == (2, 12, 2)
    assert log2phy[0, 5].tolist() == [0, 2]
    assert log2phy[0, 0].tolist() == [12, -1]
    assert {array.dtype for array in (phy2log, log2phy, logcnt)} == {np.dtype(np.int64)}


def test_ties_go_to_the_lowest_index():
    """Equal experts are replicated, and equal packs are filled, in the order of their indices."""
    phy2log, rank, logcnt = replicate_experts(np.ones((1, 4)), 6)
    assert phy2log.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert rank.tolist() == [[0, 0, 0, 0, 1, 1]]
    assert logcnt.tolist() == [[2, 2, 1, 1]]
    assert balanced_packing(np.ones((1, 4)), 2, policy="deepseek")[0].tolist() == [[0, 1, 0, 1]]


def test_a_swap_of_one_for_one():
    """Greedy leaves 9 + 4 + 4 against 8 + 5 + 2; exchanging the 9 and the 8 evens them out."""
    weight = np.array([[9.0, 8.0, 5.0, 4.0, 4.0, 2.0]])
    greedy, _ = balanced_packing(weight, 2, policy="deepseek")
    loads = [weight[greedy == pack].sum() for pack in (0, 1)]
    assert sorted(loads) == [15, 17]
    swapped, _ = balanced_packing(weight, 2, policy=Policy(swaps=1))
    assert [weight[swapped == pack].sum() for pack in (0, 1)] == [16, 16]


def test_a_swap_of_two_for_two():
    """Where no single swap helps, two items for two reach the perfect packing."""
    weight = np.array([[10.0, 10.0, 7.0, 7.0, 6.0, 6.0, 5.0, 1.0]])
    single, _ = balanced_packing(weight, 2, policy=Policy(swaps=50))
    double, _ = balanced_packing(weight, 2, policy=Policy(swaps=50, pair_swaps=10))
    assert max(weight[double == pack].sum() for pack in (0, 1)) <= max(weight[single == pack].sum() for pack in (0, 1))
    assert max(weight[double == pack].sum() for pack in (0, 1)) == 26
    endless, _ = balanced_packing(weight, 2, policy=Policy(swaps=2**31 - 1, pair_swaps=2**31 - 1))
    assert (endless == double).all()


def test_one_expert_that_takes_all():
    """One hot expert gets one replica on every GPU, not two on one and none on another."""
    weight = np.zeros((1, 256))
    weight[0, 7] = 1000.0
    plan = plan_experts(weight, 288, 1, 1, 32)
    assert plan.logcnt[0, 7] == 32
    assert plan.balancedness[0] == 1.0


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("groups", [1, 8])
def test_spare_slots_of_idle_experts_are_spread(groups, steps):
    """Where nobody has a load, or those who have can get no more, no expert gets two spare slots before all have one."""
    weight = np.zeros((steps, 2, 256))
    weight[:, 1, 7] = range(1, steps + 1)
    plan = plan_experts(weight, 288, groups, 4, 32)
    assert plan.logcnt[0].max() == 2
    assert plan.logcnt[1].max() == plan.logcnt[1, 7] == (8 if groups == 8 else 32)
    assert np.delete(plan.logcnt[1], 7).max() == 2
    assert plan_experts(weight, 288, groups, 4, 32, policy="deepseek").logcnt[0, 0] == (9 if groups == 8 else 33)


@pytest.mark.parametrize("objective", ["sum", "lasting"])
def test_what_the_limit_leaves_to_idle_experts_is_spread(objective):
    """Where a limit keeps replicas from those with load, plans for the sum and plans that last spread what is left."""
    generator = np.random.default_rng(1)
    policy = replace(POLICIES["balanced"], max_replicas=3, objective=objective)
    for _ in range(10):
        steps = generator.lognormal(3, 1, (4, 1, 16)).astype(np.float32)
        steps[:, :, 7:] = 0
        plan = plan_experts(steps, 32, 1, 1, 4, policy=policy)
        assert plan.logcnt.tolist() == [[3] * 7 + [2] * 2 + [1] * 7]


def test_two_replicas_share_a_gpu_only_where_that_pays():
    """Loads 6, 5, 1 in four slots: sharing a GPU is a third better, so "where_cheap" shares and "always" does not."""
    weight = np.array([[6.0, 5.0, 1.0]])
    assert plan_experts(weight, 4, 1, 1, 2, policy=Policy(apart="where_cheap")).gpu_loads.max() == 6.0
    apart = plan_experts(weight, 4, 1, 1, 2, policy=Policy(apart="always", swaps=9, partners="best"))
    assert all(len(set(gpu)) == 2 for gpu in apart.phy2log.reshape(2, 2).tolist())


def test_no_expert_gets_more_than_max_replicas():
    """A limit on the replicas of an expert gives the spare slots to the next hottest."""
    plan = plan_experts(np.array([[100.0, 3.0, 2.0, 1.0]]), 8, 1, 1, 4, policy=Policy(max_replicas=3))
    assert plan.logcnt.tolist() == [[3, 2, 2, 1]]


@pytest.mark.parametrize("num_groups", [0, 1, None])
def test_no_groups_means_one(num_groups):
    """num_groups 0, None and 1 give the same answer."""
    plan = plan_experts(GOLDEN, 16, num_groups, 1, 8)
    np.testing.assert_array_equal(plan.phy2log, plan_experts(GOLDEN, 16, 1, 1, 8).phy2log)


@pytest.mark.parametrize(
    ("weight", "numbers"),
    [
        (np.zeros((3, 8)), (12, 2, 2, 4)),  # layers without load
        (np.array([[5.0]]), (1, 1, 1, 1)),  # one expert, one GPU, one slot
        (np.array([[5.0]]), (6, 1, 1, 3)),  # one expert, two slots on each GPU
        (np.arange(6.0)[None], (9, 1, 1, 1)),  # one GPU
        (np.arange(6.0)[None], (6, 1, 1, 6)),  # one slot on each GPU
        (np.arange(6.0)[None], (12, 3, 3, 12)),  # as many groups as nodes
        (np.arange(6.0)[None], (9, 3, 2, 3)),  # groups that do not divide among the nodes: global
    ],
)
def test_odd_but_valid(weight, numbers):
    """The smallest and the emptiest problems have answers, too."""
    for policy in ("deepseek", "balanced", "opt_packing_and_repl", "refine_packing_with_2item_swaps"):
        plan = plan_experts(weight, *numbers, policy=policy)
        assert plan.logcnt.min() >= 1
        assert plan.logcnt.sum(axis=1).tolist() == [numbers[0]] * len(weight)
        assert np.all((plan.balancedness > 0) & (plan.balancedness <= 1))
    assert plan_experts(np.zeros((1, 4)), 4, 1, 1, 2).balancedness.tolist() == [1.0]
