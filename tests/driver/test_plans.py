"""What does the driver hear of a plan?  `test_driver` runs this where the double is found in the place of a driver."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from numba import cuda

from eplb_numba import POLICIES, Planner, Topology, balanced_packing, plan_experts, rebalance_experts, replicate_experts
from eplb_numba import backend as choosing
from eplb_numba import gpu as backend
from eplb_numba.arrays import Guest
from eplb_numba.gpu import card, launches
from eplb_numba.gpu.ahead import ahead
from eplb_numba.gpu.kernels import KERNELS
from eplb_numba.info import gather_info
from eplb_numba.warm import warm_for_gpu

from .double import Array, Double, Launch, Library

FIELDS = ("phy2log", "log2phy", "logcnt", "gpu_loads", "bound", "balancedness")
NUMBERS = (24, 4, 2, 4)
POLICY = "deepseek"  # the kernels of the others take a minute to compile
NAMES = ["assign_to_nodes", "place_nodes", "deliver_best"]
ENTERING = {"cuCtxPushCurrent", "cuCtxPopCurrent", "cuCtxGetCurrent", "cuCtxGetDevice"}  # and leaving a GPU

double = Double()


@pytest.fixture(autouse=True)
def nothing_heard_yet():
    """Let Numba free memory, which it puts off, while a GPU is current, as it must be; and forget what was heard before."""
    for number in range(2):
        with cuda.gpus[number]:
            cuda.current_context().memory_manager.deallocations.clear()
    cuda.get_current_device()
    double.calls()
    double.launches.clear()


def load(seed):
    """Make a load of two layers."""
    return np.random.default_rng(seed).lognormal(0, 1, (2, 16)).astype(np.float32)


def assert_same(theirs, ours):
    """Compare two plans with ==."""
    for field in FIELDS:
        found = getattr(theirs, field)
        found = found.to_device("cpu") if isinstance(found, Array) else found
        np.testing.assert_array_equal(found, getattr(ours, field), err_msg=field)


def plan(weight):
    """Plan for a weight."""
    return plan_experts(weight, *NUMBERS, policy=POLICY)


@pytest.mark.parametrize("gpu", [0, 1])
def test_plans_are_the_cpus(gpu):
    """A weight on either GPU is planned there, whichever is current, and that one stays current."""
    theirs = plan(Array.of(load(0), gpu))
    assert_same(theirs, plan(load(0)))
    assert theirs.phy2log.device == gpu
    assert double.launches == [Launch(name, 0, gpu) for name in [*NAMES, "list_layers"]]
    assert cuda.get_current_device().id == 0


@pytest.mark.parametrize("gpu", [0, 1])
def test_all_kinds_of_weights(gpu):
    """Steps, integers, halves and arrays with gaps are taken in where they lie."""
    steps = np.stack([load(1), load(2)])
    for weight in (steps, (1000 * steps).astype(np.int64), load(3).astype(np.float16)):
        assert_same(plan(Array.of(weight, gpu)), plan(weight))
    assert_same(plan(Array.of(np.repeat(load(4), 2, axis=1), gpu)[:, ::2]), plan(load(4)))


def test_the_callers_stream_is_kept(monkeypatch):
    """All launches are on the stream of the caller's library."""
    stream = np.zeros(64)
    monkeypatch.setattr(Guest, "stream", stream.ctypes.data)
    assert_same(plan(Array.of(load(5), 1)), plan(load(5)))
    assert double.launches == [Launch(name, stream.ctypes.data, 1) for name in [*NAMES, "list_layers"]]


def test_nothing_is_read_back():
    """With a width for log2phy the host neither waits nor copies."""
    weight, on_gpu = load(6), Array.of(load(6))
    rebalance_experts(on_gpu, *NUMBERS, policy=POLICY, log2phy_width=9)  # compiles
    double.calls()
    theirs = rebalance_experts(on_gpu, *NUMBERS, policy=POLICY, log2phy_width=9)
    # What is freed are arrays that nobody has any more.
    assert set(double.calls()) <= ENTERING | {"cuMemAlloc", "cuLaunchKernel", "cuMemFree"}
    for found, expected in zip(theirs, rebalance_experts(weight, *NUMBERS, policy=POLICY, log2phy_width=9), strict=True):
        np.testing.assert_array_equal(found.to_device("cpu"), expected)


