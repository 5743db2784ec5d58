"""How does an array come in from any library, and how do results go back to it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

__all__ = ["Guest", "receive"]

CPU, PINNED = 1, 3  # DLPack's numbers for memory that a CPU may read


class Guest:
    """An array of the caller's, seen as a NumPy array, and the way back to the caller's library.

    Parameters
    ----------
    name : str
        What the caller calls the array, for error messages.
    array : array
        A NumPy array, or an array of any library that exports DLPack from a CPU.

    Attributes
    ----------
    view : numpy.ndarray
        The same memory, not copied unless NumPy has no such type (bfloat16).
    """

    def __init__(self, name: str, array: Any) -> None:
        self._from_dlpack: Callable[[Any], Any] | None = None
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name} must not be masked: the loads under the mask would be lost")
        if isinstance(array, np.ndarray):
            self.view = np.asarray(array)
            return
        if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
            raise TypeError(f"{name} must be a NumPy array or export DLPack, got {type(array).__name__}")
        try:
            device, _ = array.__dlpack_device__()
        except (BufferError, RuntimeError, ValueError) as error:
            raise TypeError(f"{name} must be on a device that DLPack knows, got {describe(array)}: {error}") from error
        if int(device) not in (CPU, PINNED):
            raise TypeError(f"{name} must be on a CPU (DLPack device type {CPU}), got DLPack device type {int(device)}")
        self.view = self._enter(name, array)

    def _enter(self, name: str, array: Any) -> np.ndarray[Any, Any]:
        if getattr(array, "requires_grad", False):
            array = array.detach()
        if array_api_compat.is_array_api_obj(array):
            library = array_api_compat.array_namespace(array)
            self._from_dlpack = library.from_dlpack
            if str(array.dtype).endswith("bfloat16"):  # NumPy has no such type
                array = library.astype(array, library.float32)
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{name} must be an array that NumPy can view, got {describe(array)}: {error}") from error

    def hand_back(self, result: np.ndarray[Any, Any]) -> Any:
        """Give a result to the caller's library, which need not copy it; a library that is not known gets NumPy arrays."""
        return result if self._from_dlpack is None else self._from_dlpack(result)


def receive(name: str, array: Any, num_axes: tuple[int, ...], axes: str) -> Guest:
    """Take an array with one of the given numbers of axes, none of them empty."""
    guest = Guest(name, array)
    if guest.view.ndim not in num_axes:
        raise ValueError(f"{name} must have the axes {axes}, got shape {guest.view.shape}")
    if guest.view.size == 0:
        raise ValueError(f"{name} must have no empty axis, got shape {guest.view.shape}")
    return guest


def describe(array: Any) -> str:
    """Name an array's type and its elements' type."""
    return f"{type(array).__name__} of {getattr(array, 'dtype', 'unknown type')}"
