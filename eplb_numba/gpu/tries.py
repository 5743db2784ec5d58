"""Which try does a block place, and is a try or a start of any use once the others have come so far?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..rules.words import best_lane, fresh, mine, parts, rule

__all__ = ["ABREAST", "ceiling_before", "try_and_turn"]

ABREAST = 8  # about as many tries or starts as a GPU has at work on each of a model's layers at a time


@rule
def try_and_turn(part: int, tries: int, nodes: int) -> tuple[int, int]:
    """Give the try, and which of its nodes in turn, that a layer's part-th block places.

    The first tries are placed whole: the others are measured against them.  Of those the node whose turn is first, which shows
    best that a try is lost, goes before all others: were all nodes of a try begun at once, it would spare none of them.
    """
    whole = min(tries, ABREAST)
    if part < whole * nodes:
        return parts(part, nodes)
    part -= whole * nodes
    if part < tries - whole:
        return whole + part, 0
    part -= tries - whole
    attempt, turn = parts(part, max(nodes - 1, 1))
    return whole + attempt, 1 + turn


@rule
def ceiling_before(place: int, ceilings: Any) -> Any:
    """Give what a try must come below to be delivered, or a start to be kept, from what each of those before has set."""
    lowest = ceilings.dtype.type(np.inf)
    for other in mine(place):
        lowest = min(lowest, fresh(ceilings, other))
    negated, _ = best_lane(-lowest, 0)
    return -negated