def test_each_call_has_memory_of_its_own(monkeypatch):
    """Launches that were prepared for one call are moved for the next, and what came of the first stays as it is."""
    monkeypatch.setattr(backend, "RECIPES", {})
    for width in (None, 9):
        weights = [load(seed) for seed in range(14, 17)]
        theirs = [plan_experts(Array.of(one, 1), *NUMBERS, policy=POLICY, log2phy_width=width) for one in weights]
        for found, one in zip(theirs, weights, strict=True):
            assert_same(found, plan_experts(one, *NUMBERS, policy=POLICY, log2phy_width=width))
        assert len({one.phy2log.__cuda_array_interface__["data"] for one in theirs}) == 3
    assert len(backend.RECIPES) == 2


def test_few_kinds_of_plans_are_remembered(monkeypatch):
    """Whoever plans for ever new shapes does not fill the memory."""
    monkeypatch.setattr(backend, "RECIPES", {})
    monkeypatch.setattr(backend, "MOST_RECIPES", 2)
    for layers in (1, 2, 1, 3, 2):
        weight = np.concatenate([load(17), load(18)])[:layers]
        assert_same(plan(Array.of(weight)), plan(weight))
        assert 0 < len(backend.RECIPES) <= 2


def test_a_planner_only_launches():
    """From its second plan on a planner does nothing but launch, as is needed where a CUDA graph is captured."""
    there, here = Planner(2, 16, *NUMBERS, policy=POLICY, gpu=1), Planner(2, 16, *NUMBERS, policy=POLICY)
    assert_same(there.plan(Array.of(load(7), 1)), here.plan(load(7)))
    weight = Array.of(load(8), 1)
    double.calls()
    theirs = there.plan(weight)
    assert [name for name in double.calls() if name not in ENTERING] == ["cuLaunchKernel"] * len(NAMES)
    assert_same(theirs, here.plan(load(8)))


def test_a_planner_has_its_memory_from_the_library():
    """Numba allocates nothing for a planner, which may end in a thread where no GPU is current."""
    weight = Array.of(load(12))
    planner = Planner(2, 16, *NUMBERS, policy=POLICY, gpu=0)
    planner.plan(Array.of(load(13)))  # compiles
    planner = Planner(2, 16, *NUMBERS, policy=POLICY, gpu=0)
    double.calls()
    before = Library.allocations
    planner.plan(weight)
    assert double.calls().count("cuMemAlloc") == Library.allocations - before > 0


def test_a_driver_that_cannot_be_asked(monkeypatch):
    """Where the driver does not say which GPU is current, as in a forked process, it is told, and may say why not."""
    monkeypatch.setattr(card, "cuCtxGetCurrent", lambda: (3, None))
    assert_same(plan(Array.of(load(19), 1)), plan(load(19)))
    assert cuda.get_current_device().id == 0


def test_a_launch_that_the_driver_refuses():
    """What the driver says is the error, and the next plan is none the worse for it."""
    with (
        double.deaf(),
        pytest.raises(RuntimeError, match=r"CUDA's driver must launch a kernel .* but says CUDA_ERROR_INVALID_VALUE"),
    ):
        plan(Array.of(load(20)))
    assert_same(plan(Array.of(load(20))), plan(load(20)))


