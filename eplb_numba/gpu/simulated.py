"""How does the host deal with Numba's simulator, where the GPU has the memory of the CPU?

It has the face of ``card``, but for what is done with launches that can move; and kernels ask it for shared memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda.simulator import kernel as simulator

__all__ = [
    "CAN_MOVE",
    "Launch",
    "at",
    "carry_back",
    "carry_over",
    "empty",
    "is_dense",
    "part",
    "see",
    "see_window",
    "shared_memory",
]

CAN_MOVE = False  # a launch holds its arrays
at = cuda.gpus.__getitem__
see = carry_over = carry_back = np.asarray
empty = np.empty


def is_dense(array: Any) -> bool:
    """Tell whether an array lies in C order, without gaps."""
    return bool(array.flags["C_CONTIGUOUS"])


def see_window(array: Any) -> Any:
    """See a weight, (layers, experts) or (steps, layers, experts), as a window, which has steps."""
    seen = see(array)
    return seen if seen.ndim == 3 else seen[np.newaxis]


def part(memory: Any, first_byte: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """See an array in a piece of memory."""
    return memory[first_byte : first_byte + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


class Launch:
    """A kernel and what it is handed, ready to be started again and again."""

    def __init__(self, kernel: Any, blocks: int, lanes: int, shared_bytes: int, first: Any, *arguments: Any) -> None:
        del first
        self._launch, self._arguments = kernel[blocks, lanes, 0, shared_bytes], arguments

    def start(self, stream: int, first: Any) -> None:
        """Start it: there is one stream."""
        del stream
        self._launch(*(() if first is None else (first,)), *self._arguments)


def shared_memory(dtype: np.dtype[Any]) -> Any:
    """See the shared memory of the running block as numbers of a type, from within a kernel."""
    return simulator._get_kernel_context().shared.array(0, dtype)
