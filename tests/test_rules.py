"""Do the rules mean the same as plain Python as they do compiled?  And what does each of them promise by itself?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from eplb_numba import POLICIES, Policy, Topology, plan_experts
from eplb_numba.policy import find_policy
from eplb_numba.rules import exchange, place, refine, trade
from eplb_numba.rules.bracket import Bracket, bracket_size, champion, open_bracket, replay, seat
from eplb_numba.rules.ceiling import Ceiling, steady
from eplb_numba.rules.groups import assign_groups, load_groups
from eplb_numba.rules.node import load_node, place_node, prepare_node
from eplb_numba.rules.noise import STEPS, perturb, stir
from eplb_numba.rules.norm import eighth, look_up
from eplb_numba.rules.outlast import outlast_layers
from eplb_numba.rules.outlook import Sheet, cut_outlook, outlook_size, window_size
from eplb_numba.rules.partners import search_partners
from eplb_numba.rules.place import plan_layers
from eplb_numba.rules.placement import Placement, placement_arrays
from eplb_numba.rules.promise import promise, reach_of
from eplb_numba.rules.rows import Packs, Replicas, pack_rows, replicate_rows
from eplb_numba.rules.scenarios import clear_rest
from eplb_numba.rules.scratch import bench_size, cut_stage, cut_tools, stage_size
from eplb_numba.rules.sort import DIGITS, FEW, MANY, MARKS, NO_END, sort_descending
from eplb_numba.rules.swap import best_pair_swap
from eplb_numba.rules.terms import Bench, Job, Tables, layout_of, tactics_of

from . import reference
from .cases import QUICK_POLICIES, problems


def scratch(layout, dtype):
    """Make scratch that is full of rubbish: a rule must not read what it did not write."""
    values = [bench_size(layout, False)[0], stage_size(layout)[0], window_size(layout), outlook_size(layout, False)[0]]
    integers = [bench_size(layout, False)[1], stage_size(layout)[1], outlook_size(layout, False)[1]]
    values = [np.full(size, np.nan, dtype) for size in values]
    integers = [np.full(size, -(2**31), np.int32) for size in integers]
    return Tables(values[0], integers[0], values[1], integers[1], values[2], values[3], integers[2])


def job_of(weight, layout, tactics):
    """Make a job without a window."""
    return Job(weight, np.empty((0, *weight.shape), weight.dtype), layout, tactics)


@pytest.mark.parametrize("name", POLICIES)
@given(problem=problems())
def test_plain_python_plans_the_same(name, problem):
    """Run as plain Python, on scratch full of rubbish, the rules give the compiled plan."""
    assert_plain_python_plans_the_same(*problem, QUICK_POLICIES[name])


def assert_plain_python_plans_the_same(weight, numbers, policy):
    """Compare what the rules give as plain Python with what they give compiled."""
    topology = Topology(weight.shape[1], *numbers)
    layout = layout_of(topology)
    arrays = placement_arrays(len(weight), layout, weight.dtype)
    placement = Placement(*(np.zeros(shape, kind) for shape, kind in arrays))
    tactics = tactics_of(policy, 0, weight.dtype)
    plan_layers(job_of(weight, layout, tactics), 0, 1, scratch(layout, weight.dtype), placement)
    compiled = plan_experts(weight, *numbers, policy=policy)
    np.testing.assert_array_equal(placement.phy2log, compiled.phy2log)
    np.testing.assert_array_equal(placement.logcnt, compiled.logcnt)
    np.testing.assert_array_equal(placement.gpu_loads, compiled.gpu_loads)
    np.testing.assert_array_equal(placement.bounds, compiled.bound)
    np.testing.assert_array_equal(placement.balancedness, compiled.balancedness)


@settings(max_examples=15)
@given(
    gpus=st.sampled_from([35, 64, 65, 97]),
    slots=st.sampled_from([2, 3, 5]),
    replicated=st.booleans(),
    partners=st.sampled_from(["first", "best"]),
    heaviest=st.integers(1, 2),
    ties=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_many_partners_are_as_good_as_one_by_one(gpus, slots, replicated, partners, heaviest, ties, seed):
    """Where the CPU looks at many partners at a time it finds what it would have found one by one, replicas apart or not."""
    generator = np.random.default_rng(seed)
    num_replicas = gpus * slots
    num_logical = num_replicas * 2 // 3 if replicated else num_replicas
    weight = generator.integers(1, 9, (1, num_logical)) if ties else generator.lognormal(0, 1, (1, num_logical))
    policy = replace(
        POLICIES["balanced"], partners=partners, heaviest=heaviest, starts=2, swaps=40, pair_swaps=2, tolerance=0.0
    )
    assert_plain_python_plans_the_same(weight.astype(np.float32), (num_replicas, 1, 1, gpus), policy)


@example(problem=(np.full((1, 8), 1.4e-45, np.float32), (16, 4, 2, 4)), name="deepseek", restart=0)  # halves of it are 0
@given(problem=problems(hierarchical=True), name=st.sampled_from(sorted(POLICIES)), restart=st.integers(0, 5))
def test_no_node_comes_below_its_floor(problem, name, restart):
    """Whatever rounding does, what a node's heaviest GPU is expected not to go below is no more than what it comes to."""
    weight, numbers = problem
    layout, tactics = layout_of(Topology(weight.shape[1], *numbers)), tactics_of(POLICIES[name], 0, weight.dtype)
    tables = scratch(layout, weight.dtype)
    groups, replicas = (cut_tools(Bench(tables.values, tables.integers, layout, of_groups)) for of_groups in (True, False))
    stage = cut_stage(Bench(tables.stage_values, tables.stage_integers, layout, False))
    for layer, loads in enumerate(weight):
        assign_groups(load_groups(loads, groups), layer, restart, tactics, groups, stage)
        for node in range(layout.num_nodes):
            load_node(loads, node, replicas, stage)
            bound = prepare_node(node, False, tactics, replicas, stage)
            place_node(bound, layer, restart, node, steady(weight.dtype.type(np.inf), loads), tactics, replicas, stage)
        assert np.all(stage.floors <= stage.heaviest)


