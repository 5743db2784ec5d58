"""Does the GPU give the CPU's answer, bit for bit?

Where there is no GPU, Numba's simulator runs the rules as plain Python, in blocks of several lanes.  In a process of its own
(`test_machine`) this file runs once more on a machine for PTX: there it is the compiled kernels that run.
"""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

from eplb_numba import (
    POLICIES,
    Planner,
    Policy,
    Topology,
    arrays,
    balanced_packing,
    metrics,
    plan_experts,
    rebalance_experts,
    replicate_experts,
)
from eplb_numba import backend as choosing
from eplb_numba import gpu as backend
from eplb_numba.gpu import orders
from eplb_numba.gpu.block import OFFER_BYTES
from eplb_numba.gpu.tries import try_and_turn
from eplb_numba.rules import refine
from eplb_numba.rules.relief import Swap
from eplb_numba.rules.swap import best_pair_swap
from eplb_numba.rules.terms import layout_of, tactics_of
from eplb_numba.rules.words import best_lane, lane, lanes, strip

from .cases import QUICK_POLICIES, RESTING, any_policies, problems, topologies, weights

SIMULATED = "NUMBA_ENABLE_CUDASIM" in os.environ
ON_MACHINE = "TESTS_ON_MACHINE" in os.environ
FIELDS = ("phy2log", "log2phy", "logcnt", "gpu_loads", "bound", "balancedness")
# The simulator and the machine take a tenth of a second for what a GPU does in a millisecond.
EXAMPLES = 6 if SIMULATED else 40 if ON_MACHINE else 500
LANES = [2, 3] if SIMULATED else [32]
LASTING_LANES = [3] if SIMULATED else [32, 128, 256]
# On the machine each kind of weight is compiled, which takes longest.
KINDS = ["float32", "float64", "int64", "float16", "int8", "int32", "uint8", "uint64"][: 3 if ON_MACHINE else 8]

if ON_MACHINE:
    from . import machine

    machine.install(backend)
    choosing.why_not_cuda = lambda: None

if not SIMULATED:
    from eplb_numba.gpu.ranking import rank_again

each_policy = pytest.mark.parametrize("name", POLICIES)


@pytest.fixture(autouse=True, scope="module")
def fewer_lanes():
    """Let the simulator run blocks of few lanes: each is a thread of Python."""
    before = orders.LANES, orders.LASTING_LANES, orders.MANY_LANES, orders.COPYING_LANES
    patience = sys.getswitchinterval()
    if SIMULATED:
        orders.LANES, orders.LASTING_LANES, orders.MANY_LANES, orders.COPYING_LANES = 3, 3, 3, 3
        # Whoever watches the lanes asks again and again whether all wait; a lane that waits for him to give way waits long.
        sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(patience)
    orders.LANES, orders.LASTING_LANES, orders.MANY_LANES, orders.COPYING_LANES = before


@pytest.fixture(autouse=True)
def nothing_prepared_yet():
    """Prepare launches anew in each test: some of them change how that is done."""
    backend.RECIPES.clear()


@pytest.fixture(autouse=True)
def errors_of_this_thread_only(monkeypatch):
    """Raise the simulator's errors anew: their frames belong to threads that are gone, and whoever looks at them crashes."""
    start = backend.device.Launch.start

    def careful(*arguments):
        try:
            start(*arguments)
        except Exception as error:  # noqa: BLE001
            message = f"{type(error).__name__}: {error}"
        else:
            return
        raise AssertionError(message)

    if SIMULATED:
        monkeypatch.setattr(backend.device.Launch, "start", careful)


class GpuArray:
    """An array of a library on the simulated GPU."""

    device = "cuda:0"

    def __init__(self, array):
        self.array = array

    def __getitem__(self, index):
        found = self.array[index]
        return GpuArray(found) if isinstance(found, np.ndarray) else found

    def __setitem__(self, index, value):
        self.array[index] = value

    def __len__(self):
        return len(self.array)

    @property
    def T(self):  # noqa: N802  # NumPy's name
        """The same memory, with its axes the other way round."""
        return GpuArray(self.array.T)

    def __getattr__(self, name):
        if name in ("shape", "dtype", "ndim", "nbytes", "itemsize", "max"):
            return getattr(self.array, name)
        raise AttributeError(name)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)

    @property
    def __cuda_array_interface__(self):
        told = self.array.__array_interface__
        return {name: told[name] for name in ("data", "shape", "typestr", "strides", "version")}

    def __array_namespace__(self, api_version=None):
        return GpuLibrary

    def __dlpack__(self, **options):
        raise AssertionError("nobody on a CPU may look at what lies on a GPU")

    def __dlpack_device__(self):
        return 2, 0

    def to_device(self, device, stream=None):
        """Copy to the CPU."""
        assert device == "cpu"
        return self.array.copy()


def is_served(array, served=arrays._is_served_on_gpus):
    """Let arrays of the simulated GPU be served like those of torch and CuPy."""
    return isinstance(array, GpuArray) or served(array)


arrays._is_served_on_gpus = is_served


