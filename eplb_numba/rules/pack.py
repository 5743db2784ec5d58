"""How are items packed onto packs of equal size: from how many starts, and which one is kept?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ceiling import Ceiling, lowered
from .greedy import pack_greedily
from .noise import perturb, stir
from .refine import refine
from .scratch import recall
from .sort import sort_descending
from .sums import largest_of, smallest_of
from .terms import Kept, Tactics, Tools
from .words import barrier, best_lane, each, each_from, mine, mine_from, rule, times

__all__ = ["best_start", "keep", "pack", "pack_from", "pack_plainly", "raised"]


@rule
def pack(
    tools: Tools, tactics: Tactics, plainly: bool, copies: int, bound: Any, stream: int, disturbed: bool, ceiling: Ceiling
) -> Any:
    """Pack the items from as many starts as the tactics say, keep one start's packing and give its largest load.

    The first start that comes near enough to the bound is kept, else the best; ties go to the first.  The first start is
    undisturbed unless the caller wants it otherwise.  Plainly is one start and no swaps.  copies limits the replicas of one
    expert in a pack; 0 is no limit.  A start that will not come below the ceiling may end early, as may one that will not be
    kept.
    """
    value = tools.bench.values.dtype.type
    choice = _has_choice(tools)
    endless = value(np.inf)
    kept_largest, kept_measure, first_largest = endless, endless, endless
    for start in each(tactics.starts if choice and not plainly else 1):
        if choice:
            _sort(tools, tactics, stir(stream, start), disturbed or start > 0)
            if start == 0 and not disturbed:
                bound = max(bound, _floor(tools))
        _pack_once(tools, copies)
        largest, spread = _improve(tools, tactics, plainly, copies, bound, ceiling)
        if start == 0:
            first_largest = largest
        near = largest <= times(bound, tactics.limit)
        measure = _measure(largest, spread, first_largest, endless, tactics)
        if near or measure < kept_measure:
            kept_largest, kept_measure = largest, measure
            if not tactics.by_spread:
                ceiling = lowered(ceiling, largest)
            tools_now = recall(tools)
            keep(tools_now.desk.trial, tools_now.kept)
        if near:
            break
    return kept_largest


@rule
def _measure(largest: Any, spread: Any, first_largest: Any, endless: Any, tactics: Tactics) -> Any:
    """Give what the kept start has the least of; a narrower spread must not cost a heavier pack than the first start has."""
    if not tactics.by_spread:
        return largest
    return spread if largest <= first_largest else endless


@rule
def pack_plainly(tools: Tools, tactics: Tactics) -> Any:
    """Pack once, freely and without swaps, where there is a choice; the packing stays on the desk.  Gives its largest load."""
    _sort(tools, tactics, 0, False)
    _pack_once(tools, 0)
    return largest_of(recall(tools).desk.trial.pack_loads)


@rule
def raised(bound: Any, tools: Tools, tactics: Tactics) -> Any:
    """Raise a bound to what no packing of these items can go below; that puts them in order."""
    _sort(tools, tactics, 0, False)
    return max(bound, _floor(tools))


@rule
def pack_from(
    start: int,
    tools: Tools,
    tactics: Tactics,
    copies: int,
    bound: Any,
    is_raised: bool,
    stream: int,
    disturbed: bool,
    ceiling: Ceiling,
) -> tuple[Any, Any, bool]:
    """Pack from one of the starts alone, as `pack` does it where there is a choice, and leave the packing on the desk.

    Gives its largest load, its spread, and whether it is near enough to the bound, which may have been raised before.
    `best_start` tells which one is kept: not this one if it does not come below the ceiling, which is what earlier ones have
    come to.  Then it may end early.
    """
    if not disturbed and not (is_raised and start > 0):
        _sort(tools, tactics, 0, False)
        if not is_raised:
            bound = max(bound, _floor(tools))
    if disturbed or start > 0:
        _sort(tools, tactics, stir(stream, start), True)
    _pack_once(tools, copies)
    largest, spread = _improve(tools, tactics, False, copies, bound, ceiling)
    return largest, spread, largest <= times(bound, tactics.limit)


@rule
def best_start(first_near: int, tactics: Tactics, largest: Any, spreads: Any) -> int:
    """Give the start that `pack` would keep, from the largest load and the spread of each (starts).

    first_near is the first start that came near enough, or the number of starts.
    """
    if first_near < tactics.starts:
        return first_near
    endless = largest.dtype.type(np.inf)
    least, best = endless, 0
    for start in mine(tactics.starts):
        measure = _measure(largest[start], spreads[start], largest[0], endless, tactics)
        if measure < least:
            least, best = measure, start
    _, best = best_lane(-least, best)
    return best


@rule
def _has_choice(tools: Tools) -> bool:
    """Tell whether any pack holds more than one item."""
    return len(tools.kept.items) > len(tools.kept.pack_loads)


@rule
def _sort(tools: Tools, tactics: Tactics, stream: int, disturbed: bool) -> None:
    """Put the items in order: heaviest first or, in a disturbed start, by disturbed weights."""
    _, items, _, desk, _ = recall(tools)
    keys = items.loads
    if disturbed:
        keys = desk.keys
        perturb(items.loads, keys, stream, tactics.noise_floor, tactics.noise_span)
    sort_descending(keys, desk.order, desk.spare, desk.marks)


@rule
def _pack_once(tools: Tools, copies: int) -> None:
    """Pack greedily, in order, if there is any choice."""
    _, items, _, desk, _ = recall(tools)
    packing = desk.trial
    if len(packing.items) > len(packing.pack_loads):
        pack_greedily(items, desk, copies)
        return
    for item in mine(len(packing.items)):
        packing.items[item] = item
        packing.pack_loads[item] = items.loads[item]
    barrier()


@rule
def _improve(tools: Tools, tactics: Tactics, plainly: bool, copies: int, bound: Any, ceiling: Ceiling) -> tuple[Any, Any]:
    """Swap items of the packing on the desk, unless it is to be plain; give its largest load and its spread."""
    if _has_choice(tools) and not plainly and tactics.swaps + tactics.pair_swaps > 0:
        refine(tools, tactics, copies, bound, ceiling)
    pack_loads = recall(tools).desk.trial.pack_loads
    largest = largest_of(pack_loads)
    return largest, largest - smallest_of(pack_loads) if tactics.by_spread else largest


@rule
def _floor(tools: Tools) -> Any:
    """Give a load that no packing of these items can go below; they must be sorted.

    The heaviest item has company: the lightest items at best.  With two slots, of the place + 1 heaviest items one must go
    with an item that is not among the place lightest; then the load is the best there is.
    """
    _, items, _, desk, _ = recall(tools)
    loads, order, slots = items.loads, desk.order, desk.trial.slots
    floor = loads[order[0]]
    for place in each_from(len(order) - slots + 1, len(order)):
        floor += loads[order[place]]
    if slots == 2:
        for place in mine_from(1, len(order) // 2):
            floor = max(floor, loads[order[place]] + loads[order[len(order) - 1 - place]])
        floor, _ = best_lane(floor, 0)
    return floor


@rule
def keep(trial: Any, kept: Kept) -> None:
    """Keep a packing."""
    for item in mine(len(kept.items)):
        kept.items[item] = trial.items[item]
    for index in mine(len(kept.pack_loads)):
        kept.pack_loads[index] = trial.pack_loads[index]
    barrier()
