"""What do loads add up to, and which of them is the largest?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from .linked import on_cpu
from .words import best_lane, each_from, mine, rule, word

__all__ = ["largest_here", "largest_of", "note_ends", "smallest_of", "total_here", "total_in_line", "total_of"]


@word
def total_of(loads: Any) -> Any:
    """Add up loads as `total_here` does; on a GPU the lanes share the work."""
    return total_here(loads)


@rule
def total_here(loads: Any) -> Any:
    """Add up loads in the order that is written here, which lanes can share: every rank must agree.

    Each of eight sums takes every eighth load; then they are added in pairs.
    """
    even = (_every_eighth(loads, 0) + _every_eighth(loads, 4)) + (_every_eighth(loads, 2) + _every_eighth(loads, 6))
    odd = (_every_eighth(loads, 1) + _every_eighth(loads, 5)) + (_every_eighth(loads, 3) + _every_eighth(loads, 7))
    return even + odd


@word
def total_in_line(loads: Any, first: int, size: int) -> Any:
    """Add up some loads one after the other; each lane by itself."""
    total = loads.dtype.type(0)
    for load in loads[first : first + size]:
        total += load
    return total


@rule
def _every_eighth(loads: Any, first: int) -> Any:
    """Add up every eighth load, from the first one on."""
    total = loads.dtype.type(0)
    for index in range(first, len(loads), 8):
        total += loads[index]
    return total


@rule
def largest_of(loads: Any) -> Any:
    """Give the largest load."""
    largest = loads[0]
    for index in mine(len(loads)):
        largest = max(largest, loads[index])
    largest, _ = best_lane(largest, 0)
    return largest


@rule
def largest_here(loads: Any) -> Any:
    """Give the largest load, without help from other lanes."""
    largest = loads[0]
    for index in each_from(1, len(loads)):
        largest = max(largest, loads[index])
    return largest


def note_ends(loads: Any, place: int, smallest: Any, largest: Any) -> None:
    """Write the smallest load and the largest one to a place, without help from other lanes."""
    smallest[place], largest[place] = min(loads), max(loads)


@on_cpu(note_ends)
def _note_ends_on_cpu(loads, place, smallest, largest):  # type: ignore[no-untyped-def]  # numba compares the signatures
    kind = np.int32 if loads.dtype == types.float32 else np.int64

    def note_ends(loads, place, smallest, largest):  # type: ignore[no-untyped-def]
        """Compare bits, which sort like the loads that they stand for: vector units do so in any order."""
        bits = loads.view(kind)
        low = high = bits[0]
        for index in range(1, len(bits)):
            low, high = min(low, bits[index]), max(high, bits[index])
        smallest.view(kind)[place], largest.view(kind)[place] = low, high

    return note_ends


@rule
def smallest_of(loads: Any) -> Any:
    """Give the smallest load; loads are not negative."""
    smallest = loads[0]
    for index in mine(len(loads)):
        smallest = min(smallest, loads[index])
    negated, _ = best_lane(-smallest, 0)
    return abs(negated)  # a zero keeps no sign there