def test_what_is_current_stays_so():
    """Also where Numba comes to a GPU for the first time: it would make that current in the place of the caller's."""
    program = """
from cuda.bindings.driver import cuCtxPopCurrent, cuCtxPushCurrent, cuDevicePrimaryCtxRetain, cuInit
from eplb_numba import Planner
cuInit(0)
(_, first), (_, second) = map(cuDevicePrimaryCtxRetain, (0, 1))
cuCtxPushCurrent(first)
cuCtxPushCurrent(second)
Planner(2, 16, 24, 4, 2, 4, gpu=0)
(_, last), (_, last_but_one) = cuCtxPopCurrent(), cuCtxPopCurrent()
print(int(last) == int(second), int(last_but_one) == int(first))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]


def test_another_thread():
    """A thread that has no context yet plans on the GPU of its weight."""
    plans = []
    thread = Thread(target=lambda: plans.append(plan(Array.of(load(9), 1))))
    thread.start()
    thread.join()
    assert_same(*plans, plan(load(9)))


def test_weights_from_the_cpu():
    """backend="cuda" carries a weight to the current GPU and the plan back, and backend="cpu" the other way round."""
    theirs = plan_experts(load(10), *NUMBERS, policy=POLICY, backend="cuda")
    assert isinstance(theirs.phy2log, np.ndarray)
    assert_same(theirs, plan(load(10)))
    ours = plan_experts(Array.of(load(10), 1), *NUMBERS, policy=POLICY, backend="cpu")
    assert ours.phy2log.device == 1
    assert_same(ours, plan(load(10)))


def test_single_stages():
    """balanced_packing and replicate_experts go the same way."""
    for found, expected in (
        (balanced_packing(Array.of(load(11), 1), 4, policy=POLICY), balanced_packing(load(11), 4, policy=POLICY)),
        (replicate_experts(Array.of(load(11), 1), 20), replicate_experts(load(11), 20)),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.to_device("cpu"), other)


def test_a_gpu_that_is_not_there():
    """A planner for a third GPU is refused with the number of those that there are."""
    with pytest.raises(ValueError, match=r"gpu must be less than the number of GPUs \(2\), got 2"):
        Planner(2, 16, *NUMBERS, gpu=2)


def test_info_names_the_gpu():
    """Info tells which GPU there is, how many of them, and what their driver can do."""
    assert gather_info()["gpu"] == {
        "name": "GPU 0",
        "compute_capability": "9.0",
        "count": 2,
        "driver": "CUDA 13.0",
        "simulated": False,
    }


@pytest.fixture
def compiled(monkeypatch):
    """Note what would be compiled, and for which types; compile nothing, and launch nothing."""
    noted = set()

    def note(kernel, kinds, arguments):
        noted.add((kernel, *(launches.typeof(argument, launches.Purpose.argument) for argument in arguments)))

    monkeypatch.setattr(launches, "_compile", note)
    monkeypatch.setattr(card.Launch, "start", lambda *given: None)
    monkeypatch.setattr(backend, "RECIPES", {})
    monkeypatch.setattr(Array, "max", lambda array: 9)
    return noted


def test_warm_compiles_all_that_plans(compiled):
    """After warm, all that users may call finds its kernels compiled."""
    assert [what for what, _ in warm_for_gpu(None)] == [
        f"{kind} {what}"
        for kind in ("float32", "float64", "int32", "int64")
        for what in ("plans", "lasting plans", "packing", "replication")
    ] + [f"{kind} {what} in float64" for kind in ("float32", "int32", "int64") for what in ("plans", "lasting plans")]
    warmed = compiled.copy()
    assert {kernel for kernel, *_ in warmed} == set(KERNELS)
    policies = [*POLICIES.values(), replace(POLICIES["balanced"], starts=200, restarts=3)]
    shapes = [
        (16, *NUMBERS),
        (16, 24, 1, 1, 4),
        (16, 24, 2, 2, 4),
        (256, 288, 1, 1, 32),
        (256, 288, 8, 4, 32),
        (384, 480, 1, 1, 96),
    ]
    for kind, (experts, *numbers) in product(("float32", "float64", "int32", "int64"), shapes):
        steps = Array.of(np.ones((2, 3, experts), kind))
        for policy, weight in product(policies, (steps, steps[0])):
            for planned in ("float64",) if kind == "float64" else ("float32", "float64"):
                Planner(3, experts, *numbers, policy=policy, dtype=planned, gpu=0).plan(weight)
            for width in (None, numbers[0]):
                rebalance_experts(weight, *numbers, policy=policy, log2phy_width=width)
        for packs in (2, 8):
            balanced_packing(Array.of(np.ones((1, experts), kind)), packs)
        replicate_experts(Array.of(np.ones((1, experts), kind)), numbers[0])
    assert compiled == warmed


@pytest.mark.parametrize(
    "topology",
    [Topology(256, 288, 8, 4, 32), Topology(1024, 1280, 1, 1, 320), Topology(33000, 33024, 1, 1, 8256)],
)
def test_warm_compiles_all_that_plans_for_a_topology(topology, compiled):
    """With a topology it is what that one wants, wherever its scratch fits, and nothing else."""
    experts, *numbers = topology.num_logical, topology.num_replicas, topology.num_groups, topology.num_nodes, topology.num_gpus
    kinds = "float32", "float64", "int32", "int64"
    assert [what for what, _ in warm_for_gpu(None, topology)] == [
        f"{kind} {what}" for kind in kinds for what in ("plans", "lasting plans")
    ] + [f"{kind} {what} in float64" for kind in ("float32", "int32", "int64") for what in ("plans", "lasting plans")]
    warmed = compiled.copy()
    compiled.clear()
    for kind, policy in product(kinds, POLICIES.values()):
        steps = Array.of(np.ones((2, 1, experts), kind))
        for weight in (steps, steps[0]):
            for width in (None, topology.max_replicas):
                rebalance_experts(weight, *numbers, policy=policy, log2phy_width=width)
            Planner(1, experts, *numbers, policy=policy, dtype="float64", gpu=0).plan(weight)
    assert compiled == warmed


@pytest.mark.parametrize("capability", [(9, 0), (8, 0)])
def test_kernels_compiled_where_there_is_no_gpu(capability, tmp_path):
    """What was compiled ahead, in a process without a driver, is found by one that plans on such a GPU, and only there."""
    elsewhere = f"from eplb_numba.gpu.ahead import ahead; dict(ahead({capability}))['float32 replication']()"
    here = """
