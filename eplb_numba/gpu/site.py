"""Where is a guest served: on which GPU and stream, how are its arrays seen there, and who allocates?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..arrays import Guest
from ..loads import most_of, planned_loads, planned_steps
from ..rules.terms import Tactics

__all__ = ["Allocator", "Site", "check_capability", "empty", "see", "site_of"]

LEAST_CAPABILITY = (8, 0)

Allocator = Callable[[tuple[int, ...], Any], Any]


class Site(NamedTuple):
    """Where a guest is served: its weight on the GPU, the stream, and who allocates there."""

    weight: Any  # (steps, layers, experts) to be added up
    steps: Any  # (steps, layers, experts) of a window; what a guest from the CPU brings is added up already
    zero: Any  # in the type in which steps are added up
    top: Any  # the end of that type
    most: float  # what the loads of a layer must add up to less than
    stream: Any
    empty: Allocator
    hand_back: Callable[[Any], Any]


@contextmanager
def site_of(guest: Guest, value: np.dtype[Any], tactics: Tactics) -> Iterator[Site]:
    """Go to the GPU of a guest; one from the CPU is carried to the current GPU, and its results back."""
    kind = guest.dtype
    if guest.gpu is None:
        check_capability(getattr(cuda.get_current_device(), "id", 0))  # the simulator's has none
        loads = planned_loads(guest)
        # Not [None]: a stride of 0 is taken for a gap.
        weight, steps = _carry_over(loads.reshape(1, *loads.shape)), _carry_over(planned_steps(guest, tactics.is_lasting))
        zero, top = value.type(0), value.type(np.inf)
        yield Site(weight, steps, zero, top, most_of(value), 0, empty, lambda array: guest.hand_back(_carry_back(array)))
        return
    adds_up_in = value if kind.kind == "f" else np.dtype(np.uint64 if kind.kind == "u" else np.int64)
    zero, top = adds_up_in.type(0), adds_up_in.type(np.inf if kind.kind == "f" else np.iinfo(adds_up_in).max)
    with cuda.gpus[guest.gpu]:
        check_capability(guest.gpu)
        weight = see(guest.on_gpu if len(guest.shape) == 3 else guest.on_gpu[None])
        stream = cuda.external_stream(guest.stream) if guest.stream else 0
        yield Site(weight, weight, zero, top, most_of(value), stream, guest.empty, lambda array: array)


@cache
def check_capability(gpu: int) -> None:
    """Refuse a current GPU whose warps cannot reduce in one instruction; the simulator's has no warps."""
    capability = cuda.get_current_device().compute_capability
    if capability < LEAST_CAPABILITY and not config.ENABLE_CUDASIM:
        found = ".".join(map(str, capability))
        raise RuntimeError(f"a GPU must have compute capability 8.0 or more, but GPU {gpu} has {found}")


# In the simulator the memory of the GPU is that of the CPU.
empty = np.empty if config.ENABLE_CUDASIM else cuda.device_array
_carry_over = np.asarray if config.ENABLE_CUDASIM else cuda.to_device
_carry_back = np.asarray if config.ENABLE_CUDASIM else (lambda array: array.copy_to_host())


def _see_on_gpu(array: Any) -> Any:
    """See an array of the caller's library as Numba does, once: each launch would do so anew, and wait for some libraries."""
    return cuda.as_cuda_array(array, sync=False)


see = np.asarray if config.ENABLE_CUDASIM else _see_on_gpu
