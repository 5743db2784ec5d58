"""How do the rules run on a GPU?  A block of lanes for each problem, on the caller's stream; only this folder says numba.cuda.

It has the face of ``cpu``, and what the two give is the same, bit for bit.  A plan is two launches: each node of each try of a
layer is placed, and the best try of each layer is delivered.  Where there are groups to be assigned to nodes, that is a launch
before; a plan that is to last takes three more.  Nothing is read back, but for the width of log2phy where the caller has not
fixed it: then a last launch lists the slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..arrays import Guest
from ..loads import most_of, planned_dtype, planned_loads, planned_steps
from ..rules.place import Placement, first_try, placement_arrays
from ..rules.rows import Packs, Replicas
from ..rules.scratch import bench_size, outlook_size, stage_size, window_size
from ..rules.terms import Layout, Tactics
from .block import LANES, LASTING_LANES, OFFER_BYTES, SHARED_BYTES
from .kernels import KERNELS, Work

__all__ = ["Workshop", "pack", "plan", "replicate"]

# Numba warns of fewer blocks, and those without a problem end at once; but the simulator runs them one by one.
FEWEST_BLOCKS = 1 if config.ENABLE_CUDASIM else 128
LEAST_CAPABILITY = (8, 0)
MOST_ITEMS = 46340  # to be packed: the number of a swap of two of them has 31 bits
MOST_BLOCKS = 1024  # with scratch of their own; further problems wait for a block

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

    @property
    def intake(self) -> tuple[Any, Any, Any, float]:
        """What a kernel needs to take the weight in."""
        return self.weight, self.zero, self.top, self.most


def plan(guest: Guest, layout: Layout, tactics: Tactics, width: int | None) -> tuple[Placement, Any]:
    """Plan all layers of a weight; give the placement and log2phy, as wide as the largest replica count unless it is fixed."""
    num_layers, num_logical = guest.shape[-2:]
    dtype = planned_dtype(guest)
    with _site_of(guest, dtype, tactics) as site:
        is_lasting = bool(tactics.is_lasting) and len(site.steps) > 1
        work = _allocate(site, num_layers, layout, tactics, dtype, is_lasting)
        placement = Placement(*(site.empty(shape, kind) for shape, kind in placement_arrays(num_layers, layout, dtype)))
        log2phy = None if width is None else site.empty((num_layers, num_logical, width), np.int64)
        _plan(site, layout, tactics, work, placement, log2phy)
        if log2phy is None:
            log2phy = site.empty((num_layers, num_logical, int(site.hand_back(placement.logcnt).max())), np.int64)
            _launch(KERNELS.list_slots, site.stream, num_layers, placement, log2phy)
        return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


class Workshop:
    """Plans all layers of weights of one shape and type, again and again in the same memory of one GPU."""

    def __init__(self, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], width: int, gpu: int) -> None:
        self._layout, self._tactics, self._dtype = layout, tactics, dtype
        with cuda.gpus[gpu]:
            _check_capability(gpu)
            site = Site(None, None, None, None, 0.0, 0, _empty, lambda array: array)
            self._work = _allocate(site, num_layers, layout, tactics, dtype, bool(tactics.is_lasting))
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
            _plan(site, self._layout, self._tactics, self._work, placement, log2phy)
            return Placement(*map(site.hand_back, placement)), site.hand_back(log2phy)


def pack(guest: Guest, layout: Layout, tactics: Tactics) -> Packs:
    """Pack the items of all rows of a weight."""
    with _site_of(guest, planned_dtype(guest), tactics) as site:
        work = _allocate(site, guest.shape[0], layout, tactics, planned_dtype(guest), False)
        packs = Packs(*(site.empty(guest.shape, np.int64) for _ in range(2)))
        _launch(KERNELS.pack, site.stream, guest.shape[0], *site.intake, layout, tactics, work, packs, scratch=work)
        return Packs(*map(site.hand_back, packs))


def replicate(guest: Guest, layout: Layout, tactics: Tactics) -> Replicas:
    """Replicate the experts of all rows of a weight."""
    slots = (guest.shape[0], layout.num_replicas)
    with _site_of(guest, planned_dtype(guest), tactics) as site:
        work = _allocate(site, guest.shape[0], layout, tactics, planned_dtype(guest), False)
        replicas = Replicas(*(site.empty(shape, np.int64) for shape in (slots, slots, guest.shape)))
        _launch(KERNELS.replicate, site.stream, guest.shape[0], *site.intake, layout, work, replicas, scratch=work)
        return Replicas(*map(site.hand_back, replicas))


def _plan(site: Site, layout: Layout, tactics: Tactics, work: Work, placement: Placement, log2phy: Any) -> None:
    """Launch all that decides; slots are listed with it if there is a log2phy already."""
    num_layers, num_tries = work.stage_values.shape[:2]
    lasts = bool(tactics.is_lasting) and len(site.steps) > 1
    lists = log2phy is not None
    listed = log2phy if lists else site.empty((1, 1, 1), np.int64)
    problems = num_layers * num_tries
    if layout.num_groups > layout.num_nodes:
        _launch(KERNELS.assign, site.stream, problems, *site.intake, layout, tactics, work, scratch=work)
    _launch(KERNELS.place, site.stream, problems * layout.num_nodes, *site.intake, layout, tactics, work, scratch=work)
    _launch(KERNELS.deliver, site.stream, num_layers, layout, tactics, work, placement, listed, lists and not lasts)
    if lasts:
        outlooks = min(num_layers * layout.num_nodes, len(work.outlook_values))
        _launch(KERNELS.read_window, site.stream, num_layers, site.steps, layout, work, placement, lanes=LASTING_LANES)
        _launch(KERNELS.outlast, site.stream, outlooks, layout, tactics, work, scratch=work, lanes=LASTING_LANES)
        _launch(KERNELS.deliver_again, site.stream, num_layers, layout, work, placement, listed, lists)


def _launch(
    kernel: Any, stream: Any, problems: int, *arguments: Any, scratch: Work | None = None, lanes: int | None = None
) -> None:
    """Launch a block for each problem or, where blocks have scratch of their own, for as many as have any."""
    shared_bytes = OFFER_BYTES
    if scratch is not None and len(scratch.values) == 1:
        shared_bytes += scratch.values.nbytes + scratch.integers.nbytes
    elif scratch is not None:
        problems = min(problems, len(scratch.values))
    kernel[max(FEWEST_BLOCKS, problems), lanes or LANES, stream, shared_bytes](*arguments)


@contextmanager
def _site_of(guest: Guest, value: np.dtype[Any], tactics: Tactics) -> Iterator[Site]:
    """Go to the GPU of a guest; one from the CPU is carried to the current GPU, and its results back."""
    kind = guest.dtype
    if guest.gpu is None:
        _check_capability(getattr(cuda.get_current_device(), "id", 0))  # the simulator's has none
        weight, steps = _carry_over(planned_loads(guest)[None]), _carry_over(planned_steps(guest, tactics.is_lasting))
        zero, top = value.type(0), value.type(np.inf)
        yield Site(weight, steps, zero, top, most_of(value), 0, _empty, lambda array: guest.hand_back(_carry_back(array)))
        return
    adds_up_in = value if kind.kind == "f" else np.dtype(np.uint64 if kind.kind == "u" else np.int64)
    zero, top = adds_up_in.type(0), adds_up_in.type(np.inf if kind.kind == "f" else np.iinfo(adds_up_in).max)
    with cuda.gpus[guest.gpu]:
        _check_capability(guest.gpu)
        weight = guest.on_gpu if len(guest.shape) == 3 else guest.on_gpu[None]
        stream = cuda.external_stream(guest.stream) if guest.stream else 0
        yield Site(weight, weight, zero, top, most_of(value), stream, guest.empty, lambda array: array)


@cache
def _check_capability(gpu: int) -> None:
    """Refuse a current GPU whose warps cannot reduce in one instruction; the simulator's has no warps."""
    capability = cuda.get_current_device().compute_capability
    if capability < LEAST_CAPABILITY and not config.ENABLE_CUDASIM:
        found = ".".join(map(str, capability))
        raise RuntimeError(f"a GPU must have compute capability 8.0 or more, but GPU {gpu} has {found}")


