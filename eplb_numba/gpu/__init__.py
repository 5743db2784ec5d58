"""How do the rules run on a GPU?  A block of lanes for each problem, on the caller's stream; only this folder says numba.cuda.

It has the face of ``cpu``, and what the two give is the same, bit for bit.  A plan is five launches: each layer's loads are
taken in, each of its tries assigns groups to nodes, each node of a try is placed, the best try of each layer is delivered, and
its slots are listed.  A plan that is to last takes three more.  Nothing is read back, but for the width of log2phy where the
caller has not fixed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..arrays import Guest
from ..loads import most_of, planned_dtype, planned_loads, planned_steps
from ..rules.place import Placement, first_try, placement_arrays
from ..rules.rows import Packs, Replicas
from ..rules.scratch import bench_size, outlook_size, stage_size, window_size
from ..rules.terms import Layout, Tactics
from .block import LANES, OFFER_BYTES, SHARED_BYTES
from .kernels import KERNELS, Work

__all__ = ["Workshop", "pack", "plan", "replicate"]

# Numba warns of fewer blocks, and those without a problem end at once; but the simulator runs them one by one.
FEWEST_BLOCKS = 1 if config.ENABLE_CUDASIM else 128
MOST_BLOCKS = 1024  # with scratch of their own; further problems wait for a block

Allocator = Callable[[tuple[int, ...], Any], Any]


class Site(NamedTuple):
    """Where a guest is served: its weight on the GPU, the stream, and who allocates there."""

    weight: Any  # (steps, layers, experts) to be added up
    steps: Any  # (steps, layers, experts) of a window; what a guest from the CPU brings is added up already
    zero: Any  # in the type in which steps are added up
    most: float  # what the loads of a layer must add up to less than
    stream: Any
    empty: Allocator
    hand_back: Callable[[Any], Any]


def plan(guest: Guest, layout: Layout, tactics: Tactics, width: int | None) -> tuple[Placement, Any]:
    """Plan all layers of a weight; give the placement and log2phy, as wide as the largest replica count unless it is fixed."""
    num_layers, num_logical = guest.shape[-2:]
    dtype = planned_dtype(guest)
    with _site_of(guest, dtype, tactics) as site:
        is_lasting = bool(tactics.is_lasting) and len(site.steps) > 1
        work = _allocate(site.empty, num_layers, layout, tactics, dtype, is_lasting)
        placement = Placement(*(site.empty(shape, kind) for shape, kind in placement_arrays(num_layers, layout, dtype)))
        _plan(site, layout, tactics, work, placement)
        most = width or int(site.hand_back(placement.logcnt).max())
        log2phy = site.empty((num_layers, num_logical, most), np.int64)
        _launch(KERNELS.list_slots, site.stream, num_layers, placement, log2phy)
        return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


class Workshop:
    """Plans all layers of weights of one shape and type, again and again in the same memory of one GPU."""

    def __init__(self, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], width: int, gpu: int) -> None:
        self._layout, self._tactics, self._dtype = layout, tactics, dtype
        with cuda.gpus[gpu]:
            self._work = _allocate(_empty, num_layers, layout, tactics, dtype, bool(tactics.is_lasting))
        self._result_arrays = placement_arrays(num_layers, layout, dtype)
        self._log2phy_shape = (num_layers, layout.num_logical, width)
        self._results: dict[Any, tuple[Placement, Any]] = {}

    def plan(self, guest: Guest) -> tuple[Placement, Any]:
        """Plan a weight; give the placement and log2phy, which its library allocates when it first comes."""
        with _site_of(guest, self._dtype, self._tactics) as site:
            if guest.library not in self._results:
                placement = Placement(*(site.empty(shape, kind) for shape, kind in self._result_arrays))
                self._results[guest.library] = placement, site.empty(self._log2phy_shape, np.int64)
            placement, log2phy = self._results[guest.library]
            _plan(site, self._layout, self._tactics, self._work, placement)
            _launch(KERNELS.list_slots, site.stream, len(log2phy), placement, log2phy)
            return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


def pack(guest: Guest, layout: Layout, tactics: Tactics) -> Packs:
    """Pack the items of all rows of a weight."""
    shapes = [guest.shape] * 2
    return Packs(*_run_rows(KERNELS.pack, guest, layout, tactics, Packs, shapes))


def replicate(guest: Guest, layout: Layout, tactics: Tactics) -> Replicas:
    """Replicate the experts of all rows of a weight."""
    slots = (guest.shape[0], layout.num_replicas)
    return Replicas(*_run_rows(KERNELS.replicate, guest, layout, tactics, Replicas, [slots, slots, guest.shape]))


def _run_rows(
    kernel: Any, guest: Guest, layout: Layout, tactics: Tactics, results: Any, shapes: list[tuple[int, ...]]
) -> list[Any]:
    """Run a kernel over the rows of a weight and give its results."""
    dtype = planned_dtype(guest)
    with _site_of(guest, dtype, tactics) as site:
        work = _allocate(site.empty, guest.shape[0], layout, tactics, dtype, False)
        arrays = results(*(site.empty(shape, np.int64) for shape in shapes))
        _take_in(site, work)
        _launch(kernel, site.stream, guest.shape[0], layout, tactics, work, arrays, scratch=work)
        return [site.hand_back(array) for array in arrays]


def _plan(site: Site, layout: Layout, tactics: Tactics, work: Work, placement: Placement) -> None:
    """Launch all that decides."""
    num_layers, num_tries = work.stage_values.shape[:2]
    problems = num_layers * num_tries
    _take_in(site, work)
    _launch(KERNELS.assign, site.stream, problems, layout, tactics, work, scratch=work)
    _launch(KERNELS.place, site.stream, problems * layout.num_nodes, layout, tactics, work, scratch=work)
    _launch(KERNELS.deliver, site.stream, num_layers, layout, tactics, work, placement)
    if tactics.is_lasting and len(site.steps) > 1:
        outlooks = min(num_layers * layout.num_nodes, len(work.outlook_values))
        _launch(KERNELS.read_window, site.stream, num_layers, site.steps, layout, work, placement)
        _launch(KERNELS.outlast, site.stream, outlooks, layout, tactics, work, scratch=work)
        _launch(KERNELS.deliver_again, site.stream, num_layers, layout, work, placement)


def _take_in(site: Site, work: Work) -> None:
    _launch(KERNELS.take_in, site.stream, len(work.loads), site.weight, site.zero, site.most, work)


def _launch(kernel: Any, stream: Any, problems: int, *arguments: Any, scratch: Work | None = None) -> None:
    """Launch a block for each problem or, where blocks have scratch of their own, for as many as have any."""
    shared_bytes = OFFER_BYTES
    if scratch is not None and len(scratch.values) == 1:
        shared_bytes += scratch.values.nbytes + scratch.integers.nbytes
    elif scratch is not None:
        problems = min(problems, len(scratch.values))
    kernel[max(FEWEST_BLOCKS, problems), LANES, stream, shared_bytes](*arguments)


@contextmanager
def _site_of(guest: Guest, value: np.dtype[Any], tactics: Tactics) -> Iterator[Site]:
    """Go to the GPU of a guest; one from the CPU is carried to the current GPU, and its results back."""
    kind = guest.dtype
    if guest.gpu is None:
        weight, steps = _carry_over(planned_loads(guest)[None]), _carry_over(planned_steps(guest, tactics.is_lasting))
        yield Site(weight, steps, value.type(0), most_of(value), 0, _empty, lambda array: guest.hand_back(_carry_back(array)))
        return
    zero = value.type(0) if kind.kind == "f" else (np.uint64(0) if kind.kind == "u" else np.int64(0))
    with cuda.gpus[guest.gpu]:
        weight = guest.on_gpu if len(guest.shape) == 3 else guest.on_gpu[None]
        stream = cuda.external_stream(guest.stream) if guest.stream else 0
        yield Site(weight, weight, zero, most_of(value), stream, guest.empty, lambda array: array)


# In the simulator the memory of the GPU is that of the CPU.
_empty = np.empty if config.ENABLE_CUDASIM else cuda.device_array
_carry_over = np.asarray if config.ENABLE_CUDASIM else cuda.to_device
_carry_back = np.asarray if config.ENABLE_CUDASIM else (lambda array: array.copy_to_host())


def _allocate(
    empty: Allocator, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], is_lasting: bool
) -> Work:
    """Allocate what lies on the GPU beside the weight and the results."""
    num_tries = tactics.restarts - first_try(layout, tactics)
    stage_values, stage_integers = stage_size(layout)
    num_values, num_integers = bench_size(layout)
    fits = num_values * dtype.itemsize + num_integers * 4 <= SHARED_BYTES
    blocks = 1 if fits else max(FEWEST_BLOCKS, min(num_layers * num_tries * layout.num_nodes, MOST_BLOCKS))
    outlook_values, outlook_integers = outlook_size(layout)
    outlook_blocks = max(FEWEST_BLOCKS, min(num_layers * layout.num_nodes, MOST_BLOCKS)) if is_lasting else 1
    return Work(
        loads=empty((num_layers, layout.num_logical), dtype),
        sound=empty((num_layers,), np.int32),
        stage_values=empty((num_layers, num_tries, stage_values), dtype),
        stage_integers=empty((num_layers, num_tries, stage_integers), np.int32),
        values=empty((blocks, num_values), dtype),
        integers=empty((blocks, num_integers), np.int32),
        scenarios=empty((num_layers,), np.int32),
        window_values=empty((num_layers, window_size(layout) if is_lasting else 1), dtype),
        outlook_values=empty((outlook_blocks, outlook_values), dtype),
        outlook_integers=empty((outlook_blocks, outlook_integers), np.int32),
    )
