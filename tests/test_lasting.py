"""Does a lasting plan do what it says, and is it what the plain reference gives?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eplb_numba import POLICIES, Planner, metrics, plan_experts

from . import lasting, reference
from .cases import RESTING, problems

SUM = replace(POLICIES["balanced"], objective="sum")
QUICK = replace(POLICIES["balanced"], lasting_swaps=16, lasting_starts=2)
FIELDS = ("phy2log", "log2phy", "logcnt", "gpu_loads", "bound", "balancedness")


@st.composite
def windows(draw, num_steps=(2, 3, 5)):
    """Draw a window of steps that differ, some of them without load, and the numbers that follow it."""
    weight, numbers = draw(problems())
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    factors = generator.integers(0, 4, (draw(st.sampled_from(num_steps)), *weight.shape))
    if draw(st.booleans()):
        factors[0] = 0
    steps = weight * factors.astype(weight.dtype)
    if draw(st.booleans()):  # about as much as counts for nothing
        steps[-1] *= weight.dtype.type(2.0 ** -draw(st.integers(4, 7)))
    return steps, numbers


def drifting(num_steps, num_layers, num_experts, seed=0):
    """Make up loads that follow a mixture of topics, and change with it."""
    generator = np.random.default_rng(seed)
    topics = generator.lognormal(0, 1, (5, num_layers, num_experts))
    mixtures = generator.dirichlet([0.5] * 5, num_steps)
    return (1000 * np.einsum("st,tle->sle", mixtures, topics)).astype(np.float32)


def nodes_of(numbers, num_experts, row):
    """Split a layer's placement into nodes: their experts, and their slots as the experts' places among them."""
    num_replicas, num_groups, num_nodes, _ = numbers
    num_nodes = num_nodes if (num_groups or 1) % num_nodes == 0 else 1
    for slots in np.split(np.arange(num_replicas), num_nodes):
        experts = sorted(set(row[slots]))
        assert len(experts) == num_experts // num_nodes
        yield slots, experts, num_nodes


NEXT_TO_NO_LOAD = np.float32([[[3e6, 2, 2, 1], [1e6, 0, 0, 0]], [[0, 3, 2, 3], [2e6, 2, 3, 2]]])  # on the second node


@settings(max_examples=100)
@example(window=(RESTING[0], (15, 1, 1, 5)), seed=0)
@example(window=(RESTING[1], (15, 1, 1, 5)), seed=0)
@example(window=(NEXT_TO_NO_LOAD, (4, 4, 2, 2)), seed=0)
@given(window=windows(num_steps=(1, 2, 3, 5, 10)), seed=st.integers(0, 2**64 - 1))
def test_lasting_plans_equal_the_reference(window, seed):
    """Scenarios, replication, packing and swaps give the reference's placement, slot by slot."""
    steps, numbers = window
    plain = plan_experts(steps, *numbers, policy=SUM, seed=seed)
    plan = plan_experts(steps, *numbers, policy=QUICK, seed=seed)
    num_gpus = numbers[3]
    for layer in range(steps.shape[1]):
        scenarios = lasting.scenarios_of([list(step) for step in steps[:, layer]], num_gpus)
        expected, counts = plain.phy2log[layer].copy(), plain.logcnt[layer].copy()
        if len(scenarios) > 1:
            for node, (slots, experts, num_nodes) in enumerate(nodes_of(numbers, steps.shape[2], expected)):
                ranks = [plain.log2phy[layer, expected[slot]].tolist().index(slot) for slot in slots]
                given_slots = [(experts.index(expected[slot]), rank) for slot, rank in zip(slots, ranks, strict=True)]
                stream = reference.mix(reference.mix(reference.mix(0, seed % 2**32), seed >> 32), layer)
                best, best_counts = lasting.outlast(
                    given_slots,
                    [int(counts[expert]) for expert in experts],
                    num_gpus // num_nodes,
                    [([loads[expert] for expert in experts], size) for loads, size in scenarios],
                    QUICK,
                    QUICK.lasting_swaps // num_nodes,
                    reference.mix(reference.mix(stream, 0), node + 1),
                )
                for slot, (expert, _) in zip(slots, best, strict=True):
                    expected[slot] = experts[expert]
                counts[experts] = best_counts
        np.testing.assert_array_equal(plan.phy2log[layer], expected)
        np.testing.assert_array_equal(plan.logcnt[layer], counts)