# In the simulator the memory of the GPU is that of the CPU.
_empty = np.empty if config.ENABLE_CUDASIM else cuda.device_array
_carry_over = np.asarray if config.ENABLE_CUDASIM else cuda.to_device
_carry_back = np.asarray if config.ENABLE_CUDASIM else (lambda array: array.copy_to_host())


def _allocate(site: Site, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], is_lasting: bool) -> Work:
    """Allocate what lies on the GPU beside the weight and the results."""
    if max(layout.node_slots, layout.num_groups) > MOST_ITEMS:
        raise ValueError(f"a GPU packs at most {MOST_ITEMS} items at once, got {max(layout.node_slots, layout.num_groups)}")
    num_tries = tactics.restarts - first_try(layout, tactics)
    stage_values, stage_integers = stage_size(layout)
    num_values, num_integers = bench_size(layout)
    num_values += layout.num_logical  # the loads that were taken in
    fits = num_values * dtype.itemsize + num_integers * 4 <= SHARED_BYTES
    blocks = 1 if fits else max(FEWEST_BLOCKS, min(num_layers * num_tries * layout.num_nodes, MOST_BLOCKS))
    outlook_values, outlook_integers = outlook_size(layout)
    outlook_blocks = max(FEWEST_BLOCKS, min(num_layers * layout.num_nodes, MOST_BLOCKS)) if is_lasting else 1
    return Work(
        stage_values=site.empty((num_layers, num_tries, stage_values), dtype),
        stage_integers=site.empty((num_layers, num_tries, stage_integers), np.int32),
        values=site.empty((blocks, num_values), dtype),
        integers=site.empty((blocks, num_integers), np.int32),
        sound=site.empty((num_layers,), np.int32),
        loads=site.empty((num_layers, layout.num_logical), dtype),
        scenarios=site.empty((num_layers,), np.int32),
        window_values=site.empty((num_layers, window_size(layout) if is_lasting else 1), dtype),
        outlook_values=site.empty((outlook_blocks, outlook_values), dtype),
        outlook_integers=site.empty((outlook_blocks, outlook_integers), np.int32),
    )