class GpuLibrary:
    """A library that keeps its arrays on the simulated GPU."""

    float32, float64, int64, uint8 = np.float32, np.float64, np.int64, np.uint8

    @staticmethod
    def empty(shape, dtype, device):
        """Give memory that is full of rubbish: no kernel may go by what it did not write."""
        assert device == "cuda:0"
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[:] = 0x7F
        return GpuArray(array)

    @staticmethod
    def asarray(array, device):
        assert device == "cuda:0"
        return GpuArray(np.array(array))

    @staticmethod
    def astype(array, dtype):
        return GpuArray(array.array.astype(dtype))


def on_gpu(array):
    """Put an array on the GPU, as a library of its own does it."""
    if SIMULATED or ON_MACHINE:
        return GpuArray(np.array(array))
    return torch.from_numpy(np.array(array)).cuda()


def on_cpu(array):
    """Look at an array on the GPU."""
    return np.asarray(array) if SIMULATED or ON_MACHINE else array.cpu().numpy()


def assert_same(theirs, ours):
    """Compare two plans with ==."""
    for field in FIELDS:
        np.testing.assert_array_equal(on_cpu(getattr(theirs, field)), getattr(ours, field), err_msg=field)


@pytest.mark.parametrize("size", [4] if SIMULATED else [32, 64, 128])
def test_lanes_share_the_work(size):
    """A block has as many lanes as it was launched with, each knows which it is, and they agree on the best offer."""
    kernel = machine.Kernel(note_lanes) if ON_MACHINE else cuda.jit(note_lanes)
    device = backend.device
    seen = device.empty((size, 4), np.int64)
    device.Launch(kernel, 1, size, OFFER_BYTES, None, device.see(seen)).start(0, None)
    assert device.carry_back(seen).tolist() == [[index, size, (size - 1) // 2, size - 2] for index in range(size)]


def note_lanes(seen):
    """Let each lane note who it is, and the best offer."""
    gain, choice = best_lane(float(lane() // 2), lane())
    seen[lane(), 0], seen[lane(), 1], seen[lane(), 2], seen[lane(), 3] = lane(), lanes(), gain, choice


@pytest.mark.skipif(SIMULATED, reason="the simulator runs the plain form of the rule")
@pytest.mark.parametrize("packs", [2, 5, 32, 33, 64, 100, 320, 1100])
def test_packs_are_ranked_again(packs):
    """After a swap all stand in order again, wherever the two belong, and were the light one lighter: sums are rounded."""
    random = np.random.default_rng(packs)
    loads = random.integers(0, random.choice([3, 10, 1000], (60, 1)), (60, packs)).astype(np.float32)
    loads[:, 0] += 1  # the heaviest of each weighs something
    rankings = np.argsort(-loads, axis=1, kind="stable").astype(np.int32)
    places, totals, ranked = np.empty((60, 2), np.int32), np.empty((60, 2), np.float32), []
    afterwards = np.empty_like(loads)
    for case, ranking in enumerate(rankings):
        bearing = np.flatnonzero(loads[case][ranking[:-1]] > 0)
        heavy = bearing[0] if case % 2 else random.choice(bearing)
        light = packs - 1 if case % 3 else random.integers(heavy + 1, packs)
        after = loads[case].copy()
        after[ranking[[heavy, light]]] = random.integers(0, int(loads[case, ranking[heavy]]), 2)
        places[case], totals[case] = (heavy, light), after[ranking[[heavy, light]]]
        ranked.append(np.argsort(-after, kind="stable").tolist())
        afterwards[case] = after
    kernel = machine.Kernel(rank_each) if ON_MACHINE else cuda.jit(rank_each)
    device = backend.device
    arrays = [device.carry_over(array) for array in (loads, rankings, places, totals)]
    device.Launch(kernel, 60, 32, OFFER_BYTES, None, *arrays).start(0, None)
    assert device.carry_back(arrays[1].owner).tolist() == ranked
    np.testing.assert_array_equal(device.carry_back(arrays[0].owner), afterwards)


def rank_each(loads, rankings, places, totals):
    """Let each block rank the packs of a case."""
    case = cuda.blockIdx.x
    ranking, heavy, light = strip(rankings[case]), places[case, 0], places[case, 1]
    swap = Swap(heavy, light, heavy, light, heavy, light)
    rank_again(strip(loads[case]), ranking, swap, ranking[heavy], ranking[light], totals[case, lane() & 1])


@each_policy
@settings(max_examples=EXAMPLES)
@given(problem=problems(), seed=st.integers(0, 2**64 - 1), lanes=st.sampled_from(LANES))
def test_every_policy_gives_the_same_bits(name, problem, seed, lanes):
    """On every kind of topology and load the GPU gives the CPU's plan."""
    weight, numbers = problem
    policy = replace(QUICK_POLICIES[name], restarts=min(POLICIES[name].restarts, 3), starts=min(POLICIES[name].starts, 3))
    orders.LANES = lanes
    theirs = plan_experts(on_gpu(weight), *numbers, policy=policy, seed=seed)
    assert_same(theirs, plan_experts(weight, *numbers, policy=policy, seed=seed))


@settings(max_examples=3 * EXAMPLES)
@given(
    problem=problems(),
    policy=any_policies,
)
def test_any_policy_gives_the_same_bits(problem, policy):
    """Every combination of tactics gives the CPU's plan."""
    weight, numbers = problem
    assert_same(plan_experts(on_gpu(weight), *numbers, policy=policy), plan_experts(weight, *numbers, policy=policy))


@settings(max_examples=EXAMPLES)
@given(
    problem=problems(),
    kind=st.sampled_from(KINDS),
    num_steps=st.integers(1, 3),
)
def test_every_type_and_steps_give_the_same_bits(problem, kind, num_steps):
    """Weights of every type, with and without steps, are added up on the GPU as on the CPU."""
    weight, numbers = problem
    top = {"float16": 1000, "int8": 127, "uint8": 255}.get(kind, 1e6)
    steps = np.stack([np.minimum(weight * (1 + step), top) for step in range(num_steps)]).astype(kind)
    for window in (steps, steps[0]):
        assert_same(plan_experts(on_gpu(window), *numbers), plan_experts(window, *numbers))


@settings(max_examples=2 * EXAMPLES)
@given(
    problem=problems(),
    seed=st.integers(0, 2**32),
    num_steps=st.sampled_from([2, 3, 9] if SIMULATED else [2, 3, 9, 33]),
    lanes=st.sampled_from(LASTING_LANES),
)
def test_lasting_plans_give_the_same_bits(problem, seed, num_steps, lanes):
    """Plans for windows whose steps differ, more of them than there are scenarios, too, are the same on the GPU."""
    orders.LASTING_LANES, orders.MANY_LANES = lanes, lanes if SIMULATED else 2 * lanes
    backend.RECIPES.clear()
    weight, numbers = problem
    generator = np.random.default_rng(seed)
    steps = weight * generator.integers(0, 4, (num_steps, *weight.shape)).astype(weight.dtype)
    steps[-1] *= weight.dtype.type(2.0 ** -generator.integers(0, 9))  # so that it may count for nothing
    policy = replace(POLICIES["balanced"], lasting_swaps=12, lasting_starts=2)
    theirs = plan_experts(on_gpu(steps), *numbers, policy=policy, seed=seed)
    assert_same(theirs, plan_experts(steps, *numbers, policy=policy, seed=seed))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take a minute")
@pytest.mark.parametrize("steps", RESTING)
def test_gpus_that_rest_give_the_same_bits(steps):
    """GPUs that have no swap at first, but later, are the same."""
    policy = replace(POLICIES["balanced"], lasting_swaps=16, lasting_starts=2)
    assert_same(plan_experts(on_gpu(steps), 15, 1, 1, 5, policy=policy), plan_experts(steps, 15, 1, 1, 5, policy=policy))


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_single_stages_give_the_same_bits(data):
    """balanced_packing and replicate_experts give the CPU's answer."""
    num_packs = data.draw(st.integers(1, 4))
    weight = data.draw(weights(num_packs * data.draw(st.integers(1, 4))))
    for theirs, ours in (
        (balanced_packing(on_gpu(weight), num_packs), balanced_packing(weight, num_packs)),
        (replicate_experts(on_gpu(weight), weight.shape[1] + 3), replicate_experts(weight, weight.shape[1] + 3)),
    ):
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(on_cpu(one), other)


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@each_policy
def test_whole_nodes_give_the_same_bits(name):
    """At the size of DeepSeek-V3's layers, where lanes have several experts each and sort by digits, nothing changes."""
    policy = replace(POLICIES[name], restarts=min(POLICIES[name].restarts, 3))
    weight = np.random.default_rng(6).lognormal(0, 1, (2, 256)).astype(np.float32)
    weight[1, ::3] = weight[1, 0]  # ties
    for groups in (8, 1):
        theirs = plan_experts(on_gpu(weight), 288, groups, 4, 32, policy=policy)
        assert_same(theirs, plan_experts(weight, 288, groups, 4, 32, policy=policy))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@pytest.mark.parametrize(("tolerance", "apart"), [(0.0, "freely"), (0.004, "freely"), (0.0, "where_cheap")])
def test_many_tries_give_the_same_bits(tolerance, apart):
    """Tries that other blocks have shown to be of no use are given up, whoever comes first, and nothing changes."""
    policy = replace(POLICIES["optimize_and_2item_swap"], restarts=20, tolerance=tolerance, apart=apart)
    weight = np.random.default_rng(12).lognormal(0, 1, (3, 64)).astype(np.float32)
    weight[2, ::3] = weight[2, 0]  # ties
    for groups in (16, 4, 1):
        theirs = plan_experts(on_gpu(weight), 80, groups, 4, 16, policy=policy)
        assert_same(theirs, plan_experts(weight, 80, groups, 4, 16, policy=policy))


@pytest.mark.parametrize(("experts", "slots", "gpus"), [(12, 16, 4), (64, 80, 16)])
@pytest.mark.parametrize(("winner", "apart"), [("max", "freely"), ("spread", "freely"), ("max", "where_cheap")])
def test_many_starts_give_the_same_bits(experts, slots, gpus, winner, apart):
    """Starts that other blocks have shown not to be kept end early, whoever comes first, and nothing changes."""
    if SIMULATED and experts > 12:
        pytest.skip("the simulator would take minutes")
    policy = replace(POLICIES["optimize_and_2item_swap"], restarts=1, starts=20, pair_swaps=2, winner=winner, apart=apart)
    weight = np.random.default_rng(18).lognormal(0, 1, (3, experts)).astype(np.float32)
    weight[1, ::3] = weight[1, 0]  # ties
    weight[2] = np.resize(np.float32([40, 1, 2, 1, 3]), experts)  # that replicas are kept apart is dear
    for groups in (4, 1):
        theirs = plan_experts(on_gpu(weight), slots, groups, 2, gpus, policy=policy)
        assert_same(theirs, plan_experts(weight, slots, groups, 2, gpus, policy=policy))


@pytest.mark.skipif(not SIMULATED, reason="nobody counts what compiled kernels do")
@pytest.mark.parametrize("winner", ["max", "spread"])
def test_starts_that_will_not_be_kept_end_early(winner, monkeypatch):
    """The simulator's blocks follow one another: each start finds what all before it have come to; any may be narrowest."""
    starts, searched = 20, set()

    def search(tools, *given):
        searched.add(tools.desk.order.tobytes())
        return best_pair_swap(tools, *given)

    monkeypatch.setattr(refine, "best_pair_swap", search)
    policy = Policy(starts=starts, noise=(1.0, 1.25), swaps=2, pair_swaps=1, winner=winner)
    weight = np.random.default_rng(12).lognormal(0, 1, (1, 24)).astype(np.float32)
    plan_experts(on_gpu(weight), 30, 1, 1, 10, policy=policy)
    assert searched
    assert (len(searched) < starts / 2) == (winner == "max")


@pytest.mark.parametrize(
    ("loads", "swaps", "seed"),
    [([8, 13, 15, 19], 0, 139), ([10, 6, 34, 11, 44, 11], 1, 678)],
)
def test_bounds_that_are_raised_once_for_all_starts(loads, swaps, seed, monkeypatch):
    """Starts of an undisturbed try go by the raised bound, and settle for less than the best; those of another try do not."""
    monkeypatch.setattr(backend.memory, "MANY_SHARE", 2)
    policy = Policy(restarts=2, starts=6, noise=(0.5, 1.5), swaps=swaps, apart="where_cheap", tolerance=0.03)
    weight = np.float32([loads])
    theirs = plan_experts(on_gpu(weight), 6, 1, 1, 2, policy=policy, seed=seed)
    assert_same(theirs, plan_experts(weight, 6, 1, 1, 2, policy=policy, seed=seed))


@pytest.mark.parametrize("name", ["balanced", "optimize_and_2item_swap", "parallel_randomized_greedy_with_l2_swap"])
@pytest.mark.parametrize("apart", ["freely", "where_cheap"])
@pytest.mark.parametrize(("starts", "share"), [(1, 2), (2, 2), (2, 100)])
def test_nodes_that_blocks_have_in_common(name, apart, starts, share, monkeypatch):
    """Where many blocks have a node in common it is prepared once, and nothing changes; idle layers are marked, too."""
    monkeypatch.setattr(backend.memory, "MANY_SHARE", share)
    policy = replace(QUICK_POLICIES[name], restarts=min(POLICIES[name].restarts, 3), starts=starts, apart=apart)
    for experts, slots, groups in ((12, 16, 4), (12, 16, 2), (12, 16, 1), (24, 32, 8)):
        weight = np.random.default_rng(15).lognormal(0, 1, (6, experts)).astype(np.float32)
        weight[1] = np.tile(np.float32([40, 1, 1, 1]), experts // 4)  # that replicas are kept apart is dear
        weight[2] = 0
        bad = weight.copy()
        bad[2, 5] = np.nan
        theirs = plan_experts(on_gpu(bad), slots, groups, 2, 4, policy=policy)
        ours = plan_experts(weight, slots, groups, 2, 4, policy=policy)
        for field in FIELDS[:-1]:
            np.testing.assert_array_equal(on_cpu(getattr(theirs, field)), getattr(ours, field))
        assert np.isnan(on_cpu(theirs.balancedness)).tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("blocks", [1, 4, 2048])
def test_tries_whose_groups_one_block_assigns(blocks, monkeypatch):
    """However many blocks share the tries of a layer, nothing changes: each try's groups are assigned by one of them."""
    monkeypatch.setattr(backend.memory, "AT_WORK", blocks)
    policy = replace(POLICIES["optimize_and_2item_swap"], restarts=5)
    for dtype, groups in ((np.float32, 8), (np.float64, 8), (np.float32, 2)):
        weight = np.random.default_rng(17).lognormal(0, 1, (2, 16)).astype(dtype)
        theirs = plan_experts(on_gpu(weight), 20, groups, 2, 4, policy=policy)
        assert_same(theirs, plan_experts(weight, 20, groups, 2, 4, policy=policy))


def test_how_many_nodes_are_prepared_for_all():
    """Sixteen blocks or more must have a node in common; where groups may go to any node, each try has nodes of its own."""
    chosen, fixed = (layout_of(Topology(64, 80, groups, 4, 16)) for groups in (8, 4))
    counts = [
        backend.memory._nodes_in_common(tries, starts, layout)
        for layout in (fixed, chosen)
        for tries, starts in ((1, 1), (15, 1), (16, 1), (128, 1), (1, 15), (1, 16), (3, 6), (3, 16))
    ]
    assert counts == [0, 0, 4, 4, 0, 4, 4, 4, 0, 0, 0, 0, 0, 4, 0, 12]


SKEWS = {
    "even": lambda random, experts: random.uniform(9, 10, experts),
    "skewed": lambda random, experts: random.lognormal(0, 1.5, experts),
    "few tell apart": lambda random, experts: random.integers(1, 4, experts),
    "mostly idle": lambda random, experts: random.lognormal(0, 1, experts) * (random.random(experts) < 0.2),
    "all equal": lambda random, experts: np.ones(experts),
    "one takes all": lambda random, experts: np.where(np.arange(experts) == 7, 1e6, random.uniform(0, 1, experts)),
}


@pytest.mark.skipif(SIMULATED, reason="the simulator runs the plain form of these rules")
@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packing_and_replicating_at_once(skew, dtype):
    """Whether many or few experts get replicas and packs get items at once, they are those that would be next one by one."""
    random = np.random.default_rng(17)
    policies = [POLICIES["deepseek"], Policy(starts=1, swaps=0, pair_swaps=0, apart="always")]
    for experts, slots, gpus in ((64, 72, 8), (40, 90, 5), (64, 96, 32), (64, 132, 33), (100, 200, 40), (96, 288, 96)):
        weight = np.stack([SKEWS[skew](random, experts) for _ in range(2)]).astype(dtype)
        for policy in policies:
            theirs = plan_experts(on_gpu(weight), slots, 1, 1, gpus, policy=policy)
            assert_same(theirs, plan_experts(weight, slots, 1, 1, gpus, policy=policy))
        items = np.stack([SKEWS[skew](random, slots) for _ in range(2)]).astype(dtype)
        for ours, theirs in zip(balanced_packing(items, gpus), balanced_packing(on_gpu(items), gpus), strict=True):
            np.testing.assert_array_equal(ours, on_cpu(theirs))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("zeros", [0, 40])
def test_items_that_leading_digits_do_not_tell_apart(dtype, zeros):
    """Items are packed heaviest first, however little their loads differ and however far others are from them."""
    loads = 1 + np.random.default_rng(16).permutation(100) * np.finfo(dtype).eps
    loads[:zeros] = 0
    loads[-2:] = 1e-30, 1e30
    weight = np.stack([loads, np.where(loads > 1, loads, 1)]).astype(dtype)
    for ours, theirs in zip(balanced_packing(weight, 4), balanced_packing(on_gpu(weight), 4), strict=True):
        np.testing.assert_array_equal(ours, on_cpu(theirs))


@pytest.mark.parametrize("tries", [1, 2, 8, 9, 20, 128])
@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_each_node_of_each_try_has_its_turn(tries, nodes):
    """The blocks of a layer place every node of every try once; the first nodes go before the others."""
    turns = [try_and_turn(part, tries, nodes) for part in range(tries * nodes)]
    assert sorted(turns) == [(attempt, turn) for attempt in range(tries) for turn in range(nodes)]
    for attempt in range(tries):
        assert [turn for other, turn in turns if other == attempt] == list(range(nodes))
    late = [turn for attempt, turn in turns if attempt >= 8]
    assert late[: max(0, tries - 8)] == [0] * max(0, tries - 8)


@pytest.mark.skipif(SIMULATED, reason="the simulator runs one block after the other")
def test_blocks_of_one_layer_give_the_same_bits():
    """A node says what its heaviest GPU has come to when that is final; else blocks beside it would give up the best try."""
    policy = replace(POLICIES["optimize_and_2item_swap"], restarts=12, tolerance=0.0, apart="where_cheap")
    generator = np.random.default_rng(0)
    for _ in range(40):
        weight = generator.lognormal(0, 0.3, (1, 18)).astype(np.float32)
        theirs = plan_experts(on_gpu(weight), 30, 6, 2, 6, policy=policy)
        assert_same(theirs, plan_experts(weight, 30, 6, 2, 6, policy=policy))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@each_policy
def test_more_packs_than_lanes_give_the_same_bits(name):
    """Where a warp has fewer lanes than there are packs, nothing changes; nor where replicas have to be kept apart."""
    policy = replace(POLICIES[name], restarts=min(POLICIES[name].restarts, 2), apart="always")
    weight = np.random.default_rng(7).lognormal(0, 1.5, (2, 48)).astype(np.float32)
    weight[1, ::3] = weight[1, 0]  # ties
    theirs = plan_experts(on_gpu(weight), 120, 1, 1, 40, policy=policy)
    assert_same(theirs, plan_experts(weight, 120, 1, 1, 40, policy=policy))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@pytest.mark.parametrize("partners", ["lightest", "first", "best"])
@pytest.mark.parametrize(("slots", "gpus"), [(40, 3), (16, 12)])
def test_large_packs_give_the_same_bits(slots, gpus, partners):
    """Where a warp has fewer lanes than a pack has slots, or than the packs that are looked at have, nothing changes."""
    policy = Policy(swaps=30, partners=partners, heaviest=2, apart="always", tolerance=0.0)
    weight = np.random.default_rng(16).lognormal(0, 1, (6, slots * gpus * 4 // 5)).astype(np.float32)
    weight[1::2] = np.ceil(weight[1::2])  # ties
    shape = slots * gpus, 1, 1, gpus
    assert_same(plan_experts(on_gpu(weight), *shape, policy=policy), plan_experts(weight, *shape, policy=policy))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lasting_plans_of_whole_nodes_give_the_same_bits(dtype):
    """Windows at the size of DeepSeek-V3's layers are the same, where an outlook fits into shared memory and where not."""
    steps = np.random.default_rng(8).lognormal(0, 1, (6, 1, 256)).astype(dtype)
    for groups in (8, 1):
        assert_same(plan_experts(on_gpu(steps), 288, groups, 4, 32), plan_experts(steps, 288, groups, 4, 32))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("slots", "gpus"), [(40, 3), (65, 2)])
def test_lasting_plans_of_large_packs_give_the_same_bits(slots, gpus, dtype):
    """So are windows where a warp has fewer lanes than a GPU has slots."""
    policy = replace(POLICIES["balanced"], starts=1, lasting_swaps=16)
    steps = np.random.default_rng(17).lognormal(0, 1, (5, 2, slots * gpus * 4 // 5)).astype(dtype)
    steps[:, 1] = np.ceil(steps[:, 1])  # ties
    shape = slots * gpus, 1, 1, gpus
    assert_same(plan_experts(on_gpu(steps), *shape, policy=policy), plan_experts(steps, *shape, policy=policy))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
def test_replicas_that_noise_has_parted():
    """Where other items come between replicas of an expert, a pack still takes no more of them than it may."""
    policy = Policy(starts=6, noise=(0.2, 2.0), apart="always", tolerance=0.0)
    weight = np.random.default_rng(13).lognormal(0, 0.5, (40, 12)).astype(np.float32)
    weight[:, :2] *= 4
    assert_same(plan_experts(on_gpu(weight), 24, 1, 1, 6, policy=policy), plan_experts(weight, 24, 1, 1, 6, policy=policy))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
def test_ties_between_pairs_that_lanes_meet_late():
    """Of swaps of two for two that gain as much, the first is found where a lane has several pairs of the light pack."""
    loads = [53, 9, 57, 35, 54, 52, 4, 51, 56, 18, 35, 36, 40, 29, 30, 39, 176, 18, 24, 51, 10, 56, 15, 13]
    weight = np.tile(np.float32(loads), (5, 1))
    policy = Policy(
        pair_swaps=20, tolerance=0.0, least_gain=0.0, pairs="together", pair_partners="lightest", restarts=2, noise=(0.0, 2.0)
    )
    assert_same(plan_experts(on_gpu(weight), 24, 1, 1, 2, policy=policy), plan_experts(weight, 24, 1, 1, 2, policy=policy))


@pytest.mark.parametrize("name", ["balanced", "opt_packing_and_repl"])
def test_starts_that_follow_one_another(name, monkeypatch):
    """Where notes of all starts would take too much memory they are not made beside each other, and nothing changes."""
    monkeypatch.setattr(backend.memory, "MOST_START_BYTES", 0)
    weight = np.random.default_rng(9).lognormal(0, 1, (1, 8)).astype(np.float32)
    for groups in (1, 4):
        theirs = plan_experts(on_gpu(weight), 12, groups, 2, 4, policy=name)
        assert_same(theirs, plan_experts(weight, 12, groups, 2, 4, policy=name))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_starts_of_a_large_plan_are_made_beside_each_other(dtype):
    """What 100 layers of 1280 slots note of 128 starts is not too much: one after the other they take many times as long."""
    tactics = tactics_of(Policy(starts=128), 0, np.dtype(dtype))
    layout, memory = layout_of(Topology(1024, 1280, 1, 40, 320)), backend.memory
    assert memory.allocate(memory.device.empty, 100, layout, tactics, np.dtype(dtype), False).starts is not None


@settings(max_examples=EXAMPLES)
@given(
    data=st.data(),
    name=st.sampled_from(sorted(POLICIES)),
    dtype=st.sampled_from(["float32", "float64"]),
    kind=st.sampled_from(["float32", "int64"]),
)
def test_a_planner_plans_as_on_the_cpu(data, name, dtype, kind):
    """A planner on the GPU gives the CPU planner's plans, always in the same memory."""
    topology = data.draw(topologies())
    policy = replace(QUICK_POLICIES[name], restarts=2, starts=2)
    there = Planner(2, *topology, policy=policy, dtype=dtype, gpu=0)
    here = Planner(2, *topology, policy=policy, dtype=dtype)
    plans = []
    for _ in range(2):
        weight = data.draw(weights(topology[0], dtypes=(np.float32,)))
        if kind == "int64":
            weight = np.minimum(weight, 2.0**50).astype(kind)
        plans.append(there.plan(on_gpu(weight)))
        assert_same(plans[-1], here.plan(weight))
    assert plans[0].phy2log is plans[1].phy2log


def test_strided_weights():
    """A weight whose memory is not contiguous is read as it lies."""
    weight = np.random.default_rng(0).lognormal(0, 1, (8, 3)).astype(np.float32)
    assert_same(plan_experts(on_gpu(weight).T, 12, 1, 1, 4), plan_experts(weight.T, 12, 1, 1, 4))
    if ON_MACHINE:  # neither torch nor the simulator takes arrays that run backwards
        assert_same(plan_experts(on_gpu(weight)[::-1], 3, 1, 1, 1), plan_experts(weight[::-1], 3, 1, 1, 1))


@pytest.mark.parametrize("name", ["balanced", "refine_packing_with_2item_swaps", "optimize_and_2item_swap"])
@pytest.mark.parametrize("num_steps", [1, 3])
def test_shapes_beyond_shared_memory(name, num_steps, monkeypatch):
    """Where shared memory does not do, scratch lies in global memory, and fewer blocks take more problems each."""
    monkeypatch.setattr(backend.memory, "SHARED_BYTES", 0)
    monkeypatch.setattr(backend.memory, "MOST_BLOCKS", 2)
    policy = replace(QUICK_POLICIES[name], apart="always" if name.startswith("refine") else POLICIES[name].apart)
    weight = np.random.default_rng(1).lognormal(0, 1, (num_steps, 3, 8)).astype(np.float32)
    for groups in (1, 4):
        theirs = plan_experts(on_gpu(weight), 12, groups, 2, 4, policy=policy)
        assert_same(theirs, plan_experts(weight, 12, groups, 2, 4, policy=policy))


def test_blocks_that_place_several_tries(monkeypatch):
    """A block with scratch in global memory may take one try of a layer after another; its lanes do not run ahead."""
    monkeypatch.setattr(backend.memory, "SHARED_BYTES", 0)
    monkeypatch.setattr(backend.memory, "MOST_BLOCKS", 3)
    weight = np.random.default_rng(18).lognormal(0, 1, (1, 16)).astype(np.float32)
    for groups in (4, 2):
        policy = replace(POLICIES["optimize_and_2item_swap"], restarts=5)
        theirs = plan_experts(on_gpu(weight), 20, groups, 2, 4, policy=policy)
        assert_same(theirs, plan_experts(weight, 20, groups, 2, 4, policy=policy))


def test_integers_of_32_bits(monkeypatch):
    """So they are where there are more slots or experts than numbers of 16 bits."""
    assert backend.memory._integer_of(layout_of(Topology(4, 2**15, 1, 1, 2**15 // 2))) == np.int32
    assert backend.memory._integer_of(layout_of(Topology(4, 2**15 - 1, 1, 1, 1))) == np.int16
    monkeypatch.setattr(backend.memory, "_integer_of", lambda layout: np.dtype(np.int32))
    weight = np.random.default_rng(17).lognormal(0, 1, (2, 8)).astype(np.float32)
    for groups in (1, 4):
        theirs = plan_experts(on_gpu(weight), 12, groups, 2, 4, policy="deepseek")
        assert_same(theirs, plan_experts(weight, 12, groups, 2, 4, policy="deepseek"))


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
@pytest.mark.parametrize("slots", [17, 33, 46, 64])
@pytest.mark.parametrize("apart", ["freely", "always"])
def test_pairs_in_large_packs(slots, apart):
    """Two items go for two in packs of up to 64 slots, which have many pairs."""
    generator = np.random.default_rng(slots)
    policy = Policy(pair_swaps=6, pair_slots=64, pair_partners="best", pairs="together", apart=apart, tolerance=0.0)
    for weight in (generator.lognormal(0, 1, (1, 2 * slots)), generator.integers(1, 9, (1, 2 * slots))):
        one = weight.astype(np.float32)
        assert_same(
            plan_experts(on_gpu(one), 3 * slots, 1, 1, 3, policy=policy), plan_experts(one, 3 * slots, 1, 1, 3, policy=policy)
        )


@pytest.mark.skipif(SIMULATED, reason="the simulator would take minutes")
def test_single_rows_beyond_shared_memory():
    """A single problem whose scratch does not fit into shared memory does not ask for that much, either."""
    weight = np.random.default_rng(10).lognormal(0, 1, (1, 2048)).astype(np.float32)
    assert_same(
        plan_experts(on_gpu(weight), 2240, 1, 1, 320, policy="deepseek"),
        plan_experts(weight, 2240, 1, 1, 320, policy="deepseek"),
    )
    for theirs, ours in (
        (balanced_packing(on_gpu(weight), 64, policy="deepseek"), balanced_packing(weight, 64, policy="deepseek")),
        (replicate_experts(on_gpu(weight), 2560), replicate_experts(weight, 2560)),
    ):
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(on_cpu(one), other)
    steps = np.random.default_rng(11).lognormal(0, 1, (3, 1, 512))
    policy = replace(POLICIES["balanced"], lasting_swaps=2, lasting_starts=1, swaps=2, starts=1, pair_swaps=0)
    assert_same(plan_experts(on_gpu(steps), 576, 1, 1, 64, policy=policy), plan_experts(steps, 576, 1, 1, 64, policy=policy))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, 1e38])
@pytest.mark.parametrize(("groups", "nodes"), [(1, 1), (4, 2)])
def test_a_layer_that_holds_no_loads_is_marked(bad, groups, nodes):
    """On a GPU, where nobody looks, such a layer is planned as if it had no load; its balancedness is NaN; others are well."""
    weight = np.random.default_rng(2).lognormal(0, 1, (3, 8)).astype(np.float32)
    weight[1, 5] = bad
    plan = plan_experts(on_gpu(weight), 12, groups, nodes, 4)
    weight[1] = 0
    expected = plan_experts(weight, 12, groups, nodes, 4)
    for field in FIELDS[:-1]:
        np.testing.assert_array_equal(on_cpu(getattr(plan, field)), getattr(expected, field))
    assert np.isnan(on_cpu(plan.balancedness)).tolist() == [False, True, False]


def test_a_negative_load_that_rounding_hides_is_marked():
    """A negative load is found even where it is too small to change the sum that it is added to."""
    weight = np.full((2, 1, 8), 1e8, np.float32)
    weight[1, 0, 3] = -1
    assert np.isnan(on_cpu(plan_experts(on_gpu(weight), 12, 1, 1, 4).balancedness)).tolist() == [True]


@pytest.mark.filterwarnings("ignore:overflow encountered")  # the simulator's, where a GPU says nothing
def test_overflowing_integers_are_marked():
    """So is a layer whose steps add up to more than 64 bits hold."""
    weight = np.full((2, 2, 8), 2**40)
    weight[:, 1] = 2**62
    plan = plan_experts(on_gpu(weight), 12, 1, 1, 4)
    assert np.isnan(on_cpu(plan.balancedness)).tolist() == [False, True]


def test_backends_may_be_chosen():
    """backend= plans where it says, and results go back to where the weight lies."""
    weight = np.random.default_rng(3).lognormal(0, 1, (2, 8)).astype(np.float32)
    expected = plan_experts(weight, 12, 1, 1, 4)
    there = plan_experts(weight, 12, 1, 1, 4, backend="cuda")
    assert isinstance(there.phy2log, np.ndarray)
    assert_same_on_cpu(there, expected)
    here = plan_experts(on_gpu(weight), 12, 1, 1, 4, backend="cpu")
    assert type(here.phy2log) is type(on_gpu(weight))
    assert_same(here, expected)
    for one, other in zip(balanced_packing(weight, 2, backend="cuda"), balanced_packing(weight, 2), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_same_on_cpu(theirs, ours):
    """Compare two plans that are both on the CPU."""
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(theirs, field), getattr(ours, field))


@pytest.mark.parametrize("width", [7, 300])
def test_a_fixed_width(width):
    """With a fixed width log2phy is padded on the GPU, too, also where a row is longer than there are lanes."""
    weight = np.random.default_rng(4).lognormal(0, 1, (2, 8)).astype(np.float32)
    _, theirs, _ = rebalance_experts(on_gpu(weight), 12, 1, 1, 4, log2phy_width=width)
    _, ours, _ = rebalance_experts(weight, 12, 1, 1, 4, log2phy_width=width)
    np.testing.assert_array_equal(on_cpu(theirs), ours)


def test_metrics_measure_what_lies_on_a_gpu():
    """Metrics take arrays from a GPU, and give what they measure back there."""
    weight = np.random.default_rng(5).lognormal(0, 1, (2, 8)).astype(np.float32)
    plan = plan_experts(on_gpu(weight), 12, 1, 1, 4)
    loads = metrics.gpu_loads(on_gpu(weight), plan.phy2log, 4)
    np.testing.assert_array_equal(on_cpu(loads), on_cpu(plan.gpu_loads))


def test_old_gpus_are_refused(monkeypatch):
    """A GPU whose warps cannot reduce in one instruction is refused, and the error says what it has."""
    device = SimpleNamespace(compute_capability=(7, 5))
    monkeypatch.setattr(backend.site, "config", SimpleNamespace(ENABLE_CUDASIM=False))
    monkeypatch.setattr(backend.site, "cuda", SimpleNamespace(get_current_device=lambda: device))
    with pytest.raises(RuntimeError, match=r"a GPU must have compute capability 8\.0 or more, but GPU 1 has 7\.5"):
        backend.site._check_capability.__wrapped__(1)


def test_more_items_than_a_choice_can_tell_are_refused():
    """On a GPU the number of a swap has 31 bits; what could exceed it is refused before anything is launched."""
    with pytest.raises(ValueError, match=r"a GPU packs at most 46340 items at once, got 46342"):
        balanced_packing(on_gpu(np.ones((1, 46342), np.float32)), 2)


def test_mistakes():
    """What does not fit together is refused."""
    weight = np.ones((2, 8), np.float32)
    with pytest.raises(ValueError, match=r"weight must lie on GPU 0 like its planner, got one on the CPU"):
        Planner(2, 8, 12, 1, 1, 4, gpu=0).plan(weight)
    with pytest.raises(ValueError, match=r"weight must lie on the CPU like its planner, got one on GPU 0"):
        Planner(2, 8, 12, 1, 1, 4).plan(on_gpu(weight))
    with pytest.raises(ValueError, match=r"gpu must be less than the number of GPUs \(\d+\), got 99"):
        Planner(2, 8, 12, 1, 1, 4, gpu=99)
    with pytest.raises(ValueError, match=r"backend must be one of \('cpu', 'cuda'\), got 'tpu'"):
        plan_experts(weight, 12, 1, 1, 4, backend="tpu")
    with pytest.raises(TypeError, match=r"weight must hold integers .*, got \w+ of \S*complex64"):
        plan_experts(on_gpu(weight.astype(np.complex64)), 12, 1, 1, 4)
