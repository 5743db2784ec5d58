"""How do the rules run on a CPU?  Serially or shared among threads; the answer is the same."""

from __future__ import annotations

import hashlib
from importlib import resources
from types import CellType, FunctionType
from typing import Any

import numpy as np
from numba import njit, prange, typeof, types

from .rules.place import Placement, plan_layers
from .rules.rows import Packs, Replicas, pack_rows, replicate_rows
from .rules.scratch import bench_size, stage_size
from .rules.terms import Layout, Tactics
from .threads import threads_at_hand

__all__ = ["Scratch", "pack", "plan", "replicate", "rewrite_log2phy", "write_log2phy"]

WORTH_SHARING = 2048  # slots; fewer are planned sooner than a second thread has woken up
WORTH_FILLING = 2**20  # elements; likewise, and below it one compiled function fewer is worth more


def _digest_of_rules() -> str:
    """Give a digest of all that is compiled into the kernels."""
    rules = resources.files(__package__).joinpath("rules")
    sources = sorted((file.name, file.read_bytes()) for file in rules.iterdir() if file.name.endswith(".py"))
    return hashlib.sha256(repr(sources).encode()).hexdigest()


def _compiled(function: Any, **options: Any) -> Any:
    """Compile a function when it is called; keep it on disk if there is a place to."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # Numba has found no folder that it may write to
        return njit(**options)(function)


def _kernel(rule: FunctionType) -> Any:
    """Compile a rule that works on rows into a kernel.

    Numba keeps a kernel on disk under its code and its closure, and does not look at what it calls.  With the digest in the
    closure, none that was made of other rules is ever run.  The rules allocate nothing, and without its runtime Numba need
    not count references in each of them.
    """
    code = rule.__code__.replace(co_freevars=("rules",))
    stamped = FunctionType(code, rule.__globals__, rule.__name__, rule.__defaults__, (CellType(_digest_of_rules()),))
    return _compiled(stamped, _nrt=False)


_plan_layers = _kernel(plan_layers)
_pack_rows = _kernel(pack_rows)
_replicate_rows = _kernel(replicate_rows)


class Scratch:
    """What the workers of one problem write on; it may be used again, but not by two callers at once."""

    def __init__(self, layout: Layout, num_rows: int, value: Any) -> None:
        num_workers = min(threads_at_hand(), num_rows) if num_rows * layout.num_replicas >= WORTH_SHARING else 1
        num_values, num_integers = (sum(sizes) for sizes in zip(stage_size(layout), bench_size(layout), strict=True))
        self.values = np.empty((num_workers, num_values), value)
        self.integers = np.empty((num_workers, num_integers), np.int32)


def plan(weight: Any, layout: Layout, tactics: Tactics, scratch: Scratch, placement: Placement) -> None:
    """Plan all layers of weight (layers, num_logical)."""
    _run(_plan_layers, weight, layout, tactics, scratch, placement)


def pack(weight: Any, layout: Layout, tactics: Tactics, scratch: Scratch, packs: Packs) -> None:
    """Pack the items of all rows of weight (rows, items)."""
    _run(_pack_rows, weight, layout, tactics, scratch, packs)


def replicate(weight: Any, layout: Layout, tactics: Tactics, scratch: Scratch, replicas: Replicas) -> None:
    """Replicate the experts of all rows of weight (rows, experts)."""
    _run(_replicate_rows, weight, layout, tactics, scratch, replicas)


def write_log2phy(placement: Placement, log2phy: Any) -> None:
    """Write each slot to its expert's row of log2phy (layers, num_logical, width), and -1 to all the rest."""
    shared = log2phy.size >= WORTH_FILLING and threads_at_hand() > 1
    (_fill_together if shared else _fill_alone)(placement.phy2log, placement.phyrank, log2phy)


def rewrite_log2phy(placement: Placement, written: Any, log2phy: Any) -> None:
    """Write as write_log2phy does, where log2phy is padding but for the places noted in written; note the new ones."""
    _rewrite(placement.phy2log, placement.phyrank, written, log2phy.reshape(len(log2phy), -1), log2phy.shape[2])


def _fill(phy2log: Any, phyrank: Any, log2phy: Any) -> None:
    for layer in prange(len(phy2log)):
        for expert in range(log2phy.shape[1]):
            for rank in range(log2phy.shape[2]):
                log2phy[layer, expert, rank] = -1
        for slot in range(phy2log.shape[1]):
            log2phy[layer, phy2log[layer, slot], phyrank[layer, slot]] = slot


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


def _run(kernel: Any, weight: Any, layout: Layout, tactics: Tactics, scratch: Scratch, results: Any) -> None:
    """Run a kernel over the rows of weight, interleaved among as many workers as the scratch is for."""
    num_workers = len(scratch.values)
    # Asked again, for the scratch may be older than a fork.
    if num_workers == 1 or threads_at_hand() == 1:
        kernel(weight, 0, 1, layout, tactics, scratch.values[0], scratch.integers[0], results)
        return
    key = (kernel, weight.dtype)
    if key not in _tasks:
        arguments = (weight, 0, 1, layout, tactics, scratch.values[0], scratch.integers[0], results)
        _tasks[key] = _Task(kernel, tuple(typeof(argument) for argument in arguments))
    _share_out(_tasks[key], weight, layout, tactics, scratch.values, scratch.integers, results)


def _share_out(task: Any, weight: Any, layout: Layout, tactics: Tactics, values: Any, integers: Any, results: Any) -> None:
    for worker in prange(len(values)):
        first = np.int64(worker)  # prange counts in unsigned numbers
        task(weight, first, len(values), layout, tactics, values[worker], integers[worker], results)


_share_out = _compiled(_share_out, parallel=True)