@pytest.mark.parametrize("groups", [6, 1])
def test_tries_are_given_up(groups, monkeypatch):
    """Most tries end with their first node, or before two go for two; and it is the best one that is delivered."""
    tries = 30
    weight = np.random.default_rng(12).lognormal(0, 1, (1, 48)).astype(np.float32)
    layout = layout_of(Topology(48, 60, groups, 3, 12))
    policy = replace(POLICIES["optimize_and_2item_swap"], restarts=tries, pair_swaps=2)
    placement = Placement(*(np.zeros(shape, kind) for shape, kind in placement_arrays(1, layout, weight.dtype)))
    tactics = tactics_of(policy, 0, weight.dtype)
    compiled = plan_experts(weight, 60, groups, 3, 12, policy=policy)
    placed, searched = [], []
    monkeypatch.setattr(place, "place_node", lambda *given: (placed.append(given), place_node(*given)))
    monkeypatch.setattr(refine, "best_pair_swap", lambda *given: (searched.append(given), best_pair_swap(*given))[1])
    plan_layers(job_of(weight, layout, tactics), 0, 1, scratch(layout, weight.dtype), placement)
    np.testing.assert_array_equal(placement.phy2log, compiled.phy2log)
    if groups > 1:
        assert len(placed) < tries * layout.num_nodes / 2
    else:
        assert len(searched) < tries / 2


