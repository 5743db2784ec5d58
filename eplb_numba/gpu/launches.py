"""How are kernels launched on a GPU at the least cost?

At each launch Numba would find out the types of all arguments and take every array apart: half a millisecond or more for the
hundreds of numbers that describe a plan.  Here a launch is prepared once: to start it is to copy its parameters and to call
the driver.
"""

from __future__ import annotations

import ctypes
import threading
from array import array as packed
from typing import Any, NamedTuple

import numpy as np
from cuda.bindings.driver import CUfunction, cuLaunchKernel
from numba.cuda.typing.typeof import Purpose, typeof

from .views import View

__all__ = ["Launch"]

ADDRESS = 4  # which of an array's parameters says where it lies
WORD = 8  # bytes of a parameter: whatever is smaller lies at the front
MOST_PARAMETERS = 512  # of a kernel: no more of them are handed over


class Grid(NamedTuple):
    """How many blocks there are in a launch, of how many lanes, with how much shared memory."""

    blocks: int
    lanes: int
    shared_bytes: int


class Launch:
    """A kernel and what it is handed, ready to be started again and again.

    Where each start names an array that the kernel is handed first, ``first`` is such an array.
    """

    def __init__(self, kernel: Any, blocks: int, lanes: int, shared_bytes: int, first: View | None, *arguments: Any) -> None:
        kinds: list[Any] = [kernel, None if first is None else first.kind]
        parameters: list[Any] = []
        self._addresses: list[tuple[int, int, int]] = []
        for argument in arguments:
            _take_apart(argument, kinds, parameters, self._addresses)
        self._parameters = packed("q", map(_as_word, parameters))
        num_parameters = len(parameters) + (0 if first is None else len(first.parameters))
        if num_parameters > MOST_PARAMETERS:
            raise ValueError(f"a kernel must have at most {MOST_PARAMETERS} parameters, got {num_parameters}")
        self._compiled = _compile(kernel, tuple(kinds), arguments if first is None else (first, *arguments))
        self._entry: Any = None
        self._grid = Grid(blocks, lanes, shared_bytes)

    def moved(self, to: dict[int, int]) -> Launch:
        """Give the same launch for arrays in other memory; for each piece of memory, where it was and where it is now."""
        launch = object.__new__(type(self))
        launch._addresses, launch._grid = self._addresses, self._grid
        launch._compiled, launch._entry = self._compiled, self._entry
        launch._parameters = self._parameters[:]
        for place, origin, offset in self._addresses:
            launch._parameters[place] = to[origin] + offset
        return launch

    def start(self, stream: int, first: View | None) -> None:
        """Start it on a stream of the current GPU, which is the same each time."""
        if self._entry is None:
            self._entry = _enter(self._compiled)
        begin, words = 0, _HANDED.words
        if first is not None:
            begin = len(first.parameters)
            words[:begin] = first.parameters
        place, count = self._parameters.buffer_info()
        ctypes.memmove(_HANDED.begin + WORD * begin, place, WORD * count)
        _launch(self._entry, self._grid, stream)


class _Handed(threading.local):
    """Where the driver finds the parameters of a thread's launch, and where each of them lies: it copies them at once."""

    def __init__(self) -> None:
        self.words = (ctypes.c_int64 * MOST_PARAMETERS)()
        self.begin = ctypes.addressof(self.words)
        self._places = (ctypes.c_uint64 * MOST_PARAMETERS)(*range(self.begin, self.begin + WORD * MOST_PARAMETERS, WORD))
        self.places = ctypes.addressof(self._places)


_HANDED = _Handed()


class _Entry(NamedTuple):
    """A kernel as the driver knows it, and what keeps it loaded."""

    function: CUfunction
    kernel: Any


def _launch(entry: _Entry, grid: Grid, stream: int) -> None:
    """Let the driver launch what this thread hands over; how many parameters a kernel has it knows."""
    blocks, lanes, shared_bytes = grid
    (error,) = cuLaunchKernel(entry.function, blocks, 1, 1, lanes, 1, 1, shared_bytes, stream, _HANDED.places, 0)
    if error:
        raise RuntimeError(f"CUDA's driver must launch a kernel of {blocks} blocks, but says {error.name}")


_COMPILED: dict[tuple[Any, ...], Any] = {}


def _compile(kernel: Any, kinds: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
    """Compile a kernel for arguments of such kinds, or find it compiled."""
    if kinds not in _COMPILED:
        _COMPILED[kinds] = kernel.compile(tuple(typeof(argument, Purpose.argument) for argument in arguments))
    return _COMPILED[kinds]


def _enter(compiled: Any) -> _Entry:
    """Give the entry of a compiled kernel on the current GPU, where it is loaded when it is first wanted there."""
    function = compiled._codelibrary.get_cufunc()
    return _Entry(CUfunction(int(function.handle)), function.kernel)


def _as_word(parameter: Any) -> int:
    """Give the word of which a parameter is the front."""
    if isinstance(parameter, int):
        return parameter
    return int.from_bytes(bytes(parameter).ljust(WORD, b"\0"), "little", signed=True)


def _take_apart(argument: Any, kinds: list[Any], parameters: list[Any], addresses: list[tuple[int, int, int]]) -> None:
    """Note of which kind an argument is, and what a kernel is handed for it.

    Of each address among that, note its place, where the memory begins that it points into, and how far in.
    """
    kind = type(argument)
    if kind is View:
        kinds.append(argument.kind)
        addresses.append((len(parameters) + ADDRESS, argument.origin, argument.address - argument.origin))
        parameters += argument.parameters
        return
    kinds.append(kind)
    if kind is int or kind is bool:
        parameters.append(argument)
    elif issubclass(kind, tuple):
        for field in argument:
            _take_apart(field, kinds, parameters, addresses)
    else:
        scalar = np.asarray(argument)
        parameters.append(np.ctypeslib.as_ctypes_type(scalar.dtype)(scalar.item()))
