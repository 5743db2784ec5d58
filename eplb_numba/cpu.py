"""How do the rules run on a CPU?  Serially or shared among threads; the answer is the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numba import njit, prange, typeof, types

from .arrays import Guest
from .kept import compiled_and_kept
from .loads import planned_loads, planned_steps
from .rules.outlast import outlast_layers
from .rules.outlook import outlook_size, window_size
from .rules.place import plan_layers
from .rules.placement import Placement, list_slots, placement_arrays
from .rules.rows import Packs, Replicas, pack_rows, replicate_rows
from .rules.scratch import bench_size, stage_size
from .rules.terms import Job, Layout, Tables, Tactics
from .threads import threads_at_hand

__all__ = ["Workshop", "cache_folder", "pack", "plan", "replicate"]

WORTH_SHARING = 2048  # slots; fewer are planned sooner than a second thread has woken up
WORTH_FILLING = 2**20  # elements; likewise, and below it one compiled function fewer is worth more
LINE = 64  # bytes of memory that come into a cache together
INTEGER = np.dtype(np.int32)  # of scratch


def _compiled(function: Any, **options: Any) -> Any:
    return compiled_and_kept(njit, function, nogil=True, error_model="numpy", **options)


# The rules allocate nothing, and without its runtime Numba need not count references in each of them.
_plan_layers = _compiled(plan_layers, _nrt=False)
_outlast_layers = _compiled(outlast_layers, _nrt=False)
_pack_rows = _compiled(pack_rows, _nrt=False)
_replicate_rows = _compiled(replicate_rows, _nrt=False)


def cache_folder() -> str | None:
    """Give the folder where what is compiled for a CPU is kept, or None if there is none that can be written to."""
    stats = getattr(_plan_layers, "stats", None)  # not where NUMBA_DISABLE_JIT is set
    return None if stats is None else stats.cache_path


class Scratch:
    """What the workers of one problem write on; it may be used again, but not by two callers at once."""

    def __init__(self, layout: Layout, num_rows: int, value: Any, is_lasting: bool) -> None:
        num_workers = min(threads_at_hand(), num_rows) if num_rows * layout.num_replicas >= WORTH_SHARING else 1
        sizes = [*bench_size(layout, False), *stage_size(layout), window_size(layout), *outlook_size(layout, False)]
        if not is_lasting:
            sizes[4:] = 0, 0, 0
        kinds = value, INTEGER, value, INTEGER, value, value, INTEGER
        self.num_workers = num_workers
        self.tables = Tables(*_rows_on_lines(num_workers, sizes, kinds))


def _rows_on_lines(num_rows: int, sizes: Sequence[int], kinds: Sequence[np.dtype[Any]]) -> Iterator[Any]:
    """Allocate tables whose rows have at least some size.

    They begin with cache lines, for vector units are slower at what lies across two, and workers at what others write beside.
    """
    row_bytes = [-(-size * kind.itemsize // LINE) * LINE for size, kind in zip(sizes, kinds, strict=True)]
    memory = np.empty(num_rows * sum(row_bytes) + LINE, np.uint8)  # in one piece: to ask where memory lies takes longest
    place = -memory.ctypes.data % LINE
    for length, kind in zip(row_bytes, kinds, strict=True):
        yield np.ndarray((num_rows, length // kind.itemsize), kind, memory, place)
        place += num_rows * length


def plan(guest: Guest, layout: Layout, tactics: Tactics, width: int | None) -> tuple[Placement, Any]:
    """Plan all layers of a weight; give the placement and log2phy, as wide as the largest replica count unless it is fixed."""
    loads = planned_loads(guest)
    placement = _empty_placement(len(loads), layout, loads.dtype)
    steps = planned_steps(guest, tactics.is_lasting)
    scratch = Scratch(layout, len(loads), loads.dtype, len(steps) > 1)
    _plan(Job(loads, steps, layout, tactics), scratch, placement)
    log2phy = np.empty((*loads.shape, width or int(placement.logcnt.max())), np.int64)
    shared = log2phy.size >= WORTH_FILLING and threads_at_hand() > 1
    (_fill_together if shared else _fill_alone)(placement, log2phy)
    return _hand_back(guest, placement), guest.hand_back(log2phy)


class Workshop:
    """Plans all layers of weights of one shape and type, again and again in the same memory."""

    def __init__(self, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], width: int) -> None:
        self._layout, self._tactics = layout, tactics
        self._scratch = Scratch(layout, num_layers, dtype, bool(tactics.is_lasting))
        self._placement = _empty_placement(num_layers, layout, dtype)
        self._log2phy = np.full((num_layers, layout.num_logical, width), -1, np.int64)
        # Where log2phy is not padding.  A record of its own: the placement is in the caller's hands.
        self._written = np.zeros((num_layers, layout.num_replicas), np.int64)

    def plan(self, guest: Guest) -> tuple[Placement, Any]:
        """Plan a weight; give the placement and log2phy."""
        dtype = self._placement.gpu_loads.dtype
        loads, steps = planned_loads(guest, dtype), planned_steps(guest, self._tactics.is_lasting, dtype)
        given = self._placement.gpu_loads  # the caller may plan for these
        loads, steps = (array.copy() if np.may_share_memory(array, given) else array for array in (loads, steps))
        _plan(Job(loads, steps, self._layout, self._tactics), self._scratch, self._placement)
        placement, log2phy = self._placement, self._log2phy
        _rewrite(placement.phy2log, placement.phyrank, self._written, log2phy.reshape(len(log2phy), -1), log2phy.shape[2])
        return _hand_back(guest, placement), guest.hand_back(log2phy)


def pack(guest: Guest, layout: Layout, tactics: Tactics) -> Packs:
    """Pack the items of all rows of a weight."""
    loads = planned_loads(guest)
    packs = Packs(np.empty(loads.shape, np.int64), np.empty(loads.shape, np.int64))
    job = Job(loads, planned_steps(guest, 0), layout, tactics)
    _run(_pack_rows, job, Scratch(layout, len(loads), loads.dtype, False), packs)
    return Packs(*map(guest.hand_back, packs))


def replicate(guest: Guest, layout: Layout, tactics: Tactics) -> Replicas:
    """Replicate the experts of all rows of a weight."""
    loads = planned_loads(guest)
    slots = (len(loads), layout.num_replicas)
    replicas = Replicas(np.empty(slots, np.int64), np.empty(slots, np.int64), np.empty(loads.shape, np.int64))
    job = Job(loads, planned_steps(guest, 0), layout, tactics)
    _run(_replicate_rows, job, Scratch(layout, len(loads), loads.dtype, False), replicas)
    return Replicas(*map(guest.hand_back, replicas))


def _empty_placement(num_layers: int, layout: Layout, dtype: np.dtype[Any]) -> Placement:
    return Placement(*(np.empty(shape, kind) for shape, kind in placement_arrays(num_layers, layout, dtype)))


def _hand_back(guest: Guest, placement: Placement) -> Placement:
    return Placement(*map(guest.hand_back, placement))


def _fill(placement: Placement, log2phy: Any) -> None:
    for layer in prange(len(log2phy)):
        list_slots(np.int64(layer), placement, log2phy)


def _rewrite(phy2log: Any, phyrank: Any, written: Any, log2phy: Any, width: int) -> None:
    for layer in range(len(phy2log)):
        for slot in range(phy2log.shape[1]):
            log2phy[layer, written[layer, slot]] = -1
        for slot in range(phy2log.shape[1]):
            place = phy2log[layer, slot] * width + phyrank[layer, slot]
            log2phy[layer, place] = slot
            written[layer, slot] = place


_fill_alone = _compiled(_fill)
_fill_together = _compiled(_fill, parallel=True)
_rewrite = _compiled(_rewrite)


class _Task(types.WrapperAddressProtocol):
    """A compiled kernel that compiled code calls by its address.

    Were it linked into the parallel region instead, Numba would compile all the rules three times over.
    """

    def __init__(self, kernel: Any, argument_types: tuple[Any, ...]) -> None:
        kernel.compile(argument_types)
        result = kernel.overloads[argument_types]
        self._signature = types.none(*argument_types)
        self._numba_type_ = types.FunctionType(self._signature)  # spares Numba a slow guess at each call
        self._address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
        self._library = result.library  # the code must outlive the task

    def __wrapper_address__(self) -> int:
        return int(self._address)

    def signature(self) -> Any:
        return self._signature


_tasks: dict[tuple[Any, ...], _Task] = {}


def _plan(job: Job, scratch: Scratch, placement: Placement) -> None:
    """Plan for the sum of the steps and then, where a plan is to last, for each of them."""
    _run(_plan_layers, job, scratch, placement)
    if len(job.steps) > 1:
        _run(_outlast_layers, job, scratch, placement)


def _run(kernel: Any, job: Job, scratch: Scratch, results: Any) -> None:
    """Run a kernel over the rows of a job, interleaved among as many workers as the scratch is for."""
    tables = Tables(*(table[0] for table in scratch.tables))
    # Asked again, for the scratch may be older than a fork.
    if scratch.num_workers == 1 or threads_at_hand() == 1:
        kernel(job, 0, 1, tables, results)
        return
    key = (kernel, job.weight.dtype)
    if key not in _tasks:
        _tasks[key] = _Task(kernel, tuple(typeof(argument) for argument in (job, 0, 1, tables, results)))
    _share_out(_tasks[key], *job, scratch.tables, results)


def _share_out(task: Any, weight: Any, steps: Any, layout: Layout, tactics: Tactics, tables: Tables, results: Any) -> None:
    workers = len(tables.values)
    for worker in prange(workers):
        own = Tables(
            tables.values[worker],
            tables.integers[worker],
            tables.stage_values[worker],
            tables.stage_integers[worker],
            tables.window_values[worker],
            tables.outlook_values[worker],
            tables.outlook_integers[worker],
        )
        job = Job(weight, steps, layout, tactics)  # Numba shares out no tuples of tuples
        task(job, np.int64(worker), workers, own, results)  # prange counts in unsigned numbers


_share_out = _compiled(_share_out, parallel=True)
