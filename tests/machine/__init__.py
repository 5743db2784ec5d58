"""What does a GPU do with the kernels as they are compiled?  A machine for PTX, on a CPU.

It runs what the compiler made of a kernel, lane by lane, several blocks in turns, and watches memory and barriers; it knows
nothing of Numba's simulator, which runs the Python source instead.
"""

import ctypes
import hashlib
import math
import os
from contextlib import nullcontext
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numba.cuda.compiler
import numba.cuda.dispatcher
import numpy as np
from numba import cuda
from numba.cuda import types

from .program import SPECIAL, read_program
from .runner import (
    DEADLOCK,
    DONE,
    ENDLESS,
    EPOCH,
    GRAIN,
    MINGLED,
    OUTSIDE,
    OVERWRITTEN,
    PAUSED,
    RACE,
    WARP,
    Block,
    Notes,
    Regions,
    run_block,
)

__all__ = ["Compiled", "Kernel", "Memory", "compile_kernel", "install", "read_program"]

WHY = {
    OUTSIDE: "an access outside of memory",
    RACE: "a race between lanes",
    DEADLOCK: "lanes that wait for each other in different places",
    ENDLESS: "a loop without end",
}
RUBBISH = 0x4BCBCBCBCBCBCBCB
LINE = 128  # bytes at a multiple of which shared memory begins, or more
AT_ONCE = 5  # blocks that take turns
MOST_PATIENCE = 500  # accesses to global memory before another block has its turn


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
    from eplb_numba.gpu import launches

    kernels, card = backend.orders.KERNELS, backend.device
    backend.orders.KERNELS = type(kernels)(*(Kernel(kernel.py_func) for kernel in kernels))
    device = SimpleNamespace(id=0, compute_capability=(9, 0))
    backend.site.cuda = SimpleNamespace(gpus=[device], get_current_device=lambda: device)
    card.at = lambda gpu: nullcontext()
    card.empty = lambda shape, dtype: Memory(np.empty(shape, dtype))
    card.carry_over = lambda array: card.see(Memory(array))
    launches._enter = lambda compiled: compiled

    def launch(compiled, grid, stream):
        words = launches._HANDED.words
        parameters = words[: compiled.num_parameters]
        words[:] = [RUBBISH] * len(words)  # a launch that hands over too little finds nothing of an earlier one
        compiled.run(grid, parameters)

    launches._launch = launch


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

    Blocks begin in any order, and some are on their way at the same time: what they do must not depend on it.  After a run
    ``cycles`` holds an estimate for each block: of use where one form of a rule is compared with another.
    """

    def __init__(self, name, program, kinds):
        self.name, self._program, self._kinds = name, program, kinds
        self.num_parameters = len(program.parameters)

    def run(self, grid, parameters):
        """Run all blocks."""
        blocks, lanes, shared_bytes = grid
        assert shared_bytes <= 48 * 1024, "more shared memory than a block gets that has not asked for it"
        values = [parameter % 2**64 for parameter in parameters]
        assert len(values) == self.num_parameters
        names = {}
        for name, place, size in _regions(self._kinds, iter(values)):
            names.setdefault((place, size), name)
        chance = np.random.default_rng(blocks)
        late = chance.integers(0, [13, 2**30])
        launch = _Launch(self._program, values, lanes, shared_bytes, sorted(names), blocks, late)
        self.cycles = np.zeros(blocks, np.int64)
        # Near the order of their numbers, as on a GPU, or far from it.
        disorder = blocks ** chance.random() * chance.random(blocks)
        waiting = np.argsort(np.arange(blocks) + disorder)[::-1].tolist()
        seats = list(range(launch.seats))
        guests = [launch.begin(seat, waiting.pop(), blocks) for seat in seats]
        while seats:
            seat = seats[chance.integers(len(seats))]
            how, lane, at = launch.go_on(seat, guests[seat], int(MOST_PATIENCE ** chance.random()))
            if how == DONE:
                self.cycles[guests[seat]] = launch.blocks[seat].clocks.max()
                if waiting:
                    guests[seat] = launch.begin(seat, waiting.pop(), blocks)
                else:
                    seats.remove(seat)
            elif how != PAUSED:
                line = self._program.lines[self._program.rows[at, -1]]
                raise AssertionError(f"{self.name}, block {guests[seat]}, lane {lane}: {WHY[how]} at {at}: {line}")
        mingled = {names[region] for region in launch.touched(MINGLED)}
        assert not mingled, f"{self.name}: blocks touch what others write in {mingled}"
        # What a try has come to all may tell that end last together; who sees less of the others leaves a higher level.
        overwritten = {names[region] for region in launch.touched(OVERWRITTEN)} - {"work.ceilings"}
        assert not overwritten, f"{self.name}: blocks write over what others have written in {overwritten}"


class _Launch:
    """The memory of a launch: what its blocks share, and a seat for each of those that are on their way."""

    def __init__(self, program, values, lanes, shared_bytes, regions, blocks, late):
        seats = min(blocks, AT_ONCE)
        self._rows, self._lanes, self._shared_bytes = program.rows, lanes, shared_bytes
        self.seats, self._arrays = seats, regions
        self._start = np.zeros(program.num_registers, np.uint64)
        for register, bits in [*zip(program.parameters, values, strict=True), *program.constants.items()]:
            self._start[register] = bits
        size = max(8, shared_bytes)
        width = -(-size // LINE) * LINE
        memory = np.empty(seats * width + LINE, np.uint8)
        self._shared = memory[-memory.ctypes.data % LINE :][: seats * width].reshape(seats, width)
        sizes = [*[size] * seats, *(size for _, size in regions)]
        offsets = np.concatenate([[0], np.cumsum([size // GRAIN + 4 for size in sizes])])
        self._notes = Notes(
            *np.zeros((3, offsets[-1], 4), np.int64),
            np.zeros((offsets[-1], 9), np.int32),
            np.zeros((blocks, 3), np.int64),
            late,
        )
        self._parts = list(pairwise(offsets[seats:]))
        self._epochs = np.zeros(1, np.int64)
        self._before = [np.frombuffer(ctypes.string_at(*region), np.uint8) for region in regions]
        before = np.array([0, *(kept.ctypes.data for kept in self._before)], np.uint64)
        self._regions, self.blocks = [], []
        for seat in range(seats):
            here = [(self._shared[seat].ctypes.data, size), *regions]
            places, ends = np.array([place for place, _ in here], np.uint64), np.array([sum(one) for one in here], np.uint64)
            self._regions.append(Regions(places, ends, np.array([offsets[seat], *offsets[seats:-1]]), before))
            self.blocks.append(
                Block(
                    registers=np.empty((lanes, program.num_registers), np.uint64),
                    ready=np.empty((lanes, program.num_registers), np.int64),
                    clocks=np.empty(lanes, np.int64),
                    at=np.empty(lanes, np.int64),
                    state=np.empty(lanes, np.int64),
                    warp_epochs=np.empty(-(-lanes // WARP), np.int64),
                    progress=np.empty(10, np.int64),
                    seen=np.empty((blocks, 3), np.int64),
                )
            )

    def begin(self, seat, number, blocks):
        """Let a block begin."""
        block = self.blocks[seat]
        self._shared[seat] = 0x01 if number % 2 else 0xCB  # rubbish: large numbers here, negative ones there
        block.registers[:] = self._start
        for lane in range(self._lanes):
            special = lane, self._lanes, number, blocks, lane % WARP, self._shared_bytes
            block.registers[lane, : len(SPECIAL)] = special
        for array in (block.ready, block.clocks, block.at, block.state, block.progress, block.seen):
            array[:] = 0
        block.warp_epochs[:] = 1
        self._epochs += 1
        block.progress[EPOCH] = self._epochs[0]
        return number

    def go_on(self, seat, number, patience):
        """Let a block go on for a while."""
        return run_block(self._rows, self.blocks[seat], number, self._regions[seat], self._notes, self._epochs, patience)

    def touched(self, how):
        """Give the arrays where blocks have met: one touched what another had written, or the reverse, or both wrote there."""
        touched = self._notes.blocks[:, how]
        return [array for array, (first, last) in zip(self._arrays, self._parts, strict=True) if touched[first:last].any()]


def _regions(kinds, values, owner=""):
    """Give name, begin and size of each array among the values that kernels are handed for arguments of some types."""
    names = getattr(kinds, "fields", range(len(kinds)))
    for name, kind in zip(names, kinds, strict=True):
        if isinstance(kind, types.BaseTuple):
            yield from _regions(kind, values, f"{kind.instance_class.__name__.lower()}.")
        elif isinstance(kind, types.Array):
            _, _, size, itemsize, place = (next(values) for _ in range(5))
            shape, strides = ([next(values) for _ in range(kind.ndim)] for _ in range(2))
            assert itemsize == kind.dtype.bitwidth // 8
            assert size == math.prod(shape)
            # Of an array that runs backwards the strides are negative.
            ways = [(count - 1) * ((step + 2**63) % 2**64 - 2**63) for count, step in zip(shape, strides, strict=True)]
            if size:
                yield f"{owner}{name}", place + sum(way for way in ways if way < 0), itemsize + sum(map(abs, ways))
        else:
            next(values)
