"""What must the load of the heaviest GPU come below, so that a packing is of any use?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .words import best_lane, fresh, mine, rule

__all__ = ["Ceiling", "lowered", "steady", "sunk"]


class Ceiling(NamedTuple):
    """What a packing must come below, and what that is made of: on a GPU others are at work on the same layer meanwhile."""

    level: Any  # as it was when somebody last looked
    others: Any  # (packings) what each leaves to come below, once it is made; infinite until then
    place: int  # of this one among them: only those before it count


@rule
def steady(level: Any, some: Any) -> Ceiling:
    """Give a ceiling that nobody lowers; of some values it only matters where they lie."""
    return Ceiling(level, some[0:0], 0)


@rule
def lowered(ceiling: Ceiling, level: Any) -> Ceiling:
    """Lower a ceiling to a level."""
    return Ceiling(min(ceiling.level, level), ceiling.others, ceiling.place)


@rule
def sunk(ceiling: Ceiling) -> Ceiling:
    """Give a ceiling as it is now."""
    if ceiling.place == 0:
        return ceiling
    lowest = type(ceiling.level)(np.inf)
    for other in mine(ceiling.place):
        lowest = min(lowest, fresh(ceiling.others, other))
    negated, _ = best_lane(-lowest, 0)
    return lowered(ceiling, -negated)
