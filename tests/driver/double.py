"""What does a driver hear, and what lies on its GPUs?  A double of two GPUs that have the memory of the CPU.

Numba and cuda.core find it where they look for the driver, and compile, allocate, copy and launch through it as they are.
What is launched runs on the machine for PTX.
"""

import ctypes
import re
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numba import cuda

from eplb_numba import arrays
from eplb_numba.gpu import launches

from ..machine import Compiled, read_program
from . import NAME

__all__ = ["Array", "Double", "Launch", "Library"]

SIZES = {"b64": 8, "u64": 8, "s64": 8, "f64": 8, "b32": 4, "u32": 4, "s32": 4, "f32": 4, "b8": 1, "u8": 1}
Listener = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint] * 3, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p)
)


class Launch(NamedTuple):
    """A launch that the driver was asked for."""

    kernel: str
    stream: int
    gpu: int


class Double:
    """The double as this process has loaded it: it notes what is asked for, and runs what is launched."""

    def __init__(self):
        self.launches = []
        self._ready = {}
        self._driver = ctypes.CDLL(NAME)
        self._driver.double_called.restype = ctypes.c_char_p
        self._driver.double_gpu_of.argtypes = [ctypes.c_uint64]
        self._heard = Listener(self._hear)  # which must live as long as the driver may call it
        self._driver.double_listen(self._heard)

    @contextmanager
    def deaf(self):
        """Let the driver refuse launches for a while."""
        self._driver.double_listen(None)
        try:
            yield
        finally:
            self._driver.double_listen(self._heard)

    def calls(self):
        """Give the names of the driver's functions that were called since this was asked last."""
        return self._driver.double_called().decode().split()

    def _hear(self, name, blocks, lanes, shared_bytes, stream, gpu, parameters):
        """Run a kernel; tell the driver whether it went well, and whoever reads the test's output what did not."""
        try:
            kernel, kinds = self._kernel(name.decode())
            values = [int.from_bytes(ctypes.string_at(parameters[at], SIZES[kind]), "little") for at, kind in enumerate(kinds)]
            places = {self._driver.double_gpu_of(value) for value in values}
            assert places <= {-1, gpu}, f"a kernel on GPU {gpu} is handed memory of another one"
            self.launches.append(Launch(kernel.name, stream or 0, gpu))
            kernel.run((blocks, lanes, shared_bytes), values)
        except BaseException as error:  # noqa: BLE001
            print(f"{type(error).__name__}: {error}")
            return False
        return True

    def _kernel(self, entry):
        """Give the kernel that has a name, as the machine reads it, and the types of its parameters."""
        if entry not in self._ready:
            (kernel, *_), compiled = next(item for item in launches._COMPILED.items() if item[1].entry_name == entry)
            ptx = compiled._codelibrary.get_asm_str()
            head, _, _ = ptx.partition(".entry")[2].partition("{")
            kinds = re.findall(r"\.param \.(\w+)", head)
            self._ready[entry] = Compiled(kernel.py_func.__name__, read_program(ptx), compiled.argument_types), kinds
        return self._ready[entry]


class Array:
    """An array of a library that has its memory from the driver."""

    def __init__(self, memory, gpu):
        self._memory, self.device = memory, gpu

    @classmethod
    def of(cls, array, gpu=0):
        """Copy an array to a GPU."""
        with cuda.gpus[gpu]:
            return cls(cuda.to_device(array), gpu)

    def __getattr__(self, name):
        if name in ("shape", "dtype", "ndim", "__cuda_array_interface__"):
            return getattr(self._memory, name)
        raise AttributeError(name)

    def __getitem__(self, index):
        return Array(self._memory[index], self.device)

    def __array_namespace__(self, api_version=None):
        return Library

    def __dlpack__(self, **options):
        raise AssertionError("nobody on a CPU may look at what lies on a GPU")

    def __dlpack_device__(self):
        return 2, self.device

    def to_device(self, device, stream=None):
        """Copy to the CPU."""
        assert device == "cpu"
        with cuda.gpus[self.device]:
            return self._memory.copy_to_host()

    def max(self):
        return self.to_device("cpu").max()


arrays._is_served_on_gpus = lambda array: isinstance(array, Array)


class Library:
    """The library of such arrays."""

    float32, float64, int64, uint8 = np.float32, np.float64, np.int64, np.uint8
    allocations = 0

    @classmethod
    def empty(cls, shape, dtype, device):
        cls.allocations += 1
        with cuda.gpus[device]:
            return Array(cuda.device_array(shape, dtype), device)

    @staticmethod
    def asarray(array, device):
        return Array.of(array, device)

    @staticmethod
    def astype(array, dtype):
        return Array.of(array.to_device("cpu").astype(dtype), array.device)
