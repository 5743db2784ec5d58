"""Which kernels are there?  Each takes its problems block by block and leaves what is decided to the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import config, cuda

from ..kept import compiled_and_kept
from .block import FEW_REGISTERS, MOST_REGISTERS
from .lasting import deliver_lasting, outlast_nodes, read_windows
from .planning import assign_to_nodes, deliver_best, list_layers, place_nodes, prepare_nodes
from .rows import pack_each, replicate_each, take_in_layers
from .starting import place_starts

__all__ = ["KERNELS"]


def _compiled(function: Any, **options: Any) -> Any:
    if config.ENABLE_CUDASIM:  # it compiles nothing, and knows no options of that
        return cuda.jit(function)
    return compiled_and_kept(cuda.jit, function, **options)


class Kernels(NamedTuple):
    """All kernels, compiled."""

    intake: Any = _compiled(take_in_layers)
    assign: Any = _compiled(assign_to_nodes)
    prepare: Any = _compiled(prepare_nodes)
    place: Any = _compiled(place_nodes)
    place_start: Any = _compiled(place_starts)
    place_start_by_few: Any = _compiled(place_starts, max_registers=FEW_REGISTERS)
    deliver: Any = _compiled(deliver_best)
    read_window: Any = _compiled(read_windows)
    outlast: Any = _compiled(outlast_nodes)
    outlast_by_many: Any = _compiled(outlast_nodes, max_registers=MOST_REGISTERS)
    deliver_again: Any = _compiled(deliver_lasting)
    list_slots: Any = _compiled(list_layers)
    pack: Any = _compiled(pack_each)
    replicate: Any = _compiled(replicate_each)


KERNELS = Kernels()
