"""How are items packed onto packs of equal size: from how many starts, and which one is kept?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .greedy import pack_greedily
from .noise import perturb, stir
from .refine import refine
from .scratch import recall
from .sort import sort_descending
from .sums import largest_of, smallest_of
from .terms import Kept, Packing, Tactics, Tools
from .words import barrier, best_lane, lane, lanes, rule, times

__all__ = ["pack"]


@rule
def pack(tools: Tools, tactics: Tactics, plainly: bool, copies: int, bound: Any, stream: int, disturbed: bool) -> Any:
    """Pack the items from as many starts as the tactics say, keep one start's packing and give its largest load.

    The first start that comes near enough to the bound is kept, else the best; ties go to the first.  The first start is
    undisturbed unless the caller wants it otherwise.  Plainly is one start and no swaps.  copies limits the replicas of one
    expert in a pack; 0 is no limit.
    """
    value = tools.bench.values.dtype.type
    choice = len(tools.kept.items) > len(tools.kept.pack_loads)
    kept_largest, kept_spread, first_largest = value(np.inf), value(np.inf), value(np.inf)
    for start in range(tactics.starts if choice and not plainly else 1):
        floor = _pack_once(tools, tactics, copies, stir(stream, start), disturbed or start > 0)
        if choice and start == 0 and not disturbed:
            bound = max(bound, floor)
        if choice and not plainly and tactics.swaps + tactics.pair_swaps > 0:
            refine(tools, tactics, copies, bound)
        trial = recall(tools).desk.trial
        largest = largest_of(trial.pack_loads)
        spread = largest - smallest_of(trial.pack_loads) if tactics.by_spread else largest
        near = largest <= times(bound, tactics.limit)
        if start == 0:
            first_largest = largest
            wins = True
        elif tactics.by_spread:
            # A narrower spread must not cost a heavier pack than the undisturbed start has.
            wins = near or (spread < kept_spread and largest <= first_largest)
        else:
            wins = largest < kept_largest
        if wins:
            kept_largest, kept_spread = largest, spread
            _keep(trial, recall(tools).kept)
        if near:
            break
    return kept_largest


@rule
def _pack_once(tools: Tools, tactics: Tactics, copies: int, stream: int, disturbed: bool) -> Any:
    """Pack greedily: heaviest item first or, in a disturbed start, in the order of disturbed weights.

    Gives a load that no packing of these items can go below, unless the start is disturbed.
    """
    _, items, _, desk, _ = recall(tools)
    packing = desk.trial
    if len(packing.items) == len(packing.pack_loads):
        for item in range(lane(), len(packing.items), lanes()):
            packing.items[item] = item
            packing.pack_loads[item] = items.loads[item]
        barrier()
        return items.loads.dtype.type(0)
    if disturbed:
        perturb(items.loads, desk.keys, stream, tactics.noise_floor, tactics.noise_span)
        sort_descending(desk.keys, desk.order, desk.spare)
    else:
        sort_descending(items.loads, desk.order, desk.spare)
    # The ranking is not needed yet, and there are no more packs that sit out than packs.
    pack_greedily(items, desk.order, copies, packing, desk.fill, desk.ranking, desk.bracket)
    return _floor(items.loads, desk.order, packing.slots)


@rule
def _floor(loads: Any, order: Any, slots: int) -> Any:
    """Give a load that no packing of these items can go below; for two slots in a pack it is the best there is.

    The heaviest item has company: the lightest items at best.  With two slots, of the place + 1 heaviest items one must go
    with an item that is not among the place lightest.
    """
    floor = loads[order[0]]
    for place in range(len(order) - slots + 1, len(order)):
        floor += loads[order[place]]
    if slots == 2:
        for place in range(1 + lane(), len(order) // 2, lanes()):
            floor = max(floor, loads[order[place]] + loads[order[len(order) - 1 - place]])
        floor, _ = best_lane(floor, 0)
    return floor


@rule
def _keep(trial: Packing, kept: Kept) -> None:
    """Keep the trial packing."""
    for item in range(lane(), len(kept.items), lanes()):
        kept.items[item] = trial.items[item]
    for index in range(lane(), len(kept.pack_loads), lanes()):
        kept.pack_loads[index] = trial.pack_loads[index]
    barrier()
