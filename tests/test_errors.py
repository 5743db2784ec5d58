"""Does every mistake get an error that says what must hold and what came?"""

import re

import ml_dtypes
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from eplb_numba import (
    Planner,
    Policy,
    Topology,
    balanced_packing,
    metrics,
    plan_experts,
    rebalance_experts,
    replay,
    replicate_experts,
)

WEIGHT = np.ones((2, 8), np.float32)
NUMBERS = (12, 2, 2, 4)


def with_value(value, dtype=np.float32):
    """Put one bad load among good ones."""
    weight = np.ones((2, 8), dtype)
    weight[1, 3] = value
    return weight


def plan_of_a_fake():
    """Plan for a tensor as compilers of torch use them, which is a type and a shape and nothing else."""
    with FakeTensorMode():
        return plan_experts(torch.ones(2, 8), *NUMBERS)


class OnAnotherDevice:
    """An array that lies on a device of DLPack's type 8."""

    def __dlpack__(self, **options):
        raise BufferError

    def __dlpack_device__(self):
        return 8, 0


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (
            np.ones(8),
            ValueError,
            "weight must have the axes (layers, experts) or (steps, layers, experts), got shape (8,)",
        ),
        (np.ones((1, 1, 1, 8)), ValueError, "got shape (1, 1, 1, 8)"),
        (np.ones((2, 0)), ValueError, "weight must have no empty axis, got shape (2, 0)"),
        (np.ones((0, 0)), ValueError, "got shape (0, 0)"),
        (np.ones((0, 2, 8)), ValueError, "got shape (0, 2, 8)"),
        (with_value(-1), ValueError, "weight must not be negative, infinite or NaN, got -1.0 at (1, 3)"),
        (with_value(-1, np.int32), ValueError, "got -1 at (1, 3)"),
        (with_value(np.nan), ValueError, "got nan at (1, 3)"),
        (with_value(np.inf), ValueError, "got inf at (1, 3)"),
        (np.stack([WEIGHT * 2, with_value(-1)]), ValueError, "got -1.0 at (1, 1, 3)"),
        (torch.full((2, 8), torch.nan), ValueError, "got nan at (0, 0)"),
        (np.full((2, 8), 3e37, np.float32), ValueError, "weight must add up to less than 8.51e+37 in each layer, got 2.4"),
        (np.full((2, 8), 1e308), ValueError, "weight must add up to less than 4.49e+307 in each layer, got inf in layer 0"),
        (np.full((2, 2, 8), 3e38, np.float32), ValueError, "weight must add up to less than 8.51e+37 in each layer, got inf"),
        (np.full((4, 2, 8), 2**62), ValueError, "weight must be at most 2305843009213693951 where 4 steps are added as int64"),
        (
            WEIGHT.astype(complex),
            TypeError,
            "weight must hold integers of up to 64 bits, or floats of 16 to 64 bits, got ndarray of complex128",
        ),
        (WEIGHT.astype(bool), TypeError, "got ndarray of bool"),
        (WEIGHT.astype(object), TypeError, "got ndarray of object"),
        (WEIGHT.astype(np.longdouble), TypeError, "weight must hold integers of up to 64 bits, or floats of 16 to 64 bits"),
        (WEIGHT.astype(ml_dtypes.float8_e5m2), TypeError, "got ndarray of float8_e5m2"),
        (WEIGHT.astype(ml_dtypes.float8_e4m3fn), TypeError, "got ndarray of float8_e4m3fn"),
        (np.ma.masked_less(WEIGHT, 0), TypeError, "weight must not be masked"),
        (WEIGHT.tolist(), TypeError, "weight must be a NumPy array or export DLPack, got list"),
        (None, TypeError, "got NoneType"),
        (torch.ones((2, 8)).to_sparse(), TypeError, "weight must"),
        (torch.ones((2, 8), device="meta"), TypeError, "weight must"),
        (OnAnotherDevice(), TypeError, "weight must be on a CPU or a CUDA GPU (DLPack device types 1 and 2), got type 8"),
    ],
)
@pytest.mark.parametrize("function", [plan_experts, rebalance_experts])
def test_bad_weights(function, weight, error, message):
    """What is not a load is refused, with the place where it stands."""
    with pytest.raises(error, match=re.escape(message)):
        function(weight, *NUMBERS)


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ((13, 2, 2, 4), ValueError, "num_replicas (13) must be a multiple of num_gpus (4)"),
        (
            (4, 2, 2, 4),
            ValueError,
            "num_replicas (4) must be at least the number of experts (8): each expert needs a slot",
        ),
        ((12, 6, 2, 4), ValueError, "the number of experts (8) must be a multiple of num_groups (6)"),
        ((12, 2, 2, 3), ValueError, "num_gpus (3) must be a multiple of num_nodes (2)"),
        ((0, 2, 2, 4), ValueError, "num_replicas must be at least 1, got 0"),
        ((2**40, 2, 2, 4), ValueError, "num_replicas must be less than 2147483648, got 1099511627776"),
        ((12, -2, 2, 4), ValueError, "num_groups must be at least 1, got -2"),
        ((12, 2, 0, 4), ValueError, "num_nodes must be at least 1, got 0"),
        ((12, 2, 2, 0), ValueError, "num_gpus must be at least 1, got 0"),
        ((12.0, 2, 2, 4), TypeError, "num_replicas must be an integer, got 12.0 of type float"),
        ((12, "2", 2, 4), TypeError, "num_groups must be an integer, got '2' of type str"),
        ((12, 2, True, 4), TypeError, "num_nodes must be an integer, got True of type bool"),
        ((12, torch.tensor(True), 2, 4), TypeError, "num_groups must be an integer, got tensor(True) of type Tensor"),
        ((12, 2, 2, None), TypeError, "num_gpus must be an integer, got None of type NoneType"),
        ((12, 2, 2, np.array([4, 4])), TypeError, "num_gpus must be an integer"),
    ],
)
def test_bad_topologies(numbers, error, message):
    """Numbers that do not fit together are refused by name."""
    with pytest.raises(error, match=re.escape(message)):
        rebalance_experts(WEIGHT, *numbers)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"policy": "fastest"}, ValueError, "policy must be one of balanced, deepseek, optimize_and_2item_swap,"),
        ({"policy": 3}, TypeError, "policy must be a Policy or the name of one, got 3 of type int"),
        (
            {"policy": Policy(max_replicas=1)},
            ValueError,
            "max_replicas (1) times the number of experts (8) must be at least",
        ),
        ({"seed": -1}, ValueError, "seed must be within [0, 2**64), got -1"),
        ({"seed": 2**64}, ValueError, "seed must be within [0, 2**64)"),
        ({"seed": 0.5}, TypeError, "seed must be an integer, got 0.5 of type float"),
        (
            {"log2phy_width": 2},
            ValueError,
            "log2phy_width (2) must be at least 3, the most replicas that an expert can get",
        ),
        ({"log2phy_width": 2**40}, ValueError, "log2phy_width must be less than 2147483648, got 1099511627776"),
        ({"log2phy_width": 4.0}, TypeError, "log2phy_width must be an integer"),
        ({"backend": ""}, ValueError, "backend must be one of ('cpu', 'cuda'), got ''"),
    ],
)
def test_bad_options(options, error, message):
    """Options that mean nothing are refused by name."""
    with pytest.raises(error, match=re.escape(message)):
        plan_experts(WEIGHT, *NUMBERS, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"starts": 0}, ValueError, "starts must be within [1, 2147483647], got 0"),
        ({"swaps": -1}, ValueError, "swaps must be within [0, 2147483647], got -1"),
        ({"restarts": 2**31}, ValueError, "restarts must be within [1, 2147483647], got 2147483648"),
        ({"noise": (0.5, "1")}, TypeError, "noise must be a number, got '1' of type str"),
        ({"groups": "plain"}, ValueError, "groups must be one of ('packed', 'either'), got 'plain'"),
        ({"swaps": 1.5}, TypeError, "swaps must be an integer"),
        ({"pair_slots": 65}, ValueError, "pair_slots must be within [0, 64], got 65"),
        ({"noise": (0.5, 2.5)}, ValueError, "noise must be within [0, 2], got 2.5"),
        ({"noise": (1.5, 0.5)}, ValueError, "noise must be an ascending pair"),
        ({"noise": 0.5}, TypeError, "noise must be a pair of numbers, got 0.5"),
        ({"tolerance": -0.1}, ValueError, "tolerance must be within [0, 1], got -0.1"),
        ({"tolerance": float("nan")}, ValueError, "tolerance must be within [0, 1], got nan"),
        ({"tolerance": "0"}, TypeError, "tolerance must be a number, got '0' of type str"),
        ({"partners": "heaviest"}, ValueError, "partners must be one of ('lightest', 'first', 'best'), got 'heaviest'"),
        ({"apart": "never"}, ValueError, "apart must be one of"),
        ({"apart": np.array(["always", "freely"])}, ValueError, "apart must be one of"),
    ],
)
def test_bad_policies(options, error, message):
    """A policy that cannot be followed cannot be made."""
    with pytest.raises(error, match=re.escape(message)):
        Policy(**options)


