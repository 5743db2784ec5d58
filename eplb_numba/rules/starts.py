"""How are the starts of a packing made beside each other, each as a problem of its own?

On a GPU that takes the time of one start.  What comes of it is what `place_node` gives, where one start follows another: first
all starts that keep replicas apart, then, where that is dear, all those that do not.
"""

from __future__ import annotations

from typing import Any

from .ceiling import Ceiling
from .node import is_dear, limits, may_be_dear, note_heaviest, replicate_node, stage_node
from .noise import stream_of
from .pack import keep, pack_from, pack_plainly
from .scratch import recall
from .sums import largest_of
from .terms import Kept, Stage, Tactics, Tools
from .words import rule

__all__ = ["place_start", "put_together", "settle_node"]


@rule
def put_together(tactics: Tactics, tools: Tools) -> None:
    """Replicate the experts of a prepared node anew, for replicas of one expert that need not be kept apart."""
    _, most = limits(tools.bench.layout, tactics, True)
    replicate_node(tools, tactics, most)


@rule
def place_start(
    start: int,
    bound: Any,
    is_raised: bool,
    layer: int,
    restart: int,
    index: int,
    together: bool,
    ceiling: Ceiling,
    tactics: Tactics,
    tools: Tools,
) -> tuple[Any, Any, bool]:
    """Pack a prepared node's replicas from one start, and leave the packing on the desk; `pack_from` says what is given."""
    copies, _ = limits(tools.bench.layout, tactics, together)
    stream = stream_of(tactics.seed, layer, restart, index + 1)
    return pack_from(start, tools, tactics, copies, bound, is_raised, stream, restart > 0, ceiling)


@rule
def settle_node(bound: Any, index: int, together: bool, best: Kept, tactics: Tactics, tools: Tools, stage: Stage) -> bool:
    """Stage the packing of a prepared node's best start; tell whether replicas of one expert need not be kept apart."""
    kept = recall(tools).kept
    keep(best, kept)
    largest = largest_of(kept.pack_loads)
    stage_node(index, bound, tools, stage)
    note_heaviest(index, largest, stage)
    layout = tools.bench.layout
    if together or not may_be_dear(largest, bound, layout, tactics):
        return False
    put_together(tactics, tools)
    return is_dear(largest, pack_plainly(tools, tactics), tactics)
