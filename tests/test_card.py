"""Is a kernel handed what Numba itself would hand it, and is a launch prepared only once?"""

import ctypes
import os
from threading import Barrier, Thread
from types import SimpleNamespace

import numpy as np
import pytest

if "NUMBA_ENABLE_CUDASIM" in os.environ:
    pytest.skip("Numba's simulator hands arguments over as they are; test_machine runs this", allow_module_level=True)

import numba.cuda.compiler
import numba.cuda.dispatcher
from numba import cuda
from numba.cuda.codegen import CUDACodeLibrary
from numba.cuda.cudadrv.devicearray import DeviceNDArray
from numba.cuda.cudadrv.driver import CudaPythonFunction
from numba.cuda.dispatcher import _Kernel
from numba.cuda.typing.typeof import Purpose, typeof

from eplb_numba import Planner, Topology, plan_experts
from eplb_numba.gpu import card, launches, views
from eplb_numba.policy import POLICIES
from eplb_numba.rules.terms import layout_of, tactics_of

from .test_gpu import assert_same, backend, on_gpu


class Taker:
    """As much of one of Numba's kernels as takes arguments apart."""

    extensions = ()
    _prepare_args = _Kernel._prepare_args


def numbas_array(view):
    """Give Numba's own array for a view."""
    memory = SimpleNamespace(size=view.nbytes, device_ctypes_pointer=ctypes.c_void_p(view.address))
    return DeviceNDArray(view.shape, view.strides, view.dtype, 0, memory)


def as_bytes(parameter):
    """Give the bytes that the driver is handed for a parameter."""
    if isinstance(parameter, bool):
        return bytes([parameter])
    return parameter.to_bytes(8, "little", signed=True) if isinstance(parameter, int) else bytes(parameter)


