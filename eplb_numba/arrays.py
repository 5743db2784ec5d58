"""How does an array come in from any library and any device, and how do results go back there?"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import cached_property, lru_cache
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_CAPABILITY", "REAL_NUMBERS", "Guest", "receive"]

REAL_NUMBERS = "integers of up to 64 bits, or floats of 16 to 64 bits"

# DLPack's numbers for memory that a CPU may read, and that a CUDA GPU may.
ON_CPU = {1: "CPU", 3: "pinned CPU"}
ON_GPU = {2: "CUDA", 13: "managed CUDA"}
LEAST_CAPABILITY = (8, 0)  # of a GPU that kernels run on: the lanes of its warps reduce in one instruction


class Guest:
    """An array of the caller's, seen as this package needs it, and the way back to the caller's library and device.

    Parameters
    ----------
    name : str
        What the caller calls the array, for error messages.
    array : array
        A NumPy array, an array of torch or CuPy, or one of any library that exports DLPack from a CPU.

    Attributes
    ----------
    name : str
    gpu : int or None
        The number of the GPU that the array lies on.
    shape : tuple of int
    """

    def __init__(self, name: str, array: Any) -> None:
        self.name = name
        self._array = array
        self._library: Any = None
        self.gpu: int | None = None
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be masked: the loads under the mask would be lost")
        if not isinstance(array, np.ndarray):
            self._recognise()
        self.shape = tuple(int(size) for size in (self.view if self.gpu is None else self._array).shape)

    def _recognise(self) -> None:
        name, array = self.name, self._array
        if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
            raise TypeError(f"{name} must be a NumPy array or export DLPack, got {type(array).__name__}")
        try:
            device, index = (int(number) for number in array.__dlpack_device__())
        except (BufferError, RuntimeError, ValueError) as error:
            raise TypeError(f"{name} must be on a device that DLPack knows, got {_describe(array)}: {error}") from error
        if device not in ON_CPU | ON_GPU:
            raise TypeError(f"{name} must be on a CPU or a CUDA GPU (DLPack device types 1 and 2), got type {device}")
        if type(array).__name__ == "FakeTensor":
            raise TypeError(f"{name} must hold loads, got a {_describe(array)}, which has no memory")
        if getattr(array, "requires_grad", False):
            self._array = array = array.detach()
        if hasattr(array, "resolve_neg"):  # torch may note on a view that its memory holds the loads below zero
            self._array = array = array.resolve_neg()
        if hasattr(array, "_is_zerotensor") and array._is_zerotensor():  # of torch, which nobody has written the zeros of
            self._array = array = array.clone()
        if array_api_compat.is_torch_array(array) and str(array.layout) != "torch.strided":
            raise TypeError(f"{name} must be dense, got a {_describe(array)} in {array.layout}")
        if device in ON_GPU:
            if not _is_served_on_gpus(array):
                raise TypeError(f"{name} on a GPU must be an array of torch or CuPy, got {type(array).__name__}")
            self.gpu = index
        if array_api_compat.is_array_api_obj(array):
            self._library = array_api_compat.array_namespace(array)
            # NumPy has no bfloat16, and on a GPU there is no need for kernels of halves.
            if str(array.dtype).endswith("bfloat16" if self.gpu is None else "float16"):
                # CuPy would make it on the current GPU.
                with array.device if array_api_compat.is_cupy_array(array) else nullcontext():
                    self._array = self._library.astype(array, self._library.float32)

    @cached_property
    def view(self) -> NDArray[Any]:
        """The array as NumPy sees it: the same memory, unless that is on a GPU or NumPy has no such type (bfloat16)."""
        array = self._array
        if isinstance(array, np.ndarray):
            return np.asarray(array)
        try:
            return np.from_dlpack(array if self.gpu is None else array_api_compat.to_device(array, "cpu"))
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{self.name} must be an array that NumPy can view, got {_describe(array)}: {error}") from error

    @property
    def library(self) -> Any:
        """The namespace of the caller's library, or None."""
        return self._library

    @property
    def on_gpu(self) -> Any:
        """The array as it lies on its GPU."""
        return self._array

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, as NumPy names it."""
        if self.gpu is None:
            return self.view.dtype
        try:
            return _as_numpys(self._array.dtype)
        except TypeError as error:
            raise TypeError(f"{self.name} must hold {REAL_NUMBERS}, got {self.description}") from error

    @property
    def description(self) -> str:
        """What came, for error messages."""
        return _describe(self._array)

    @property
    def stream(self) -> int:
        """The stream on which the caller's library works now on the array's GPU; 0 is the default stream."""
        if array_api_compat.is_torch_array(self._array):
            return int(sys.modules["torch"].cuda.current_stream(self.gpu).cuda_stream)
        if array_api_compat.is_cupy_array(self._array):
            return int(sys.modules["cupy"].cuda.get_current_stream(self.gpu).ptr)
        return 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Let the caller's library allocate an array on the array's GPU."""
        return self._library.empty(shape, dtype=_type_of(self._library, dtype), device=self._device)

    @cached_property
    def _device(self) -> Any:
        return array_api_compat.device(self._array)

    def hand_back(self, result: NDArray[Any]) -> Any:
        """Give a result to the caller's library, which need not copy it; a library that is not known gets NumPy arrays."""
        if self._library is None:
            return result
        if self.gpu is None:
            return self._library.from_dlpack(result)
        return self._library.asarray(result, device=self._device)


def receive(name: str, array: Any, num_axes: tuple[int, ...], axes: str, *, may_be_empty: int | None = None) -> Guest:
    """Take an array with one of the given numbers of axes, of which at most one that is named may be empty."""
    guest = Guest(name, array)
    if len(guest.shape) not in num_axes:
        raise ValueError(f"{name} must have the axes {axes}, got shape {guest.shape}")
    if any(size == 0 for axis, size in enumerate(guest.shape, -len(guest.shape)) if axis != may_be_empty):
        raise ValueError(f"{name} must have no empty axis, got shape {guest.shape}")
    return guest


def _is_served_on_gpus(array: Any) -> bool:
    """Tell whether an array is of a library of which it is known on which stream it works."""
    return bool(array_api_compat.is_torch_array(array) or array_api_compat.is_cupy_array(array))


@lru_cache(maxsize=64)
def _type_of(library: Any, dtype: Any) -> Any:
    """Give what a library calls a type of NumPy's."""
    return getattr(library, np.dtype(dtype).name)


@lru_cache(maxsize=64)
def _as_numpys(dtype: Any) -> np.dtype[Any]:
    """Give what NumPy calls a library's type."""
    return np.dtype(str(dtype).rpartition(".")[2])


def _describe(array: Any) -> str:
    """Name an array's type and its elements' type."""
    return f"{type(array).__name__} of {getattr(array, 'dtype', 'unknown type')}"
