"""What does a GPU do with the kernels as they are compiled?  A machine for PTX, on a CPU.

It runs what the compiler made of a kernel, lane by lane, and watches memory and barriers; it knows nothing of Numba's
simulator, which runs the Python source instead.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import numba.cuda.compiler
import numba.cuda.dispatcher
import numpy as np
from numba import cuda
from numba.cuda.cudadrv.devicearray import DeviceNDArray
from numba.cuda.typing.typeof import Purpose, typeof

from .program import SPECIAL, read_program
from .runner import DEADLOCK, DONE, ENDLESS, OUTSIDE, RACE, run_block

__all__ = ["Kernel", "compile_kernel", "install"]

WHY = {
    OUTSIDE: "an access outside of memory",
    RACE: "a race between lanes",
    DEADLOCK: "lanes that wait for each other in different places",
    ENDLESS: "a loop without end",
}


class DeviceArray(DeviceNDArray):
    """An array as Numba has it on a GPU, with no more to ask it for than there; its memory is that of the CPU."""

    def __init__(self, array):
        self._array = array
        if array.size:
            memory = SimpleNamespace(size=array.nbytes)
            super().__init__(array.shape, array.strides, array.dtype, 0, memory)
        else:
            self.shape, self.strides, self.dtype, self.size = array.shape, array.strides, array.dtype, 0

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array, dtype)

    def copy_to_host(self):
        """Copy to the CPU."""
        return self._array.copy()


def _see(array):
    return array if isinstance(array, DeviceArray) else DeviceArray(np.asarray(array))


def install(backend):
    """Put this machine in the place of a GPU, which has one stream."""
    kernels = backend.KERNELS
    backend.KERNELS = type(kernels)(*(Kernel(kernel.py_func) for kernel in kernels))
    device = SimpleNamespace(id=0, compute_capability=(9, 0))
    backend.site.cuda = SimpleNamespace(
        gpus={0: nullcontext()}, external_stream=lambda stream: stream, get_current_device=lambda: device
    )
    backend.cuda = backend.site.cuda
    backend.FEWEST_BLOCKS = backend.memory.FEWEST_BLOCKS = 1
    backend.empty = backend.site.empty = lambda shape, dtype: DeviceArray(np.empty(shape, dtype))
    for module in (backend, backend.site, backend.memory):
        module.see = _see
    backend.site._carry_over, backend.site._carry_back = _see, DeviceArray.copy_to_host


def compile_kernel(function, types, capability=(9, 0)):
    """Compile a kernel to PTX as if a GPU of this compute capability were here."""
    device = SimpleNamespace(compute_capability=capability)
    numba.cuda.dispatcher.get_current_device = numba.cuda.compiler.get_current_device = lambda: device
    ptx, _ = cuda.compile_ptx(function, types, cc=capability)
    return ptx


class Kernel:
    """A kernel that is launched like one of numba.cuda's: ``kernel[blocks, lanes, stream, shared_bytes](*arguments)``.

    Afterwards ``cycles`` holds an estimate for each block: of use where one form of a rule is compared with another.
    """

    def __init__(self, function):
        self._function = function
        self._programs = {}

    def __getitem__(self, configuration):
        blocks, lanes, _, shared_bytes = configuration
        return lambda *arguments: self._run(blocks, lanes, shared_bytes, arguments)

    def _run(self, blocks, lanes, shared_bytes, arguments):
        assert shared_bytes <= 48 * 1024, "more shared memory than a block gets that has not asked for it"
        arguments = tuple(map(_as_numpy, arguments))
        types = tuple(typeof(argument, Purpose.argument) for argument in arguments)
        if types not in self._programs:
            self._programs[types] = read_program(compile_kernel(self._function, types))
        program = self._programs[types]
        values, arrays = [], []
        for argument in arguments:
            _flatten(argument, values, arrays)
        assert len(values) == len(program.parameters)
        shared = np.empty(max(8, shared_bytes), np.uint8)
        start = np.zeros(program.num_registers, np.uint64)
        for register, bits in [*zip(program.parameters, values, strict=True), *program.constants.items()]:
            start[register] = bits
        regions = [
            (shared.ctypes.data, shared.nbytes),
            *{(array.ctypes.data, array.nbytes) for array in arrays if array.nbytes},
        ]
        places = np.array([place for place, _ in regions], np.uint64)
        sizes = np.array([size for _, size in regions])
        offsets = np.concatenate([[0], np.cumsum((sizes + 11) // 4)])
        written, read, earlier = np.zeros((3, offsets[-1], 4), np.int64)
        clocks = np.zeros(lanes, np.int64)
        ready = np.zeros((lanes, program.num_registers), np.int64)
        epochs = np.zeros(1, np.int64)
        self.cycles = []
        for block in range(blocks):
            shared[:] = 0x01 if block % 2 else 0xCB  # rubbish: large numbers here, negative ones there
            registers = np.tile(start, (lanes, 1))
            for lane in range(lanes):
                registers[lane, : len(SPECIAL)] = lane, lanes, block, blocks, lane % 32, shared_bytes
            ready[:] = 0
            how, lane, at = run_block(
                program.rows, registers, places[0], places, places + sizes.astype(np.uint64), offsets, written, read,
                earlier, clocks, ready, epochs,
            )  # fmt: skip
            if how != DONE:
                line = program.lines[program.rows[at, -1]]
                raise AssertionError(f"{self._function.__name__}, block {block}, lane {lane}: {WHY[how]} at {at}: {line}")
            self.cycles.append(int(clocks.max()))


def _as_numpy(argument):
    """See arrays of any library as NumPy's."""
    if isinstance(argument, tuple):
        return type(argument)(*map(_as_numpy, argument))
    return np.asarray(argument) if hasattr(argument, "__array__") and not isinstance(argument, np.generic) else argument


def _flatten(argument, values, arrays):
    """Give what a kernel is handed for an argument, as bits."""
    if isinstance(argument, tuple):
        for part in argument:
            _flatten(part, values, arrays)
    elif isinstance(argument, np.ndarray):
        arrays.append(argument)
        values += [0, 0, argument.size, argument.itemsize, argument.ctypes.data, *argument.shape]
        values += [stride % 2**64 for stride in argument.strides]
    elif isinstance(argument, (float, np.floating)):
        wide = np.asarray(argument)
        values.append(int(wide.view(f"u{wide.itemsize}")))
    else:
        values.append(int(argument) % 2**64)