def test_policies_of_numpy_numbers():
    """NumPy's numbers mean what Python's do."""
    theirs = Policy(starts=np.int32(2), swaps=np.uint8(3), tolerance=np.float32(0.5), noise=np.ones(2))
    assert theirs == Policy(starts=2, swaps=3, tolerance=0.5, noise=(1.0, 1.0))
    assert type(theirs.starts) is int
    np.testing.assert_array_equal(
        plan_experts(WEIGHT, *NUMBERS, policy=theirs).phy2log,
        plan_experts(WEIGHT, *NUMBERS, policy=Policy(starts=2, swaps=3, tolerance=0.5)).phy2log,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: balanced_packing(WEIGHT, 3), "num_packs must divide the number of items (8), got 3"),
        (lambda: balanced_packing(WEIGHT, 0), "num_packs must divide the number of items (8), got 0"),
        (lambda: balanced_packing(np.ones(8), 2), "weight must have the axes (rows, items), got shape (8,)"),
        (lambda: replicate_experts(WEIGHT, 7), "num_phy (7) must be at least the number of experts (8)"),
        (
            lambda: replicate_experts(WEIGHT, 2**31),
            "num_phy (2147483648) must be at least the number of experts (8), and less",
        ),
        (lambda: replicate_experts(-WEIGHT, 9), "weight must not be negative, infinite or NaN"),
        (
            lambda: metrics.gpu_loads(WEIGHT, np.zeros((2, 8), int), 3),
            "num_gpus must divide the number of slots (8), got 3",
        ),
        (lambda: metrics.gpu_loads(WEIGHT, np.zeros((2, 8), int), 2), "but layer 0 lacks expert 1"),
        (lambda: metrics.bound(WEIGHT, np.zeros((2, 8), int), 2), "but layer 0 lacks expert 1"),
        (
            lambda: metrics.gpu_loads(WEIGHT, np.full((2, 8), 8), 2),
            "phy2log must hold experts within [0, 8), got 8 to 8",
        ),
        (
            lambda: metrics.gpu_loads(WEIGHT, np.zeros((3, 8), int), 2),
            "phy2log must have as many layers as weight (2), got 3",
        ),
        (
            lambda: metrics.bound(WEIGHT, np.tile([0, 1, 2, 3, 4, 5, 6, 7, 0, 0], (2, 1)), 2, 2),
            "phy2log must keep each expert",
        ),
        (lambda: Planner(1, 8, *NUMBERS).plan(WEIGHT[:0]), "weight must have no empty axis, got shape (0, 8)"),
        (lambda: metrics.balancedness(WEIGHT[:0], np.zeros((0, 12), int), 4), "weight must have no empty axis"),
        (lambda: Planner(0, 8, *NUMBERS), "num_layers must be at least 1, got 0"),
        (lambda: Planner(2, 8, *NUMBERS, dtype="int32"), "dtype must be float32 or float64, got 'int32'"),
        (lambda: Planner(2, 8, *NUMBERS, dtype="double trouble"), "dtype must be float32 or float64, got 'double trouble'"),
        (lambda: Planner(2, 8, *NUMBERS, dtype=torch.float32), "dtype must be float32 or float64, got torch.float32"),
        (lambda: Planner(2, 8, *NUMBERS, dtype=None), "dtype must be float32 or float64, got None"),
        (lambda: replay(np.full((9, 2, 8), -1), Topology(8, *NUMBERS)), "trace must not be negative, infinite or NaN, got -1"),
        (lambda: replay(WEIGHT, Topology(8, *NUMBERS)), "trace must have the axes (steps, layers, experts), got shape (2, 8)"),
        (lambda: Planner(3, 8, *NUMBERS).plan(WEIGHT), "weight must have 3 layers of 8 experts, got shape (2, 8)"),
        (lambda: Planner(2, 8, *NUMBERS, gpu=-1), "gpu must not be negative, got -1"),
        (lambda: Topology(7, 8, 2, 2, 4), "the number of experts (7) must be a multiple of num_groups (2)"),
    ],
)
def test_bad_calls(call, message):
    """The other functions are as careful."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.gpu_loads(WEIGHT, np.zeros((2, 8)), 2), "phy2log must hold integers, got float64"),
        (
            lambda: Planner(2, 8, *NUMBERS).plan(WEIGHT.astype(float)),
            "weight must not be float64 where its planner plans in float32",
        ),
        (lambda: replay(np.ones((9, 2, 8)), (8, *NUMBERS)), "topology must be a Topology, got (8, 12, 2, 2, 4) of type tuple"),
        (lambda: plan_of_a_fake(), "weight must hold loads, got a FakeTensor of torch.float32, which has no memory"),
    ],
)
def test_bad_types(call, message):
    """So they are about types."""
    with pytest.raises(TypeError, match=re.escape(message)):
        call()
