"""How does a warp sort?  By the digits of the keys, the lowest first: each item goes behind all of a lower digit."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import sort
from ..rules.sort import DIGITS
from ..rules.words import barrier, lane
from .block import ALL, WARP, WARP_BITS
from .contests import stand_in_order
from .elements import add_to, mark
from .instructions import among, bits_of, either, meet_warp
from .ranks import highest_of, lowest_of
from .strips import rest, seen_as_words

__all__: list[str] = []

BITS = 8  # of a digit
PER_LANE = DIGITS // WARP
FEW = 3  # digits, which tell hundreds of keys apart
ROW = WARP + 1  # places of so many digits: when each lane looks at its own, no two of them are in one memory bank


def _sort_descending(keys, order, spare, marks):  # type: ignore[no-untyped-def]
    def sort_descending(keys, order, spare, marks):  # type: ignore[no-untyped-def]
        """Let each lane find the place of one item, where there are no more of them than lanes; the block is a single warp."""
        if len(keys) <= WARP:
            stand_in_order(keys, order)
        else:
            _sort_by_digits(keys, np.int32(len(keys)), order, spare, seen_as_words(marks))
            barrier()

    return sort_descending


@jit
def _sort_by_digits(keys, count, order, spare, marks):  # type: ignore[no-untyped-def]
    """Let one warp sort, by few leading digits first: they nearly always tell all keys apart that differ."""
    own = np.int32(lane())
    top, floor = _range_of(keys, count, own)
    width = np.int32(64 - np.int32(cuda.clz(np.uint64(top - floor))))  # bits that tell keys apart
    lowest = max(np.int32(width - FEW * BITS), np.int32(0))  # of those that are looked at
    while True:
        _sort_from(lowest, width, keys, count, own, top, floor, order, spare, marks)
        if lowest == 0 or _is_sorted(keys, count, own, order):
            break
        lowest = np.int32(0)


@jit
def _sort_from(lowest, width, keys, count, own, top, floor, order, spare, marks):  # type: ignore[no-untyped-def]
    """Sort by all but the lowest bits; the lanes take an item each, of places that follow each other.

    Of a digit, marks tell which lanes have it, one bit each, and behind all of those where the next item with it goes.
    """
    own_bit, nexts = np.int32(np.int32(1) << own), rest(marks, PER_LANE * ROW)
    source, target, shift = order, spare, lowest
    while shift < width:  # what is sorted at last must end up in the order
        source, target, shift = target, source, np.int32(shift + BITS)
    for turn in range(PER_LANE):
        marks[own + turn * ROW] = np.int32(0)
    place = own
    while place < count:
        source[place] = place
        place = np.int32(place + WARP)
    shift = lowest
    while shift < width:
        _count_digits(keys, count, own, top, floor, shift, nexts)
        begin, place = np.int32(0), own
        item, digit = _item_in(place, keys, count, source, top, floor, shift)
        while begin < count:
            if place < count:
                mark(marks, digit, own_bit)
            meet_warp()
            peers, first = np.int32(marks[digit]), np.int32(nexts[digit])
            # The next one already now, for reading takes longest.
            next_item, next_digit = _item_in(np.int32(place + WARP), keys, count, source, top, floor, shift)
            meet_warp()
            ahead = np.int32(cuda.popc(np.int32(peers & np.int32(own_bit - np.int32(1)))))
            if place < count:
                target[np.int32(first + ahead)] = item
                if ahead == 0:
                    marks[digit], nexts[digit] = np.int32(0), np.int32(first + np.int32(cuda.popc(peers)))
            meet_warp()
            item, digit = next_item, next_digit
            begin, place = np.int32(begin + WARP), np.int32(place + WARP)
        source, target, shift = target, source, np.int32(shift + BITS)


@jit
def _is_sorted(keys, count, own, order):  # type: ignore[no-untyped-def]
    """Tell whether no key stands before a higher one."""
    place, is_wrong = own, False
    while place + 1 < count:
        is_wrong |= keys[order[place]] < keys[order[place + 1]]
        place = np.int32(place + WARP)
    meet_warp()
    return among(is_wrong) == 0


@jit
def _range_of(keys, count, own):  # type: ignore[no-untyped-def]
    """Give the bits of the highest key, and a number that zeros have in place of their own bits.

    Bits of floats that are not negative sort like their values.  That number is so far below all others that the leading
    digits tell zeros apart from them, and no further, for that would make many digits.
    """
    highest, lowest, place = keys.dtype.type(0), keys.dtype.type(np.inf), own
    while place < count:
        key = keys[place]
        highest = max(highest, key)
        lowest = either((key > 0) & (key < lowest), key, lowest)
        place = np.int32(place + WARP)
    top, bottom = bits_of(highest_of(highest)), bits_of(lowest_of(lowest))
    bottom = min(top, bottom)
    gap = type(top)(((top - bottom) >> type(top)(FEW * BITS - 1)) + type(top)(1))
    return top, either(gap < bottom, type(top)(bottom - gap), type(top)(0))


@jit
def _item_in(place, keys, count, source, top, floor, shift):  # type: ignore[no-untyped-def]
    """Give the item in a place, beyond the end the last, and a digit of its key."""
    item = np.int32(source[min(place, np.int32(count - 1))])
    return item, _digit_of(keys[item], top, floor, shift)


@jit
def _digit_of(key, top, floor, shift):  # type: ignore[no-untyped-def]
    """Give the place of a digit of what a key is below the highest."""
    digit = np.int32(np.uint32((top - max(bits_of(key), floor)) >> type(top)(shift)) & np.uint32(DIGITS - 1))
    return np.int32(digit + np.int32(digit // WARP))


@jit
def _count_digits(keys, count, own, top, floor, shift, nexts):  # type: ignore[no-untyped-def]
    """Find out where the first item of each digit goes."""
    for turn in range(PER_LANE):
        nexts[own + turn * ROW] = np.int32(0)
    meet_warp()
    place = own
    while place < count:
        add_to(nexts, _digit_of(keys[place], top, floor, shift), np.int32(1))
        place = np.int32(place + WARP)
    meet_warp()
    first = np.int32(own * PER_LANE)
    digits, here = rest(nexts, np.int32(first + np.int32(first // WARP))), np.int32(0)
    for turn in range(PER_LANE):
        here = np.int32(here + digits[turn])
    before = here
    for power in range(WARP_BITS):
        distance = np.int32(1 << power)
        lower = cuda.shfl_up_sync(ALL, before, distance)
        before = np.int32(before + either(own >= distance, lower, np.int32(0)))
    before = np.int32(before - here)
    for turn in range(PER_LANE):
        size, digits[turn] = np.int32(digits[turn]), before
        before = np.int32(before + size)


overload(sort.sort_descending, target="cuda")(_sort_descending)
