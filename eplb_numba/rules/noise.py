"""By how much does a start disturb an item's weight, the same on every machine?

A counter-based generator: a number depends on (seed, layer, ..., item) alone, so there is no state and no order.
"""

from __future__ import annotations

from typing import Any

from .words import barrier, mine, rule, times, word

STEPS = 4096  # multipliers are whole steps over this power of two: applying one rounds once, everywhere alike
WORD = 0xFFFFFFFF

__all__ = ["STEPS", "WORD", "perturb", "stir", "stream_of"]


@word
def stir(state: int, number: int) -> int:
    """Mix a number into a 32-bit state (plain integers, masked, so that Python, CPU and CUDA agree)."""
    mixed = ((state ^ (number & WORD)) + 0x9E3779B9) & WORD
    mixed = ((mixed ^ (mixed >> 16)) * 0x7FEB352D) & WORD
    mixed = ((mixed ^ (mixed >> 15)) * 0x846CA68B) & WORD
    return mixed ^ (mixed >> 16)


@rule
def stream_of(seed: int, layer: int, restart: int, problem: int) -> int:
    """Give the stream of a packing problem: 0 for the groups of a layer, 1, 2, ... for its nodes."""
    return stir(stir(stir(seed, layer), max(restart, 0)), problem)


@rule
def perturb(loads: Any, keys: Any, stream: int, floor: int, span: int) -> None:
    """Write into keys (items) each of loads (items) times a multiplier of [floor, floor + span) / STEPS."""
    value = loads.dtype.type
    step = value(1.0 / STEPS)
    for item in mine(len(loads)):
        multiplier = floor + ((stir(stream, item) * span) >> 32)
        keys[item] = times(loads[item], value(multiplier) * step)
    barrier()
