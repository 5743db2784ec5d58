"""What only a real GPU can show: memory, streams, capture, and what a sanitizer sees.  ``python -m pytest -m gpu``."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from eplb_numba import POLICIES, Planner, plan_experts, rebalance_experts

pytestmark = pytest.mark.gpu
SHAPE = (58, 256, 288, 8, 4, 32)
LONG = 200_000_000  # cycles that a slow kernel spins


def load(seed):
    """Make a load at DeepSeek-V3's size."""
    return np.random.default_rng(seed).lognormal(0, 1, SHAPE[:2]).astype(np.float32)


def same(theirs, ours):
    """Tell whether a plan on the GPU is the one on the CPU."""
    fields = ("phy2log", "logcnt", "gpu_loads", "bound", "balancedness")
    return all(np.array_equal(getattr(theirs, field).cpu().numpy(), getattr(ours, field)) for field in fields)


@pytest.mark.parametrize("name", POLICIES)
def test_full_size(name):
    """At DeepSeek-V3's size, hierarchical and global, every policy gives the CPU's plan."""
    for groups in (8, 1):
        weight = load(0)
        numbers = (288, groups, 4, 32)
        theirs = plan_experts(torch.from_numpy(weight).cuda(), *numbers, policy=name)
        assert same(theirs, plan_experts(weight, *numbers, policy=name))


def test_large_shapes_use_global_memory():
    """A shape that does not fit into shared memory gives the CPU's plan."""
    weight = np.random.default_rng(1).lognormal(0, 1, (20, 1024))
    theirs = plan_experts(torch.from_numpy(weight).cuda(), 1280, 1, 40, 320)
    assert same(theirs, plan_experts(weight, 1280, 1, 40, 320))


def test_lasting_plans_at_full_size():
    """A window of steps gives the CPU's lasting plan."""
    steps = np.stack([load(seed) for seed in range(8)])
    for groups in (8, 1):
        theirs = plan_experts(torch.from_numpy(steps).cuda(), 288, groups, 4, 32)
        assert same(theirs, plan_experts(steps, 288, groups, 4, 32))


def test_nothing_moves():
    """The weight stays as it is, and a planner's results stay where they are."""
    weight = torch.from_numpy(load(2)).cuda()
    before = weight.clone()
    planner = Planner(*SHAPE, gpu=0)
    pointers = [planner.plan(weight).phy2log.data_ptr() for _ in range(3)]
    assert len(set(pointers)) == 1
    allocated = torch.cuda.memory_allocated()
    planner.plan(weight)
    assert torch.cuda.memory_allocated() == allocated
    assert torch.equal(weight, before)


def test_the_callers_stream_is_kept():
    """A plan on a side stream waits for what that stream still has to write, and the host does not wait for the plan."""
    first, second = load(3), load(4)
    weight, late = torch.from_numpy(first).cuda(), torch.from_numpy(second).cuda()
    rebalance_experts(weight, *SHAPE[2:], log2phy_width=9)  # compiles
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(LONG)
        weight.copy_(late)
        phy2log, _, _ = rebalance_experts(weight, *SHAPE[2:], log2phy_width=9)
        assert not side.query(), "the host waited, or the kernel that was to be slow was not"
    side.synchronize()
    np.testing.assert_array_equal(phy2log.cpu().numpy(), rebalance_experts(second, *SHAPE[2:])[0])


def test_capture_and_replay():
    """A planner is captured in a CUDA graph, and replays plan whatever the buffer holds then."""
    weight = torch.from_numpy(load(5)).cuda()
    planner = Planner(*SHAPE, gpu=0)
    planner.plan(weight)  # compiles, and allocates
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan = planner.plan(weight)
    for seed in (6, 7):
        weight.copy_(torch.from_numpy(load(seed)))
        graph.replay()
        torch.cuda.synchronize()
        assert same(plan, plan_experts(load(seed), *SHAPE[2:]))


def test_warm_compiles_all_that_plans(tmp_path):
    """After warm, a new process compiles no kernel.  Only float32 is tried: `test_driver` looks at the other types."""
    warm = "from eplb_numba.gpu.ahead import ahead; [call() for what, call in ahead(None) if what.startswith('float32 ')]"
    use = """
import torch
from eplb_numba import POLICIES, rebalance_experts
from eplb_numba.gpu.kernels import KERNELS
for kind in (torch.float32, torch.bfloat16):
    steps = torch.randint(1, 9, (3, 4, 256), device="cuda").to(kind)
    for policy in POLICIES:
        for numbers in ((288, 8, 4, 32), (288, 1, 1, 32)):
            rebalance_experts(steps, *numbers, policy=policy)
            rebalance_experts(steps[0], *numbers, policy=policy)
assert sum(sum(kernel.stats.cache_hits.values()) for kernel in KERNELS) > 10
print([kernel.py_func.__name__ for kernel in KERNELS if kernel.stats.cache_misses])
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", warm], check=True, env=environment)
    done = subprocess.run([sys.executable, "-c", use], check=True, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU here")
def test_the_tensors_own_gpu_is_used():
    """A tensor on the second GPU is planned there, whichever GPU is current."""
    weight = load(8)
    with torch.cuda.device(0):
        plan = plan_experts(torch.from_numpy(weight).to("cuda:1"), *SHAPE[2:])
        assert torch.cuda.current_device() == 0
    assert plan.phy2log.device.index == 1
    assert same(plan, plan_experts(weight, *SHAPE[2:]))


def test_the_current_gpu_stays_current():
    """Planning leaves the current GPU as it was, and torch goes on working there."""
    before = torch.cuda.current_device()
    plan_experts(torch.from_numpy(load(9)).cuda(), *SHAPE[2:])
    assert torch.cuda.current_device() == before
    assert torch.ones(3, device="cuda").sum().item() == 3


@pytest.mark.skipif(shutil.which("compute-sanitizer") is None, reason="compute-sanitizer is not installed")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_the_sanitizer_finds_nothing(tool):
    """Plans of every policy on a small shape, lasting ones included, pass the sanitizer's tools."""
    program = """
import numpy as np, torch, eplb_numba
weight = torch.from_numpy(np.random.default_rng(0).lognormal(0, 1, (3, 2, 32)).astype(np.float32)).cuda()
for name in eplb_numba.POLICIES:
    policy = eplb_numba.POLICIES[name]
    if policy.restarts == 1:
        for groups in (1, 4):
            eplb_numba.plan_experts(weight, 40, groups, 2, 8, policy=policy)
torch.cuda.synchronize()
"""
    # CUDA's own bindings ask the driver for functions that it may not have: that is no error of a kernel.
    options = ["--tool", tool, "--error-exitcode", "9"] + ["--report-api-errors", "no"] * (tool == "memcheck")
    command = ["compute-sanitizer", *options, sys.executable, "-c", program]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