@pytest.mark.parametrize(
    "argument",
    [
        5,
        True,
        0.1,
        np.float32(0.1),
        np.float64(0.1),
        np.uint64(2**64 - 1),
        np.int64(-(2**63)),
        layout_of(Topology(256, 288, 8, 4, 32)),
        tactics_of(POLICIES["balanced"], 2**64 - 1, np.dtype(np.float32)),
        tactics_of(POLICIES["balanced"], 0, np.dtype(np.float64)),
    ],
)
def test_numbers_are_handed_over_as_numba_does(argument):
    """Numbers, and tuples of them, become the parameters that Numba makes of them."""
    expected, found = [], []
    Taker()._prepare_args(typeof(argument, Purpose.argument), argument, 0, [], expected)
    launches._take_apart(argument, [], found, [])
    assert list(map(as_bytes, found)) == list(map(as_bytes, expected))
    words = [launches._as_word(parameter).to_bytes(8, "little", signed=True) for parameter in found]
    assert all(word.startswith(as_bytes(parameter)) for word, parameter in zip(words, expected, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize(
    ("shape", "strides"),
    [((3, 4), None), ((3, 4), (1, 3)), ((1, 4), (7, 1)), ((2, 1, 3), (3, 9, 1)), ((5,), (2,)), ((0, 4), None)],
)
def test_arrays_are_handed_over_as_numba_does(dtype, shape, strides):
    """Arrays become the parameters that Numba makes of them, and kernels are compiled for the same types."""
    dtype = np.dtype(dtype)
    view = views.View(2**40, shape, dtype, strides and tuple(step * dtype.itemsize for step in strides), None)
    if 0 not in shape:  # for an empty array Numba asks the driver
        array = numbas_array(view)
        expected, found, addresses = [], [0], []
        Taker()._prepare_args(typeof(array, Purpose.argument), array, 0, [], expected)
        launches._take_apart(view, [], found, addresses)
        assert list(map(as_bytes, found[1:])) == list(map(as_bytes, expected))
        assert addresses == [(found.index(view.address), view.address, 0)]
        assert card.is_dense(view) == array.flags["C_CONTIGUOUS"]
    if strides != (1, 3):  # which Numba takes for what it is, in Fortran's order
        assert typeof(view, Purpose.argument) == typeof(np.zeros(shape, dtype), Purpose.argument).copy(
            layout="C" if card.is_dense(view) else "A"
        )


def test_threads_hand_over_parameters_of_their_own(monkeypatch):
    """What a thread hands over stays as it is while another one does so."""
    both_are_here, taken = Barrier(2), {}

    def launch(entry, grid, stream):
        both_are_here.wait(timeout=60)
        taken[stream] = launches._HANDED.words[:]

    monkeypatch.setattr(launches, "_launch", launch)
    monkeypatch.setattr(launches, "_compile", lambda *given: None)
    monkeypatch.setattr(launches, "_enter", lambda compiled: None)
    first = views.View(2**40, (3,), np.dtype(np.float32), None, None)
    handed = {1: (first, 5, 6), 2: (None, 7, 8, 9)}
    starts = [launches.Launch(None, 1, 32, 0, *given).start for given in handed.values()]
    threads = [Thread(target=start, args=(stream, handed[stream][0])) for stream, start in zip(handed, starts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stream, expected in {1: [*first.parameters, 5, 6], 2: [7, 8, 9]}.items():
        assert taken[stream][: len(expected)] == expected


def test_too_many_parameters_are_refused():
    """There is no room for more of them than a kernel can have."""
    with pytest.raises(ValueError, match="a kernel must have at most 512 parameters, got 513"):
        launches.Launch(None, 1, 32, 0, None, *range(513))


def test_parts_lie_within_their_memory():
    """Parts of a piece of memory lie where they were said to, without gaps of their own."""
    memory = views.View(1024, (4096,), np.dtype(np.uint8), None, None)
    part = card.part(memory, 256, (3, 5), np.dtype(np.float64))
    assert part.parameters == (0, 0, 15, 8, 1280, 3, 5, 40, 8)
    addresses = []
    launches._take_apart(part, [], [], addresses)
    assert addresses == [(launches.ADDRESS, 1024, 256)]


@pytest.mark.parametrize("strides", [None, (40, 8), (120, 24)])
@pytest.mark.parametrize("steps", [(), (2,)])
def test_a_weight_is_seen_as_a_window(steps, strides):
    """A weight without steps is seen as one step of a window, dense or with gaps."""
    shape, step = (*steps, 3, 5), None if strides is None else (*((400,) if steps else ()), *strides)
    told = {"data": (1280, False), "shape": shape, "typestr": "<f8", "strides": step}
    view = card.see_window(SimpleNamespace(__cuda_array_interface__=told))
    assert (view.address, view.shape) == (1280, shape if steps else (1, *shape))
    assert view.strides[-2:] == (strides or (40, 8))
    assert view.is_dense == (strides is None or (strides == (40, 8) and not steps))


def test_an_address_is_found_wherever_a_library_tells_it():
    """Torch's arrays are asked for it alone, others for all that they tell."""
    assert card.address_of(SimpleNamespace(__cuda_array_interface__={"data": (1280, False)})) == 1280
    assert card.address_of(SimpleNamespace(data_ptr=lambda: 1280)) == 1280


def test_numba_has_what_is_relied_on(monkeypatch):
    """What is not part of Numba's public face is where it is looked for."""
    assert {"handle", "kernel"} <= set(CudaPythonFunction.__slots__)
    for module in (numba.cuda.compiler, numba.cuda.dispatcher):
        monkeypatch.setattr(module, "get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0)))
    monkeypatch.setattr(_Kernel, "bind", lambda kernel: None)
    monkeypatch.setattr(CUDACodeLibrary, "_ensure_cc", lambda library, cc: (9, 0))
    monkeypatch.setattr(CUDACodeLibrary, "get_cufunc", lambda library: SimpleNamespace(kernel="entry"))
    compiled = cuda.jit(lambda number: None).compile((typeof(1, Purpose.argument),))
    assert compiled._codelibrary.get_cufunc().kernel == "entry"


def test_a_launch_is_prepared_once(monkeypatch):
    """A planner prepares its launches for the first weight of a kind, and only starts them for the next ones."""
    planner = Planner(2, 8, 12, 4, 2, 4, gpu=0)
    first, second = (np.random.default_rng(seed).lognormal(0, 1, (2, 8)).astype(np.float32) for seed in (0, 1))
    planner.plan(on_gpu(first))
    monkeypatch.setattr(backend.device, "Launch", None)
    there = planner.plan(on_gpu(second))
    here = Planner(2, 8, 12, 4, 2, 4).plan(second)
    assert_same(there, here)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_call_moves_its_launches(steps, monkeypatch):
    """Calls for weights of one kind prepare their launches once, and each has memory of its own."""
    first, second = (np.random.default_rng(seed).lognormal(0, 1, (steps, 2, 8)).astype(np.float32) for seed in (2, 3))
    before = plan_experts(on_gpu(first), 12, 4, 2, 4, log2phy_width=5)
    monkeypatch.setattr(backend.device, "Launch", None)
    after = plan_experts(on_gpu(second), 12, 4, 2, 4, log2phy_width=5)
    for theirs, weight in ((before, first), (after, second)):
        assert_same(theirs, plan_experts(weight, 12, 4, 2, 4, log2phy_width=5))
