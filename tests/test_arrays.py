"""What may come in, what goes back, and is anything copied that need not be?"""

import ml_dtypes
import numpy as np
import pytest
import torch

from eplb_numba import Planner, metrics, plan_experts, rebalance_experts, replicate_experts
from eplb_numba.loads import planned_loads, receive_weight

NUMBERS = (24, 2, 2, 4)
COUNTS = np.random.default_rng(2).integers(0, 100, (3, 16))
EXPECTED = plan_experts(COUNTS.astype(np.float32), *NUMBERS)

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def assert_same(plan, library=np):
    """Compare with the plan of the same loads in float32."""
    for field in ("phy2log", "log2phy", "logcnt"):
        array = getattr(plan, field)
        assert isinstance(array, library.Tensor if library is torch else np.ndarray)
        assert array.dtype == library.int64
        np.testing.assert_array_equal(np.asarray(array), getattr(EXPECTED, field))


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_numpy_types(dtype):
    """Every integer and float type of NumPy is planned, and only float64 in float64."""
    plan = plan_experts(COUNTS.astype(dtype), *NUMBERS)
    assert_same(plan)
    assert plan.gpu_loads.dtype == (np.float64 if dtype == "float64" else np.float32)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "float16", "bfloat16", "float32", "float64"])
def test_torch_types(dtype):
    """Every integer and float type of torch is planned, and torch tensors come back."""
    plan = plan_experts(torch.from_numpy(COUNTS).to(getattr(torch, dtype)), *NUMBERS)
    assert_same(plan, torch)
    assert plan.gpu_loads.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert all(isinstance(array, torch.Tensor) for array in (plan.bound, plan.balancedness))


@pytest.mark.parametrize(
    "array",
    [
        COUNTS.astype(ml_dtypes.bfloat16),
        COUNTS.astype(">f4"),
        COUNTS.astype(">i8"),
        np.asfortranarray(COUNTS.astype(np.float32)),
        COUNTS.astype(np.float32)[:, ::-1][:, ::-1],
        np.repeat(COUNTS.astype(np.float32), 2, axis=1)[:, ::2],
        -1.0 * -COUNTS.astype(np.float32) * np.where(COUNTS == 0, np.float32(-1.0), np.float32(1.0)),
    ],
    ids=["bfloat16", "big endian", "big-endian integers", "Fortran order", "reversed", "strided", "negative zero"],
)
def test_unusual_numpy_arrays(array):
    """Byte order, memory order, strides and the sign of zero do not matter."""
    assert_same(plan_experts(array, *NUMBERS))


def test_read_only_arrays():
    """A read-only array is planned like any other, without a copy."""
    weight = COUNTS.astype(np.float32)
    weight.flags.writeable = False
    assert_same(plan_experts(weight, *NUMBERS))
    assert planned_loads(receive_weight(weight)).ctypes.data == weight.ctypes.data


def test_unaligned_arrays():
    """Memory that is not aligned is planned like any other."""
    buffer = np.zeros(COUNTS.size * 4 + 1, np.uint8)
    weight = buffer[1:].view(np.float32).reshape(COUNTS.shape)
    weight[:] = COUNTS
    assert_same(plan_experts(weight, *NUMBERS))


def test_unusual_tensors():
    """Tensors that require a gradient, that are expanded or transposed are planned like any other."""
    tensor = torch.from_numpy(COUNTS.astype(np.float32))
    assert_same(plan_experts(tensor.clone().requires_grad_(), *NUMBERS), torch)
    assert_same(plan_experts(tensor.t().contiguous().t(), *NUMBERS), torch)
    expanded = plan_experts(tensor[:1].expand(3, 16), *NUMBERS)
    assert expanded.phy2log[0].tolist() == expanded.phy2log[2].tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contiguous_floats_are_not_copied(dtype):
    """A contiguous float32 or float64 array or tensor is planned where it lies."""
    weight = COUNTS.astype(dtype)
    assert planned_loads(receive_weight(weight)).ctypes.data == weight.ctypes.data
    tensor = torch.from_numpy(weight)
    assert planned_loads(receive_weight(tensor)).ctypes.data == tensor.data_ptr()


def test_results_are_not_copied():
    """Results go back to torch in the memory that was planned in."""
    planner = Planner(3, 16, *NUMBERS)
    theirs = planner.plan(torch.from_numpy(COUNTS))
    ours = planner.plan(COUNTS)
    assert theirs.phy2log.data_ptr() == ours.phy2log.ctypes.data
    assert theirs.gpu_loads.data_ptr() == ours.gpu_loads.ctypes.data


