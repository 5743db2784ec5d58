"""How unbalanced is a node over its scenarios?  The sum over all steps of the 8-norm of the GPUs' loads.

Roots are rounded alike everywhere, and an eighth power is three squares; powers of fractions are not to be trusted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .outlook import Outlook, recall_outlook
from .sums import total_in_line
from .words import barrier, mine, root, rule, times

__all__ = ["add_up", "eighth", "eighth_root", "look_up", "norm_of", "note_total", "seventh"]


@rule
def norm_of(count: int, outlook: Outlook) -> Any:
    """Add up the norms of all steps."""
    outlook = recall_outlook(outlook)
    num_gpus, norms = len(outlook.burdens), outlook.slopes  # not needed now
    for scenario in mine(count):
        total = total_in_line(outlook.powers, scenario * num_gpus, num_gpus)
        norms[scenario] = times(eighth_root(total), outlook.sizes[scenario])
    barrier()
    norm = total_in_line(norms, 0, count)
    barrier()
    return norm


@rule
def look_up(count: int, outlook: Outlook) -> None:
    """Look up the load in each slot, and add up those of the GPUs, in each scenario."""
    outlook = recall_outlook(outlook)
    value = outlook.means.dtype.type
    num_slots, num_experts = len(outlook.costs), len(outlook.means)
    for slot in mine(num_slots):
        expert = np.int64(outlook.experts[slot])
        replicas = value(outlook.counts[expert])
        for scenario in range(count):
            outlook.slot_loads[scenario * num_slots + slot] = outlook.loads[scenario * num_experts + expert] / replicas
    barrier()
    for gpu in mine(len(outlook.burdens)):
        outlook.fill[gpu] = 0
        for scenario in range(count):
            add_up(gpu, scenario, outlook)
    barrier()


@rule
def add_up(gpu: int, scenario: int, outlook: Outlook) -> None:
    """Add up what lies on one GPU in one scenario."""
    first = scenario * len(outlook.costs) + gpu * outlook.slots
    note_total(gpu, scenario, total_in_line(outlook.slot_loads, first, outlook.slots), outlook)


@rule
def note_total(gpu: int, scenario: int, total: Any, outlook: Outlook) -> None:
    """Note the load of one GPU in one scenario, and what is made of it."""
    first = scenario * len(outlook.costs) + gpu * outlook.slots
    if len(outlook.sevenths) > 0:
        seventh_power = seventh(total)
        for slot in range(first, first + outlook.slots):
            outlook.sevenths[slot] = seventh_power
    place = scenario * len(outlook.burdens) + gpu
    outlook.gpu_loads[place] = total
    outlook.powers[place] = eighth(total)


@rule
def eighth(load: Any) -> Any:
    """Give the eighth power, as a product that no compiler fuses with a sum."""
    square = times(load, load)
    fourth = times(square, square)
    return times(fourth, fourth)


@rule
def seventh(load: Any) -> Any:
    """Give the seventh power."""
    square = times(load, load)
    return times(times(times(square, square), square), load)


@rule
def eighth_root(total: Any) -> Any:
    """Give the eighth root: roots are rounded alike everywhere, powers of fractions are not."""
    return root(root(root(total)))
