"""How does the host see what lies on a GPU?  An array is taken apart once, when it is first seen."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba.cuda import types
from numba.cuda.np.numpy_support import from_dtype

__all__ = ["View", "address_of", "is_dense", "part", "see", "see_window"]


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
    return View(*_told_by(array), array)


def see_window(array: Any) -> View:
    """See a weight, (layers, experts) or (steps, layers, experts), as a window, which has steps."""
    address, shape, dtype, strides = _told_by(array)
    if len(shape) == 2:
        strides = None if strides is None else (math.prod(shape) * dtype.itemsize, *strides)
        shape = (1, *shape)
    return View(address, shape, dtype, strides, array)


def _told_by(array: Any) -> tuple[int, tuple[int, ...], np.dtype[Any], tuple[int, ...] | None]:
    """Give address, shape, type and strides of an array."""
    interface = array.__cuda_array_interface__
    address, _ = interface["data"]
    return address, tuple(interface["shape"]), np.dtype(interface["typestr"]), interface.get("strides")


def address_of(array: Any) -> int:
    """Tell where an array lies."""
    if hasattr(array, "data_ptr"):  # torch makes up an interface each time, which takes twenty times as long
        return int(array.data_ptr())
    address, _ = array.__cuda_array_interface__["data"]
    return int(address)


def is_dense(view: View) -> bool:
    """Tell whether an array lies in C order, without gaps."""
    return view.is_dense


def part(memory: View, first_byte: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> View:
    """See an array in a piece of memory."""
    return View(memory.address + first_byte, shape, dtype, None, memory)