class Exporter:
    """An array of a library that nobody knows."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_unknown_libraries_get_numpy_arrays():
    """Any object that exports DLPack from a CPU is planned; what has no library gets NumPy arrays."""
    weight = Exporter(COUNTS.astype(np.float32))
    weight.layout = "row-major"  # which is not torch's word
    assert_same(plan_experts(weight, *NUMBERS))


class Halves:
    """An array of halves on a GPU, and the library that converts it, where its device is current, and that device."""

    __name__ = "halves"
    shape, ndim, dtype, float32 = (3, 16), 2, np.dtype(np.float16), np.dtype(np.float32)

    def __init__(self):
        self.device, self.is_current, self.converted = self, False, 0

    def __enter__(self):
        self.is_current = True

    def __exit__(self, *reason):
        self.is_current = False

    def __dlpack__(self, **options):
        raise AssertionError("nobody on a CPU may look at what lies on a GPU")

    def __dlpack_device__(self):
        return 2, 1

    def __array_namespace__(self, api_version=None):
        return self

    def astype(self, array, dtype):
        assert array is self
        assert self.is_current
        self.converted += 1
        return array


def test_libraries_on_a_gpu_must_be_known():
    """On a GPU it must be known on which stream a library works."""
    with pytest.raises(TypeError, match="weight on a GPU must be an array of torch or CuPy, got Halves"):
        plan_experts(Halves(), *NUMBERS)


def test_halves_are_converted_on_their_own_gpu(monkeypatch):
    """CuPy allocates on the current GPU: while it converts an array, that is the array's."""
    monkeypatch.setattr("array_api_compat.is_cupy_array", lambda array: isinstance(array, Halves))
    weight = Halves()
    receive_weight(weight)
    assert (weight.converted, weight.is_current) == (1, False)


def test_sparse_arrays_are_refused():
    """What is not dense is refused with what came."""
    with pytest.raises(TypeError, match=r"weight must be dense, got a Tensor of torch\.float32 in torch\.sparse_coo"):
        plan_experts(torch.eye(16).to_sparse(), *NUMBERS)


def test_the_other_functions_speak_torch_too():
    """All public functions give back what they were given."""
    tensor = torch.from_numpy(COUNTS.astype(np.float32))
    assert all(isinstance(result, torch.Tensor) for result in replicate_experts(tensor, 24))
    assert all(isinstance(result, torch.Tensor) for result in rebalance_experts(tensor, *NUMBERS))
    placement = plan_experts(tensor, *NUMBERS).phy2log
    assert isinstance(metrics.gpu_loads(tensor, placement, 4), torch.Tensor)
    assert isinstance(metrics.balancedness(tensor, placement, 4), torch.Tensor)
    assert isinstance(metrics.bound(tensor, placement, 4, 2), torch.Tensor)


def test_steps_of_halves_do_not_overflow():
    """Half-precision steps are summed in float32."""
    steps = np.full((8, 1, 4), 60000, np.float16)
    np.testing.assert_array_equal(plan_experts(steps, 4, 1, 1, 2).gpu_loads, np.full((1, 2), 960000, np.float32))


def test_sums_do_not_depend_on_the_memory_order():
    """Float steps are added one after the other, however they lie in memory."""
    steps = np.random.default_rng(0).lognormal(0, 3, (50, 2, 8)).astype(np.float32)
    assert planned_loads(receive_weight(steps)).tobytes() == planned_loads(receive_weight(np.asfortranarray(steps))).tobytes()


def test_a_fixed_width_pads_log2phy():
    """log2phy_width pads with -1 and changes nothing else."""
    _, wide, _ = rebalance_experts(COUNTS, *NUMBERS, log2phy_width=9)
    assert wide.shape == (3, 16, 9)
    width = EXPECTED.log2phy.shape[2]
    np.testing.assert_array_equal(wide[:, :, :width], EXPECTED.log2phy)
    assert np.all(wide[:, :, width:] == -1)


def test_a_tensor_that_notes_its_sign():
    """Loads that torch keeps below zero in memory, with a note that they are not, are the loads that they stand for."""
    noted = torch.complex(torch.zeros(COUNTS.shape), -torch.from_numpy(COUNTS).float()).conj().imag
    assert noted.is_neg()
    assert_same(plan_experts(noted, *NUMBERS), torch)


def test_a_tensor_that_has_no_memory_for_its_zeros():
    """Zeros that torch has not written anywhere are zeros."""
    zeros = torch._efficientzerotensor(COUNTS.shape)
    assert not np.asarray(plan_experts(zeros, *NUMBERS).gpu_loads).any()


@pytest.mark.parametrize("library", [np, torch])
@pytest.mark.parametrize("width", [None, 9])
def test_no_layers(library, width):
    """A stage of a model that has no layers to plan gets a plan without layers, of the right types and widths."""
    weight = library.zeros((0, 16), dtype=library.int64)
    plan = plan_experts(weight, 24, 0, 2, 4, log2phy_width=width)
    shapes = {
        "phy2log": (24,),
        "log2phy": (16, width or 1),
        "logcnt": (16,),
        "gpu_loads": (4,),
        "bound": (),
        "balancedness": (),
    }
    for field, shape in shapes.items():
        array = getattr(plan, field)
        assert isinstance(array, type(weight))
        assert tuple(array.shape) == (0, *shape)
        assert array.dtype == (library.int64 if field in ("phy2log", "log2phy", "logcnt") else library.float32)
    assert plan_experts(library.zeros((3, 0, 16)), 24, 2, 2, 4).phy2log.shape == (0, 24)
