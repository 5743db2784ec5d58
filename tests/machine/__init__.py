"""What does a GPU do with the kernels as they are compiled?  A machine for PTX, on a CPU.

It runs what the compiler made of a kernel, lane by lane, and watches memory and barriers; it knows nothing of Numba's
simulator, which runs the Python source instead.
"""

import ctypes
import hashlib
import math
import os
from contextlib import nullcontext
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import numba.cuda.compiler
import numba.cuda.dispatcher
import numpy as np
from numba import cuda
from numba.cuda import types

from .program import SPECIAL, read_program
from .runner import DEADLOCK, DONE, ENDLESS, OUTSIDE, RACE, run_block

__all__ = ["Kernel", "Memory", "compile_kernel", "install"]

WHY = {
    OUTSIDE: "an access outside of memory",
    RACE: "a race between lanes",
    DEADLOCK: "lanes that wait for each other in different places",
    ENDLESS: "a loop without end",
}


class Memory:
    """An array as a library has it on a GPU, with no more to ask it for than where it lies: in the memory of the CPU."""

    def __init__(self, array):
        self._array = array
        told = array.__array_interface__
        self.__cuda_array_interface__ = {name: told[name] for name in ("data", "shape", "typestr", "strides", "version")}

    def copy_to_host(self):
        """Copy to the CPU."""
        return self._array.copy()


def install(backend):
    """Put this machine in the place of a GPU, which has one stream."""
    kernels, card = backend.KERNELS, backend.device
    backend.KERNELS = type(kernels)(*(Kernel(kernel.py_func) for kernel in kernels))
    device = SimpleNamespace(id=0, compute_capability=(9, 0))
    backend.cuda = backend.site.cuda = SimpleNamespace(gpus={0: nullcontext()}, get_current_device=lambda: device)
    card.empty = lambda shape, dtype: Memory(np.empty(shape, dtype))
    card.carry_over = lambda array: card.see(Memory(array))
    card.stream_of = lambda handle: handle
    card._enter = lambda compiled: compiled
    card.launch = lambda stream, config, compiled, *parameters: compiled.run(config, parameters)


def compile_kernel(function, kinds, capability=(9, 0)):
    """Compile a kernel to PTX for a compute capability, without a GPU; what was compiled once is kept on disk.

    The folder belongs to the package's sources as they are.
    """
    compilers = sorted((found.name, found.version) for found in distributions() if found.name.startswith(("numba", "nvidia")))
    key = hashlib.sha256(
        repr((function.__name__, function.__code__.co_code, kinds, capability, compilers)).encode()
    ).hexdigest()
    kept = Path(os.environ["NUMBA_CACHE_DIR"]) / f"{function.__name__}-{key[:32]}.ptx"
    if not kept.exists():
        # What kernels call is compiled once for each answer; only what makes PTX of it must know the right one.
        device = SimpleNamespace(compute_capability=(9, 0))
        numba.cuda.dispatcher.get_current_device = numba.cuda.compiler.get_current_device = lambda: device
        ptx, _ = cuda.compile_ptx(function, kinds, cc=capability)
        kept.parent.mkdir(parents=True, exist_ok=True)
        being_written = kept.with_suffix(f".{os.getpid()}")
        being_written.write_text(ptx)
        being_written.replace(kept)
    return kept.read_text()


class Kernel:
    """A kernel that is compiled like one of numba.cuda's."""

    def __init__(self, function):
        self._function = function

    def compile(self, kinds):
        """Compile it for arguments of these types."""
        return Compiled(self._function.__name__, read_program(compile_kernel(self._function, kinds)), kinds)


class Compiled:
    """A kernel as it was compiled for arguments of some types.

    Blocks run one after the other, in any order: what they do must not depend on it.  After a run ``cycles`` holds an estimate
    for each block: of use where one form of a rule is compared with another.
    """

    def __init__(self, name, program, kinds):
        self._name, self._program, self._kinds = name, program, kinds

    def run(self, config, parameters):
        """Run all blocks."""
        blocks, lanes, shared_bytes = config.grid[0], config.block[0], config.shmem_size
        assert shared_bytes <= 48 * 1024, "more shared memory than a block gets that has not asked for it"
        program, values = self._program, [_as_bits(parameter) for parameter in parameters]
        assert len(values) == len(program.parameters)
        shared = np.empty(max(8, shared_bytes), np.uint8)
        start = np.zeros(program.num_registers, np.uint64)
        for register, bits in [*zip(program.parameters, values, strict=True), *program.constants.items()]:
            start[register] = bits
        regions = [(shared.ctypes.data, shared.nbytes), *sorted(set(_regions(self._kinds, iter(values))))]
        places = np.array([place for place, _ in regions], np.uint64)
        sizes = np.array([size for _, size in regions])
        offsets = np.concatenate([[0], np.cumsum((sizes + 11) // 4)])
        written, read, earlier = np.zeros((3, offsets[-1], 4), np.int64)
        clocks = np.zeros(lanes, np.int64)
        ready = np.zeros((lanes, program.num_registers), np.int64)
        epochs = np.zeros(1, np.int64)
        self.cycles = np.zeros(blocks, np.int64)
        for block in np.random.default_rng(blocks).permutation(blocks):
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
                raise AssertionError(f"{self._name}, block {block}, lane {lane}: {WHY[how]} at {at}: {line}")
            self.cycles[block] = clocks.max()


def _as_bits(parameter):
    """Give the bits of a parameter."""
    if isinstance(parameter, int):
        return parameter % 2**64
    assert isinstance(parameter, ctypes._SimpleCData), parameter
    return int.from_bytes(bytes(parameter), "little")


def _regions(kinds, values):
    """Give begin and size of each array among the values that kernels are handed for arguments of some types."""
    for kind in kinds:
        if isinstance(kind, types.BaseTuple):
            yield from _regions(kind, values)
        elif isinstance(kind, types.Array):
            _, _, size, itemsize, place = (next(values) for _ in range(5))
            shape, strides = ([next(values) for _ in range(kind.ndim)] for _ in range(2))
            assert itemsize == kind.dtype.bitwidth // 8
            assert size == math.prod(shape)
            # Of an array that runs backwards the strides are negative.
            ways = [(count - 1) * ((step + 2**63) % 2**64 - 2**63) for count, step in zip(shape, strides, strict=True)]
            if size:
                yield place + sum(way for way in ways if way < 0), itemsize + sum(map(abs, ways))
        else:
            next(values)