import numpy as np
from eplb_numba import replicate_experts
from eplb_numba.gpu.kernels import KERNELS
from numba.cuda.cudadrv import driver
from tests.driver.double import Array, Double
double, linked, linker = Double(), [], driver._Linker
driver._Linker = lambda **options: linked.append(options) or linker(**options)
replicate_experts(Array.of(np.ones((1, 16), np.float32)), 24)
stats = KERNELS.replicate.stats
print(len(double.launches), sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), len(linked))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    no_driver = {name: value for name, value in environment.items() if name != "LD_LIBRARY_PATH"}
    subprocess.run([sys.executable, "-c", elsewhere], check=True, env=no_driver)
    done = subprocess.run([sys.executable, "-c", here], check=True, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == (["1", "1", "0", "0"] if capability == (9, 0) else ["1", "0", "1", "1"])


@pytest.mark.parametrize("capability", [(7, 5), (9, 9)])
def test_a_capability_that_cannot_be_compiled_for(capability):
    """It is refused with those that there are."""
    with pytest.raises(ValueError, match=r"must be one of 8\.0, .*9\.0.*, got \d\.\d$"):
        list(ahead(capability))


def test_a_driver_without_gpus(monkeypatch):
    """Where a driver is there but shows no GPU, as one that hides them all, that is the reason."""
    monkeypatch.setattr(cuda, "gpus", [])
    assert gather_info()["backends"]["cuda"] == "missing: numba-cuda finds no GPU"


def test_gpus_that_are_too_old(monkeypatch):
    """Where no GPU can run the kernels, that is the reason why the backend is missing."""
    monkeypatch.setattr(cuda, "gpus", [SimpleNamespace(compute_capability=(7, 0)), SimpleNamespace(compute_capability=(7, 5))])
    reason = "a GPU must have compute capability 8.0 or more, and the best one here has 7.5"
    monkeypatch.setattr(choosing, "_open_cuda", choosing._open_cuda.__wrapped__)  # as if nobody had planned on a GPU before
    assert gather_info()["backends"]["cuda"] == f"missing: {reason}"
    with pytest.raises(RuntimeError, match=reason):
        plan_experts(load(0), *NUMBERS, backend="cuda")


def test_memory_is_given_back():
    """What was allocated for plans is freed, but for what Numba frees a few at a time."""
    for seed in range(60):
        plan(Array.of(load(seed)))
    heard = double.calls()
    assert heard.count("cuMemFree") > 0.9 * heard.count("cuMemAlloc")