def norm_of(steps, layer, plan, numbers):
    """Measure the objective of a plan on a window, node by node."""
    scenarios = lasting.scenarios_of([list(step) for step in steps[:, layer]], numbers[3])
    norms = []
    for slots, _, num_nodes in nodes_of(numbers, steps.shape[2], plan.phy2log[layer]):
        placed = [(expert, 0) for expert in plan.phy2log[layer][slots]]
        norms.append(lasting.Placed(placed, plan.logcnt[layer], numbers[3] // num_nodes, scenarios).norm())
    return norms


@given(window=windows())
def test_no_lasting_plan_is_worse_on_its_window(window):
    """On the window that it was made for, the objective of a lasting plan is at most that of the plain one."""
    steps, numbers = window
    plain, plan = (plan_experts(steps, *numbers, policy=policy) for policy in (SUM, QUICK))
    for layer in range(steps.shape[1]):
        if steps[:, layer].any(axis=1).sum() > 1:
            for ours, theirs in zip(norm_of(steps, layer, plan, numbers), norm_of(steps, layer, plain, numbers), strict=True):
                assert ours <= theirs * (1 + 1e-5)  # the experts of a node are scaled by the whole layer's load


@given(window=windows())
def test_a_lasting_plan_is_a_placement(window):
    """Counts, slots and loads of a lasting plan fit together, and are what anyone measures of the summed window."""
    steps, numbers = window
    plan = plan_experts(steps, *numbers, policy=QUICK)
    num_experts = steps.shape[2]
    for layer in range(steps.shape[1]):
        assert np.bincount(plan.phy2log[layer], minlength=num_experts).tolist() == plan.logcnt[layer].tolist()
        for expert, slots in enumerate(plan.log2phy[layer]):
            count = plan.logcnt[layer, expert]
            assert sorted(slots[:count]) == np.flatnonzero(plan.phy2log[layer] == expert).tolist()
            assert np.all(slots[count:] == -1)
    np.testing.assert_array_equal(plan.gpu_loads, metrics.gpu_loads(steps, plan.phy2log, numbers[3]))
    np.testing.assert_array_equal(plan.balancedness, metrics.balancedness(steps, plan.phy2log, numbers[3]))
    assert np.all(plan.bound <= plan.gpu_loads.max(axis=1))


@given(problem=problems(), num_steps=st.integers(1, 40))
def test_equal_steps_give_the_plain_plan(problem, num_steps):
    """One step, and steps that are all alike, give the plan of their sum, bit for bit."""
    weight, numbers = problem
    weight = np.minimum(weight, 1e30).astype(weight.dtype)
    steps = np.stack([weight] * num_steps)
    plan, plain = (plan_experts(steps, *numbers, policy=policy) for policy in (POLICIES["balanced"], SUM))
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(plan, field), getattr(plain, field))


def mean_balancedness(steps, plan, num_gpus):
    """Average over steps and layers what a plan makes of each step."""
    return np.mean([metrics.balancedness(step, plan.phy2log, num_gpus).mean() for step in steps])


def test_order_repetition_and_idle_steps_hardly_matter():
    """Permuting or repeating the steps changes the objective by rounding only, and steps without load change nothing."""
    steps = drifting(6, 4, 32)
    numbers = (40, 1, 1, 8)
    plan = plan_experts(steps, *numbers)
    idle = plan_experts(np.concatenate([np.zeros_like(steps[:1]), steps, np.zeros_like(steps[:2])]), *numbers)
    np.testing.assert_array_equal(plan.phy2log, idle.phy2log)
    for same in (steps[::-1], np.concatenate([steps, steps])):
        other = plan_experts(np.ascontiguousarray(same), *numbers)
        for layer in range(4):
            np.testing.assert_allclose(norm_of(steps, layer, other, numbers), norm_of(steps, layer, plan, numbers), rtol=1e-3)


def test_steps_with_next_to_no_load_count_for_nothing():
    """How a few tokens are spread is chance: whole steps of them do not move the plan for what the others carry."""
    generator = np.random.default_rng(0)
    busy = (1000 * drifting(3, 2, 64)).astype(np.int64)
    trickle = np.zeros((5, 2, 64), np.int64)
    for step in trickle:
        step[:, generator.choice(64, 2, replace=False)] = 1
    for steps in (busy[:1], busy):
        window = np.concatenate([steps, trickle])
        plan, without = plan_experts(window, 80, 1, 1, 16), plan_experts(steps, 80, 1, 1, 16)
        assert mean_balancedness(steps, plan, 16) > mean_balancedness(steps, without, 16) - 0.002


def test_lasting_plans_last():
    """Where loads drift, a lasting plan balances the next steps better than one for the sum; where they do not, as well."""
    steps = drifting(24, 8, 64)
    seen, unseen = steps[:8], steps[8:]
    plan, plain = (plan_experts(seen, 80, 1, 1, 16, policy=policy) for policy in (POLICIES["balanced"], SUM))
    assert mean_balancedness(unseen, plan, 16) > mean_balancedness(unseen, plain, 16) + 0.03

    generator = np.random.default_rng(1)
    stationary = generator.poisson(generator.lognormal(6, 1, (8, 64)), (24, 8, 64)).astype(np.float32)
    seen, unseen = stationary[:8], stationary[8:]
    plan, plain = (plan_experts(seen, 80, 1, 1, 16, policy=policy) for policy in (POLICIES["balanced"], SUM))
    assert mean_balancedness(unseen, plan, 16) > mean_balancedness(unseen, plain, 16) - 0.005


def test_the_other_policies_sum_the_steps():
    """All policies but "balanced" plan for the sum of the steps, as their sources do."""
    steps = drifting(3, 2, 16)
    total = steps[0] + steps[1] + steps[2]
    for name in set(POLICIES) - {"balanced"}:
        quick = replace(POLICIES[name], restarts=min(POLICIES[name].restarts, 2))
        np.testing.assert_array_equal(
            plan_experts(steps, 24, 1, 1, 4, policy=quick).phy2log, plan_experts(total, 24, 1, 1, 4, policy=quick).phy2log
        )


@pytest.mark.parametrize("num_steps", [1, 2, 12, 70])
def test_long_windows_and_planners(num_steps):
    """A planner gives the same lasting plans, from windows of any length."""
    steps = drifting(num_steps, 3, 32)
    planner = Planner(3, 32, 40, 1, 1, 8)
    for window in (steps, steps[::-1], steps[0]):
        again, once = planner.plan(window), plan_experts(window, 40, 1, 1, 8)
        for field in ("phy2log", "logcnt", "gpu_loads", "bound", "balancedness"):
            np.testing.assert_array_equal(getattr(again, field), getattr(once, field))