@pytest.mark.parametrize(("pairs", "winner"), [("after", "max"), ("together", "max"), ("after", "spread")])
def test_starts_are_given_up(pairs, winner, monkeypatch):
    """Most starts end before two go for two, as they would not be kept; but each of them may have the narrowest spread."""
    starts = 30
    weight = np.random.default_rng(12).lognormal(0, 1, (1, 48)).astype(np.float32)
    layout = layout_of(Topology(48, 60, 1, 1, 12))
    policy = Policy(starts=starts, noise=(1.0, 1.25), swaps=4, pair_swaps=2, pairs=pairs, winner=winner)
    placement = Placement(*(np.zeros(shape, kind) for shape, kind in placement_arrays(1, layout, weight.dtype)))
    tactics = tactics_of(policy, 0, weight.dtype)
    compiled = plan_experts(weight, 60, 1, 1, 12, policy=policy)
    searched = set()

    def search(tools, *given):
        searched.add(tools.desk.order.tobytes())
        return best_pair_swap(tools, *given)

    monkeypatch.setattr(refine, "best_pair_swap", search)
    plan_layers(job_of(weight, layout, tactics), 0, 1, scratch(layout, weight.dtype), placement)
    np.testing.assert_array_equal(placement.phy2log, compiled.phy2log)
    assert (len(searched) < starts / 2) == (winner == "max")


@pytest.mark.parametrize(("other", "is_given_up"), [(0, True), (1, True), (2, False), (3, False)])
def test_a_packing_is_given_up_for_one_that_is_made_meanwhile(other, is_given_up, monkeypatch):
    """Before two go for two it looks up what there is to come below now; packings that come after it do not count."""
    loads = np.random.default_rng(12).lognormal(0, 1, 48).astype(np.float32)
    layout = layout_of(Topology(48, 60, 1, 1, 12))
    tactics = tactics_of(Policy(swaps=4, pair_swaps=2, pairs="after"), 0, loads.dtype)
    tables = scratch(layout, loads.dtype)
    tools = cut_tools(Bench(tables.values, tables.integers, layout, False))
    stage = cut_stage(Bench(tables.stage_values, tables.stage_integers, layout, False))
    stage.order[:] = np.arange(48)
    levels = np.full(4, np.inf, loads.dtype)

    def search_meanwhile(*given):
        levels[other] = 0
        return search_partners(*given)

    monkeypatch.setattr(refine, "search_partners", search_meanwhile)
    searches = count_calls(refine, "best_pair_swap", monkeypatch)
    load_node(loads, 0, tools, stage)
    bound = prepare_node(0, False, tactics, tools, stage)
    place_node(bound, 0, 0, 0, Ceiling(loads.dtype.type(np.inf), levels, 2), tactics, tools, stage)
    assert levels[other] == 0
    assert (not searches) == is_given_up


@settings(max_examples=20)
@given(problem=problems(), seed=st.integers(0, 2**32))
def test_plain_python_outlasts_the_same(problem, seed):
    """So do the rules of lasting plans."""
    weight, numbers = problem
    steps = weight * np.random.default_rng(seed).integers(0, 4, (3, *weight.shape)).astype(weight.dtype)
    policy = replace(POLICIES["balanced"], lasting_swaps=8, lasting_starts=2)
    layout = layout_of(Topology(weight.shape[1], *numbers))
    tactics = tactics_of(policy, 0, weight.dtype)
    arrays = placement_arrays(len(weight), layout, weight.dtype)
    placement = Placement(*(np.zeros(shape, kind) for shape, kind in arrays))
    job = Job(steps[0] + steps[1] + steps[2], steps, layout, tactics)
    plan_layers(job, 0, 1, scratch(layout, weight.dtype), placement)
    outlast_layers(job, 0, 1, scratch(layout, weight.dtype), placement)
    compiled = plan_experts(steps, *numbers, policy=policy)
    np.testing.assert_array_equal(placement.phy2log, compiled.phy2log)
    np.testing.assert_array_equal(placement.gpu_loads, compiled.gpu_loads)
    np.testing.assert_array_equal(placement.bounds, compiled.bound)


