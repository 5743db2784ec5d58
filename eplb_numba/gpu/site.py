"""Where is a guest served: on which GPU and stream, how are its arrays seen there, and who allocates?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..arrays import LEAST_CAPABILITY, Guest
from ..loads import most_of, planned_loads, planned_steps
from ..rules.placement import Placement, placement_arrays
from ..rules.terms import Layout, Tactics

if config.ENABLE_CUDASIM:
    from . import simulated as device
else:
    from . import card as device  # type: ignore[no-redef]

__all__ = ["Allocator", "Site", "check_gpu", "device", "empty_results", "limits_of", "site_of"]

Allocator = Callable[[tuple[int, ...], Any], Any]


class Site(NamedTuple):
    """Where a guest is served: its weight on the GPU, the stream, and who allocates there."""

    weight: Any  # (steps, layers, experts) to be added up
    steps: Any  # (steps, layers, experts) of a window; what a guest from the CPU brings is added up already
    zero: Any  # in the type in which steps are added up
    top: Any  # the end of that type
    most: float  # what the loads of a layer must add up to less than
    stream: int
    empty: Allocator
    hand_back: Callable[[Any], Any]


@contextmanager
def site_of(guest: Guest, value: np.dtype[Any], tactics: Tactics) -> Iterator[Site]:
    """Go to the GPU of a guest; one from the CPU is carried to the current GPU, and its results back."""
    if guest.gpu is None:
        _check_capability(getattr(cuda.get_current_device(), "id", 0))  # the simulator's has none
        weight = device.carry_over(planned_loads(guest)[np.newaxis])
        steps = device.carry_over(planned_steps(guest, tactics.is_lasting))
        zero, top = value.type(0), value.type(np.inf)

        def hand_back(array: Any) -> Any:
            return guest.hand_back(device.carry_back(array))

        yield Site(weight, steps, zero, top, most_of(value), 0, device.empty, hand_back)
        return
    zero, top = limits_of(guest.dtype, value)
    with device.at(guest.gpu):
        _check_capability(guest.gpu)
        weight = device.see_window(guest.on_gpu)
        yield Site(weight, weight, zero, top, most_of(value), guest.stream, guest.empty, lambda array: array)


@lru_cache(maxsize=64)
def limits_of(kind: np.dtype[Any], value: np.dtype[Any]) -> tuple[Any, Any]:
    """Give zero and the end of the type in which steps of some kind are added up, where they are planned in another type."""
    adds_up_in = value if kind.kind == "f" else np.dtype(np.uint64 if kind.kind == "u" else np.int64)
    return adds_up_in.type(0), adds_up_in.type(np.inf if kind.kind == "f" else np.iinfo(adds_up_in).max)


def check_gpu(gpu: int) -> None:
    """Refuse the number of a GPU that is not there or cannot run the kernels."""
    if gpu >= len(cuda.gpus):
        raise ValueError(f"gpu must be less than the number of GPUs ({len(cuda.gpus)}), got {gpu}")
    with device.at(gpu):
        _check_capability(gpu)


@cache
def _check_capability(gpu: int) -> None:
    """Refuse a current GPU whose warps cannot reduce in one instruction; the simulator's has no warps."""
    capability = cuda.get_current_device().compute_capability
    if capability < LEAST_CAPABILITY and not config.ENABLE_CUDASIM:
        found = ".".join(map(str, capability))
        raise RuntimeError(f"a GPU must have compute capability 8.0 or more, but GPU {gpu} has {found}")


def empty_results(
    site: Site, num_layers: int, layout: Layout, dtype: np.dtype[Any], width: int | None
) -> tuple[Placement, Any]:
    """Let the caller's library allocate what a plan is written to."""
    placement = Placement(*(site.empty(shape, kind) for shape, kind in placement_arrays(num_layers, layout, dtype)))
    shape = (1, 1, 1) if width is None else (num_layers, layout.num_logical, width)
    return placement, site.empty(shape, np.int64)
