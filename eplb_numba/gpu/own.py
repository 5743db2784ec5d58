"""Which problems are a block's own, and where does it find what it needs for them?"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba import config, cuda

from ..rules.intake import take_in
from ..rules.node import load_node
from ..rules.outlook import Outlook, Sheet, cut_outlook
from ..rules.scratch import cut_stage, cut_tools
from ..rules.terms import Bench, Kept, Layout, Stage, Tools
from ..rules.words import parts, rule, strip
from .memory import InGlobal, InShared, Starts, Work

if config.ENABLE_CUDASIM:
    from .simulated import shared_memory
else:
    from numba.cuda.extending import overload

    from . import words  # noqa: F401  # what the rules mean here
    from .strips import strip_of_shared

__all__ = [
    "fetch",
    "kept_of",
    "load_own_node",
    "loads_and_tools",
    "ours",
    "ours_in",
    "outlook_of",
    "prepared_of",
    "shared_of",
    "stage_of",
]


def _block() -> int:
    """Tell which block of a launch is running."""
    thread: Any = threading.current_thread()
    return int(thread.blockIdx.x)


def _blocks() -> int:
    """Tell how many blocks a launch has."""
    thread: Any = threading.current_thread()
    return int(thread._manager._grid_dim[0])


def shared_of(row: Any, first_byte: int) -> Any:
    """Give a place in shared memory for what would be a row of an array."""
    first = first_byte // row.itemsize
    return shared_memory(row.dtype)[first : first + row.shape[1]]


@rule
def ours(count: int) -> range:
    """Give those of so many problems that are this block's: every blocks-th."""
    return range(_block(), count, _blocks())


@rule
def _in_shared(where: InShared) -> tuple[Any, Any]:
    values = shared_of(where.values, where.first_byte)
    return values, shared_of(where.integers, where.first_byte + len(values) * where.values.itemsize)


@rule
def _in_global(where: InGlobal) -> tuple[Any, Any]:
    return strip(where.values[_block()]), strip(where.integers[_block()])


def _space(where: InShared | InGlobal) -> tuple[Any, Any]:
    """Give values and integers of this block; where they lie is known when a kernel is compiled."""
    return _in_shared(where) if isinstance(where, InShared) else _in_global(where)


@rule
def _only_one(where: InShared, count: int) -> range:
    return range(_block(), _block() + 1)  # the compiler sees that this is no loop


@rule
def _every_one(where: InGlobal, count: int) -> range:
    return ours(count)


def ours_in(where: InShared | InGlobal, count: int) -> range:
    """Give the problems of this block: one, unless there are fewer places for scratch than problems."""
    return _only_one(where, count) if isinstance(where, InShared) else _every_one(where, count)


if not config.ENABLE_CUDASIM:
    overload(_block, target="cuda", strict=False)(lambda: lambda: cuda.blockIdx.x)
    overload(_blocks, target="cuda", strict=False)(lambda: lambda: cuda.gridDim.x)
    overload(_space, target="cuda", strict=False)(lambda where: _in_shared if where.instance_class is InShared else _in_global)
    overload(ours_in, target="cuda", strict=False)(
        lambda where, count: _only_one if where.instance_class is InShared else _every_one  # noqa: ARG005
    )

    @overload(shared_of, target="cuda")
    def _shared_on_gpu(row, first_byte):  # type: ignore[no-untyped-def]  # numba compares the two signatures
        dtype = row.dtype
        return lambda row, first_byte: strip_of_shared(cuda.shared.array(0, dtype), first_byte, row.shape[1])


@rule
def loads_and_tools(scratch: Any, layout: Layout, of_groups: bool) -> tuple[Any, Tools]:
    """Cut the scratch of this block: a place for the loads of a layer, and the tools for its groups or for its replicas.

    The loads lie at the end of the values.  Whatever else lies there is used only once they have been looked at.
    """
    values, integers = _space(scratch)
    loads = values[len(values) - layout.num_logical : len(values)]
    return loads, cut_tools(Bench(values, integers, layout, of_groups))


@rule
def outlook_of(outlook: Any, layout: Layout) -> Outlook:
    """Give the outlook of this block."""
    values, integers = _space(outlook)
    return cut_outlook(Sheet(values, integers, layout))


@rule
def stage_of(work: Work, layer: int, attempt: int, layout: Layout) -> Stage:
    """Give the stage of a try."""
    return cut_stage(
        Bench(strip(work.stage_values[layer, attempt]), strip(work.stage_integers[layer, attempt]), layout, False)
    )


@rule
def prepared_of(work: Work, layer: int, part: int) -> tuple[Any, Any]:
    """Give where a prepared node lies: that of a part, or of all tries where groups leave them no choice."""
    values, integers = work.prepared
    _, place = parts(part, values.shape[1])
    return strip(values[layer, place]), strip(integers[layer, place])


@rule
def kept_of(starts: Starts, layer: int, part: int, start: int) -> Kept:
    """Give where the packing of a start is kept."""
    return Kept(strip(starts.items[layer, part, start]), strip(starts.pack_loads[layer, part, start]))


@rule
def fetch(weight: Any, layer: int, most: Any, loads: Any) -> bool:
    """Fetch a layer of a weight (1, layers, experts) that is in the planned type; tell whether it holds loads."""
    value = loads.dtype.type
    return take_in(weight, layer, value(0), value(np.inf), most, loads)


@rule
def load_own_node(
    weight: Any, layer: int, node: int, notes: bool, most: Any, work: Work, tools: Tools, loads: Any, stage: Stage
) -> None:
    """Fetch the loads of a node's experts; let others know whether the layer holds loads, if it notes that."""
    layout = tools.bench.layout
    if layout.num_groups > layout.num_nodes:  # they were fetched, and that was noted, when groups were assigned
        load_node(strip(work.fetched[layer]), node, tools, stage)
        return
    is_sound = fetch(weight, layer, most, loads)
    if notes:
        work.sound[layer] = is_sound
    load_node(loads, node, tools, stage)