@settings(max_examples=60)
@given(
    shape=st.sampled_from([(2, 1), (2, 5), (5, 3), (8, 9)]),
    count=st.integers(2, 8),
    skew=st.sampled_from([0.0, 0.3, 2.0, 12.0]),
    ties=st.booleans(),
    wide=st.booleans(),
    compiled=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_no_swap_gains_more_than_it_promises(shape, count, skew, ties, wide, compiled, seed):
    """A swap gains less than its slot promises, also where products are fused with sums; and the best one is found."""
    (num_gpus, slots), dtype = shape, np.float64 if wide else np.float32
    num_slots = num_gpus * slots
    generator = np.random.default_rng(seed)
    layout = layout_of(Topology(num_slots, num_slots, 1, 1, num_gpus))
    tables = scratch(layout, dtype)
    outlook = cut_outlook(Sheet(tables.outlook_values, tables.outlook_integers, layout))
    loads = generator.lognormal(0, skew, (count, num_slots)) * generator.integers(0, 5, (count, num_slots)).clip(max=1)
    loads = np.ceil(loads) if ties else loads
    loads[:, 0] += 1e-3
    loads = (loads / loads.sum(axis=1, keepdims=True) * num_gpus).astype(dtype)
    outlook.loads[: count * num_slots] = loads.ravel()
    outlook.worsts[:], outlook.counts[:], outlook.experts[:] = loads.max(axis=0), 1, np.arange(num_slots)
    outlook.sizes[:count] = generator.integers(1, 9, count)
    look_up(count, outlook)
    reach = reach_of(outlook)
    outlook.counts[: num_slots // 2] = 3  # so many that not all may swap
    outlook.experts[: num_slots // 2] //= 2
    clear_rest(count, outlook)
    trade._weigh(count, outlook)
    heavy, copies = int(outlook.burdens.argmax()), 1
    (promise_compiled if compiled else promise)(heavy, count, reach, outlook)
    gains = np.stack([reckon_gains(heavy, coming, count, outlook) for coming in range(num_slots)], axis=1)
    reckoned = gains.copy()
    gains[:, heavy * slots : (heavy + 1) * slots] = -np.inf
    others = np.arange(num_slots) // slots != heavy
    assert np.all((gains < outlook.promises)[:, others])
    expected = outlook.promises.reshape(num_gpus, slots).max(axis=1)
    expected[heavy] = -np.inf
    np.testing.assert_array_equal(outlook.prospects, expected)
    for leaving in range(slots):
        for coming in np.flatnonzero(others):
            if not exchange.may_trade(heavy * slots + leaving, coming, slots, copies, outlook):
                gains[leaving, coming] = -np.inf
    leaving, coming = np.unravel_index(gains.argmax(), gains.shape)  # the first of several
    is_worth_it = gains.max() > dtype(exchange.LEAST_GAIN) * outlook.burdens[heavy]
    expected = (heavy * slots + leaving) * num_slots + coming if is_worth_it else -1
    assert exchange.best_of_all(heavy, count, copies, outlook) == expected
    swap, says_little = exchange.best_promised(heavy, count, copies, reach, outlook)
    assert says_little or swap == expected
    costs = np.empty(slots, dtype)
    for coming in np.flatnonzero(others):
        light = coming // slots
        (reckon_out_compiled if compiled else exchange._reckon_out)(heavy, light, coming, outlook, costs)
        np.testing.assert_array_equal(outlook.burdens[heavy] + outlook.burdens[light] - costs, reckoned[:, coming])


@njit(error_model="numpy")
def promise_compiled(heavy, count, reach, outlook):
    """Note what slots promise as a CPU does."""
    promise(heavy, count, reach, outlook)


@njit(error_model="numpy")
def reckon_out_compiled(heavy, light, coming, outlook, costs):
    """Reckon out swaps as a CPU does."""
    exchange._reckon_out(heavy, light, coming, outlook, costs)


def reckon_gains(heavy, coming, count, outlook):
    """Give what the burdens fall by if each item of the heavy GPU is swapped for the one in a slot."""
    slots, num_slots, num_gpus, value = outlook.slots, len(outlook.costs), len(outlook.burdens), outlook.costs.dtype.type
    light = coming // slots
    costs = np.zeros(slots, value)
    for scenario in range(count):
        loads = outlook.slot_loads[scenario * num_slots : (scenario + 1) * num_slots]
        gpu_loads = outlook.gpu_loads[scenario * num_gpus : (scenario + 1) * num_gpus]
        leaving = loads[heavy * slots : (heavy + 1) * slots]
        powers = eighth(gpu_loads[heavy] - leaving + loads[coming]) + eighth(gpu_loads[light] - loads[coming] + leaving)
        costs += powers * outlook.slopes[scenario]
    return outlook.burdens[heavy] + outlook.burdens[light] - costs


def test_scratch_serves_windows_of_any_length():
    """What a window of more scenarios has left on the scratch does not tell."""
    num_gpus, slots, generator = 6, 4, np.random.default_rng(5)
    num_slots = num_gpus * slots
    layout = layout_of(Topology(num_slots, num_slots, 1, 1, num_gpus))
    windows = [generator.lognormal(0, 1, (count, num_slots)).astype(np.float32) for count in (8, 2, 5, 3, 7)]
    used = scratch(layout, np.float32)
    for loads in windows:
        outcomes = []
        for tables in (used, scratch(layout, np.float32)):
            outlook = cut_outlook(Sheet(tables.outlook_values, tables.outlook_integers, layout))
            outlook.loads[: loads.size] = (loads / loads.sum(axis=1, keepdims=True) * num_gpus).ravel()
            outlook.worsts[:], outlook.counts[:], outlook.experts[:] = loads.max(axis=0), 1, np.arange(num_slots)
            outlook.sizes[: len(loads)] = 1
            searches = trade_compiled(len(loads), outlook)
            outcomes.append((searches, outlook.experts.tolist(), outlook.burdens.tolist()))
        assert outcomes[0] == outcomes[1]
        assert outcomes[0][1] != list(range(num_slots))


@njit(error_model="numpy")
def trade_compiled(count, outlook):
    """Look up loads and trade, as a CPU does."""
    look_up(count, outlook)
    return trade.trade(count, 1, 24, outlook)


def test_few_swaps_are_reckoned_out(monkeypatch):
    """Where items are small beside a GPU's load, few slots promise more than the best swap gains."""
    searches, tries = count_calls(trade, "best_promised", monkeypatch), count_calls(exchange, "_try_slot", monkeypatch)
    generator = np.random.default_rng(3)
    steps = (generator.lognormal(0, 1, (1, 1, 64)) * generator.lognormal(0, 0.3, (8, 1, 64))).astype(np.float32)
    layout = layout_of(Topology(64, 72, 1, 1, 8))
    placement = Placement(*(np.zeros(shape, kind) for shape, kind in placement_arrays(1, layout, steps.dtype)))
    job = Job(steps.sum(axis=0), steps, layout, tactics_of(POLICIES["balanced"], 0, steps.dtype))
    plan_layers(job, 0, 1, scratch(layout, steps.dtype), placement)
    outlast_layers(job, 0, 1, scratch(layout, steps.dtype), placement)
    assert len(searches) > 64
    assert len(tries) < 6 * len(searches)  # of 63 slots


def count_calls(module, name, monkeypatch):
    """Note each call of a function of a module."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: calls.append(name) or function(*given))
    return calls


def test_plain_python_packs_and_replicates_the_same():
    """So do the single stages."""
    from eplb_numba import balanced_packing, replicate_experts

    weight = np.random.default_rng(0).lognormal(0, 1, (3, 12)).astype(np.float32)
    layout = layout_of(Topology(12, 12, 1, 1, 3))
    packs = Packs(np.empty((3, 12), np.int64), np.empty((3, 12), np.int64))
    tactics = tactics_of(find_policy("balanced"), 0, np.dtype(np.float32))
    pack_rows(job_of(weight, layout, tactics), 0, 1, scratch(layout, np.float32), packs)
    for ours, compiled in zip(packs, balanced_packing(weight, 3), strict=True):
        np.testing.assert_array_equal(ours, compiled)

    layout = layout_of(Topology(12, 18, 1, 1, 1))
    replicas = Replicas(*(np.empty((3, size), np.int64) for size in (18, 18, 12)))
    replicate_rows(job_of(weight, layout, tactics), 0, 1, scratch(layout, np.float32), replicas)
    for ours, compiled in zip(replicas, replicate_experts(weight, 18), strict=True):
        np.testing.assert_array_equal(ours, compiled)


@njit(error_model="numpy")
def compiled_sort(keys, order, spare, marks):
    """Sort by the word that the CPU gives its own meaning."""
    sort_descending(keys, order, spare, marks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(
    seed=st.integers(0, 2**32),
    count=st.sampled_from([1, 2, FEW, FEW + 1, 100, MANY, MANY + 1, NO_END + 1]),
    kind=st.integers(0, 5),
)
def test_sorting_is_stable_and_descending(dtype, seed, count, kind):
    """The counting sort gives what a stable sort of the negated keys gives, for keys of any spread."""
    generator = np.random.default_rng(seed)
    keys = [
        lambda: generator.lognormal(0, 1, count),
        lambda: generator.integers(0, 3, count),
        lambda: np.full(count, generator.random()),
        lambda: 1 + generator.random(count) * 1e-6,
        lambda: generator.random(count) * (1e-44 if dtype is np.float32 else 1e-322),
        lambda: np.where(generator.random(count) < 0.5, 0, 10.0 ** generator.uniform(-30, 30, count)),
    ][kind]().astype(dtype)
    order, spare, marks = np.empty(count, np.int32), np.empty(count + DIGITS, np.int32), np.empty(MARKS, dtype)
    compiled_sort(keys, order, spare, marks)
    np.testing.assert_array_equal(order, np.argsort(-keys, kind="stable"))
    plain = np.empty(count, np.int32)
    sort_descending(keys, plain, spare, marks)
    np.testing.assert_array_equal(order, plain)


@given(data=st.data(), players=st.integers(1, 20))
def test_a_bracket_knows_its_champion(data, players):
    """Whatever changes, the champion is the first of the lowest."""
    size = bracket_size(players)
    bracket = Bracket(np.full(2 * size, np.nan), np.zeros(2 * size, np.int32))
    values = data.draw(st.lists(st.integers(0, 3), min_size=players, max_size=players))
    for player, value in enumerate(values):
        seat(bracket, size, player, value)
    lead = open_bracket(bracket, size, players)
    for _ in range(20):
        assert champion(lead) == (min(values), values.index(min(values)))
        player = data.draw(st.integers(0, players - 1))
        values[player] = data.draw(st.sampled_from([0, 1, 2, np.inf]))
        lead = replay(bracket, size, player, values[player], lead)


def test_noise_is_dyadic_and_spread():
    """Multipliers are whole 4096ths of the asked range, and about evenly spread over it."""
    loads, keys = np.ones(10_000), np.empty(10_000)
    perturb(loads, keys, stir(1, 2), 3789, 614)
    multipliers = keys * STEPS
    assert np.all(multipliers == np.floor(multipliers))
    assert multipliers.min() == 3789
    assert multipliers.max() == 3789 + 613
    assert abs(multipliers.mean() - (3789 + 613 / 2)) < 10


@given(state=st.integers(0, 2**32 - 1), number=st.integers(0, 2**63 - 1))
def test_stirring_is_the_same_everywhere(state, number):
    """The generator gives the reference's numbers, in Python and compiled."""
    assert stir(state, number) == reference.mix(state, number) == compiled_stir(state, number)


@njit
def compiled_stir(state, number):
    """Stir, compiled."""
    return stir(state, number)
