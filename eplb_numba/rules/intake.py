"""Which loads does a GPU plan for?  There nobody has looked at the weight before: reading it back would make the host wait.

On a CPU ``loads`` does the same, and refuses what is not a load.
"""

from __future__ import annotations

from typing import Any

from .sums import total_of
from .words import barrier, best_lane, each, mine, rule

__all__ = ["take_in"]


@rule
def take_in(weight: Any, layer: int, zero: Any, top: Any, most: Any, loads: Any) -> bool:
    """Add up the steps of a layer of weight (steps, layers, experts) into loads (experts); tell whether they are loads.

    The steps are added one after the other in the type of zero, which ends at top, then converted.  A layer that holds
    anything but loads, or whose loads add up to most or more, is planned as if it had no load.
    """
    value = loads.dtype.type
    flaw = value(0)
    for expert in mine(len(loads)):
        total = zero
        for step in each(len(weight)):
            load = weight[step, layer, expert]
            # It is negative or not a number, or the sum would overflow.  Asked afterwards, whether the sum has become less,
            # a compiler takes for granted that it has not.
            if not (load >= 0 and load <= top - total):
                flaw = value(1)
            total += load
        loads[expert] = abs(value(total))
    flaw, _ = best_lane(flaw, 0)
    is_sound = flaw == 0 and total_of(loads) < most
    if not is_sound:
        barrier()
        for expert in mine(len(loads)):
            loads[expert] = value(0)
    barrier()
    return is_sound
