"""How does the host deal with a GPU: go there, see what lies there, allocate, copy and launch?

``simulated`` has the same face.
"""

from __future__ import annotations

from typing import Any

from cuda.bindings.driver import cuCtxGetCurrent, cuCtxPushCurrent
from numba import cuda

from .launches import Launch
from .views import address_of, is_dense, part, see, see_window

__all__ = [
    "CAN_MOVE",
    "Launch",
    "address_of",
    "at",
    "carry_back",
    "carry_over",
    "empty",
    "is_dense",
    "part",
    "see",
    "see_window",
]

CAN_MOVE = True  # launches, to other memory


class at:  # noqa: N801  # it is used like a function
    """A GPU that is current while this is entered.  Numba would ask the driver several times for what is nearly always so."""

    __slots__ = ("_context", "_has_entered")

    def __init__(self, gpu: int) -> None:
        self._context = _context_of(gpu)

    def __enter__(self) -> None:
        _, current = cuCtxGetCurrent()  # None where the driver does not answer: then entering says why
        self._has_entered = current is None or int(current) != int(self._context.handle)
        if self._has_entered:
            self._context.push()

    def __exit__(self, *_: object) -> None:
        if self._has_entered:
            self._context.pop()


def _context_of(gpu: int) -> Any:
    """Give the context of a GPU that all its users share."""
    device = cuda.gpus[gpu]
    if device.primary_context is not None:
        return device.primary_context
    _, current = cuCtxGetCurrent()
    context = device.get_primary_context()
    # Numba made it current in the place of the caller's, and took it away again: the caller's is gone.
    if current is not None and int(current) not in (0, int(context.handle)):
        cuCtxPushCurrent(current)
    return context


empty = cuda.device_array


def carry_over(array: Any) -> Any:
    """Carry an array from the CPU to the GPU."""
    return see(cuda.to_device(array))


def carry_back(array: Any) -> Any:
    """Carry an array from the GPU to the CPU."""
    return array.copy_to_host()
