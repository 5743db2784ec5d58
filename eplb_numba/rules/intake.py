"""Which loads does a GPU plan for?  There nobody has looked at the weight before: reading it back would make the host wait.

On a CPU ``loads`` does the same, and refuses what is not a load.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .words import barrier, lane, lanes, rule

__all__ = ["take_in"]


@rule
def take_in(weight: Any, layer: int, zero: Any, most: Any, loads: Any, sound: Any) -> None:
    """Add up the steps of a layer of weight (steps, layers, experts) into loads (layers, experts).

    The steps are added one after the other in the type of zero, then converted.  A layer that holds anything but loads, or
    whose loads add up to most or more, is planned as if it had no load, and is noted in sound (layers).
    """
    num_experts = loads.shape[1]
    if lane() == 0:
        sound[layer] = 1
    barrier()
    for expert in range(lane(), num_experts, lanes()):
        total = zero
        for step in range(len(weight)):
            before, load = total, weight[step, layer, expert]
            total += load
            if not (load >= 0 and total >= before):  # it was negative or not a number, or the sum overflowed
                sound[layer] = 0
        loads[layer, expert] = total
    barrier()
    if lane() == 0:
        sum_of_loads = loads.dtype.type(0)
        for expert in range(num_experts):
            sum_of_loads += loads[layer, expert]
        if not sum_of_loads < most:
            sound[layer] = 0
    barrier()
    if sound[layer] == 0:
        for expert in range(lane(), num_experts, lanes()):
            loads[layer, expert] = np.float32(0)
    barrier()
