"""How unbalanced is a node over its scenarios?  The sum over all steps of the 8-norm of the GPUs' loads.

Roots are rounded alike everywhere, and an eighth power is three squares; powers of fractions are not to be trusted.
"""

from __future__ import annotations

from typing import Any

from .terms import MOST_STEPS, Outlook, Stage, Window
from .words import barrier, lane, lanes, root, rule, times

__all__ = ["add_up", "eighth", "eighth_root", "look_up", "norm_of"]


@rule
def norm_of(count: int, window: Window, outlook: Outlook) -> Any:
    """Add up the norms of all steps."""
    num_gpus = len(outlook.burdens)
    norm = outlook.means.dtype.type(0)
    for scenario in range(count):
        total = outlook.means.dtype.type(0)
        for gpu in range(num_gpus):
            total += outlook.powers[scenario * num_gpus + gpu]
        norm += times(eighth_root(total), window.sizes[scenario])
    return norm


@rule
def look_up(first_expert: int, count: int, stage: Stage, window: Window, outlook: Outlook) -> None:
    """Look up the load in each slot, and add up those of the GPUs, in each scenario."""
    value = outlook.means.dtype.type
    num_slots = len(outlook.costs)
    for slot in range(lane(), num_slots, lanes()):
        expert = outlook.experts[slot]
        row = stage.order[first_expert + expert] * MOST_STEPS
        for scenario in range(count):
            share = window.loads[row + scenario] / value(outlook.counts[expert])
            outlook.slot_loads[scenario * num_slots + slot] = share
    barrier()
    for gpu in range(lane(), len(outlook.burdens), lanes()):
        outlook.fill[gpu] = 0
        add_up(gpu, count, outlook)
    barrier()


@rule
def add_up(gpu: int, count: int, outlook: Outlook) -> None:
    """Add up what lies on one GPU, in each scenario."""
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    slots = outlook.slots
    for scenario in range(count):
        first = scenario * num_slots + gpu * slots
        total = outlook.means.dtype.type(0)
        for slot in range(first, first + slots):
            total += outlook.slot_loads[slot]
        for slot in range(first, first + slots):
            outlook.around[slot] = total
        outlook.gpu_loads[scenario * num_gpus + gpu] = total
        outlook.powers[scenario * num_gpus + gpu] = eighth(total)


@rule
def eighth(load: Any) -> Any:
    """Give the eighth power, as a product that no compiler fuses with a sum."""
    square = times(load, load)
    fourth = times(square, square)
    return times(fourth, fourth)


@rule
def eighth_root(total: Any) -> Any:
    """Give the eighth root: roots are rounded alike everywhere, powers of fractions are not."""
    return root(root(root(total)))
