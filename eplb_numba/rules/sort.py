"""In which order does a greedy packer take its items: heaviest first, equals by lowest index?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from .linked import on_cpu
from .words import barrier, lane, word

DIGITS = 256  # one byte a pass
FEW = 24  # so few that an insertion sort beats counting digits
MANY = 512  # so many that two digits leave too much to the insertion sort
NO_END = 4096  # so many that an insertion sort must not be left anything
MARKS = 2 * (DIGITS + DIGITS // 32)  # of a GPU: two for each digit, and some in between

__all__ = ["DIGITS", "MARKS", "sort_among_many", "sort_descending"]


def sort_descending(keys: Any, order: Any, spare: Any, marks: Any) -> None:
    """Write into order (items) the indices of keys (items), largest key first, equal keys by lowest index.

    Keys are finite and not negative.  spare is scratch of items + DIGITS integers, on a GPU of items, where marks (MARKS) is
    scratch, too.
    """
    if lane() == 0:
        order[:] = np.argsort(-np.asarray(keys), kind="stable")
    barrier()


@on_cpu(sort_descending)
def _sort_descending_on_cpu(keys, order, spare, marks):  # type: ignore[no-untyped-def]  # numba compares the signatures
    # The bits of floats that are not negative sort like their values.
    bits_type = np.uint32 if keys.dtype == types.float32 else np.uint64

    def sort(keys, order, spare, marks):  # type: ignore[no-untyped-def]
        """Count the leading digits of the keys, lowest digit first; an insertion sort settles what they leave open."""
        count = len(keys)
        for item in range(count):
            order[item] = item
        if count > FEW:
            bits = keys.view(bits_type)
            low = high = bits[0]
            for item in range(1, count):
                low = min(low, bits[item])
                high = max(high, bits[item])
            width = 0  # bits that tell keys apart
            while (high - low) >> bits_type(width) > 0:
                width += 1
            passes = 2 if count <= MANY else 3
            if count > NO_END:
                passes = max(1, (width + 7) // 8)
            shift = max(0, width - 8 * passes)
            starts = spare[:DIGITS]
            source, target = order, spare[DIGITS : DIGITS + count]
            for digit in range(passes):
                place_of_digit = bits_type(shift + 8 * digit)
                starts[:] = 0
                for item in range(count):
                    starts[((high - bits[item]) >> place_of_digit) & bits_type(255)] += 1
                place = 0
                for bucket in range(DIGITS):
                    size = starts[bucket]
                    starts[bucket] = place
                    place += size
                for place in range(count):
                    item = source[place]
                    bucket = ((high - bits[item]) >> place_of_digit) & bits_type(255)
                    target[starts[bucket]] = item
                    starts[bucket] += 1
                source, target = target, source
            if passes % 2 == 1:
                for place in range(count):
                    order[place] = source[place]
        for place in range(1, count):
            item = order[place]
            hole = place
            while hole > 0 and keys[order[hole - 1]] < keys[item]:
                order[hole] = order[hole - 1]
                hole -= 1
            order[hole] = item

    return sort


@word
def sort_among_many(keys: Any, order: Any, spare: Any, marks: Any) -> None:
    """Do what `sort_descending` does, where a block has many lanes."""
    sort_descending(keys, order, spare, marks)
