"""How does the host deal with a GPU: see what lies there, allocate, and launch kernels at the least cost?

At each launch Numba would find out the types of all arguments and take every array apart: half a millisecond or more for the
hundreds of numbers that describe a plan.  Here an array is taken apart when it is first seen, and a launch is prepared once;
to start it takes a tenth of that or less.  ``simulated`` has the same face.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from cuda.bindings.driver import cuCtxGetCurrent
from cuda.core import LaunchConfig, Stream, launch
from numba import cuda
from numba.cuda import types
from numba.cuda.np.numpy_support import from_dtype
from numba.cuda.typing.typeof import Purpose, typeof

__all__ = [
    "CAN_MOVE",
    "Launch",
    "View",
    "address_of",
    "as_window",
    "at",
    "carry_back",
    "carry_over",
    "empty",
    "is_dense",
    "part",
    "see",
    "stream_of",
]

CAN_MOVE = True  # launches, to other memory
ADDRESS = 4  # which of an array's parameters says where it lies


class at:  # noqa: N801  # it is used like a function
    """A GPU that is current while this is entered.  Numba would ask the driver several times for what is nearly always so."""

    __slots__ = ("_context", "_has_entered")

    def __init__(self, gpu: int) -> None:
        self._context = cuda.gpus[gpu].get_primary_context()

    def __enter__(self) -> None:
        _, current = cuCtxGetCurrent()  # None where the driver does not answer: then entering says why
        self._has_entered = current is None or int(current) != int(self._context.handle)
        if self._has_entered:
            self._context.push()

    def __exit__(self, *_: object) -> None:
        if self._has_entered:
            self._context.pop()


class View:
    """An array on a GPU, for the host: where it lies, and what a kernel is handed for it."""

    __slots__ = ("_numba_type_", "address", "dtype", "is_dense", "kind", "origin", "owner", "parameters", "shape", "strides")

    def __init__(
        self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any], strides: tuple[int, ...] | None, owner: Any
    ) -> None:
        dense = _dense_strides(shape, dtype.itemsize)
        self.address, self.shape, self.dtype, self.strides, self.owner = address, shape, dtype, strides or dense, owner
        self.origin = owner.address if isinstance(owner, View) else address  # of the memory that it is a part of
        self.is_dense = strides is None or all(
            size == 1 or step == due  # along an axis of length 1 no one takes a step
            for size, step, due in zip(shape, strides, dense, strict=True)
        )
        self.kind, self._numba_type_ = _kind_and_type(dtype, len(shape), self.is_dense)
        # The fields of an array in Numba's kernels: nobody counts references there.
        self.parameters = (0, 0, math.prod(shape), dtype.itemsize, address, *shape, *self.strides)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """The size of a dense array."""
        return math.prod(self.shape) * self.dtype.itemsize


@lru_cache(maxsize=1024)
def _dense_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))


@lru_cache(maxsize=1024)
def _kind_and_type(dtype: np.dtype[Any], num_axes: int, is_dense: bool) -> tuple[str, Any]:
    return f"{dtype.str} {num_axes} {is_dense}", types.Array(from_dtype(dtype), num_axes, "C" if is_dense else "A")


def see(array: Any) -> View:
    """See an array of any library that lies on a GPU."""
    interface = array.__cuda_array_interface__
    address, _ = interface["data"]
    return View(address, tuple(interface["shape"]), np.dtype(interface["typestr"]), interface.get("strides"), array)


def address_of(array: Any) -> int:
    """Tell where an array lies."""
    address, _ = array.__cuda_array_interface__["data"]
    return int(address)


def is_dense(view: View) -> bool:
    """Tell whether an array lies in C order, without gaps."""
    return view.is_dense


def as_window(view: View) -> View:
    """See a weight (layers, experts) as a window of one step."""
    shape, strides = (1, *view.shape), (view.nbytes, *view.strides)
    return View(view.address, shape, view.dtype, strides, view.owner)


def part(memory: View, first_byte: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
    """See an array in a piece of memory."""
    return View(memory.address + first_byte, shape, dtype, None, memory)


def stream_of(handle: int) -> Stream:
    """Give the stream of another library."""
    return Stream.from_handle(handle)


empty = cuda.device_array


def carry_over(array: Any) -> View:
    """Carry an array from the CPU to the GPU."""
    return see(cuda.to_device(array))


def carry_back(array: Any) -> Any:
    """Carry an array from the GPU to the CPU."""
    return array.copy_to_host()


class Launch:
    """A kernel and what it is handed, ready to be started again and again.

    Where each start names an array that the kernel is handed first, ``first`` is such an array.
    """

    def __init__(self, kernel: Any, blocks: int, lanes: int, shared_bytes: int, first: View | None, *arguments: Any) -> None:
        kinds: list[Any] = [kernel, None if first is None else first.kind]
        self._parameters: list[Any] = []
        self._addresses: list[tuple[int, int, int]] = []
        for argument in arguments:
            _take_apart(argument, kinds, self._parameters, self._addresses)
        self._compiled = _compile(kernel, tuple(kinds), arguments if first is None else (first, *arguments))
        self._entry: Any = None
        self._config = LaunchConfig(grid=(blocks, 1, 1), block=(lanes, 1, 1), shmem_size=shared_bytes)

    def moved(self, to: dict[int, int]) -> Launch:
        """Give the same launch for arrays in other memory; for each piece of memory, where it was and where it is now."""
        launch = object.__new__(type(self))
        launch._addresses, launch._config = self._addresses, self._config
        launch._compiled, launch._entry = self._compiled, self._entry
        launch._parameters = self._parameters.copy()
        for place, origin, offset in self._addresses:
            launch._parameters[place] = to[origin] + offset
        return launch

    def start(self, stream: Stream, first: View | None) -> None:
        """Start it on a stream of the current GPU, which is the same each time."""
        if self._entry is None:
            self._entry = _enter(self._compiled)
        if first is None:
            launch(stream, self._config, self._entry, *self._parameters)
        else:
            launch(stream, self._config, self._entry, *first.parameters, *self._parameters)


_COMPILED: dict[tuple[Any, ...], Any] = {}


def _compile(kernel: Any, kinds: tuple[Any, ...], arguments: tuple[Any, ...]) -> Any:
    """Compile a kernel for arguments of such kinds, or find it compiled."""
    if kinds not in _COMPILED:
        _COMPILED[kinds] = kernel.compile(tuple(typeof(argument, Purpose.argument) for argument in arguments))
    return _COMPILED[kinds]


def _enter(compiled: Any) -> Any:
    """Give the entry of a compiled kernel on the current GPU, where it is loaded when it is first wanted there."""
    return compiled._codelibrary.get_cufunc().kernel


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
