"""How do the lanes of a block find the lowest of many, and sort?  What they find is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import bracket, refine, sort
from ..rules.sort import COUNTERS
from ..rules.sums import largest_of, smallest_of
from ..rules.words import barrier, best_lane, lane, lanes
from .block import ALL, WARP
from .instructions import bits_in, bits_of

__all__ = ["stands_before"]

FEW = 256  # so few that counting in one go beats counting digits
DIGIT_BITS = 4
DIGITS = 2**DIGIT_BITS


def _open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
    def open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
        """Let each lane know the lowest of its own players; where each has one at most, there is nothing to know."""
        values, winners = bracket.values, bracket.winners
        for player in range(players + lane(), size, lanes()):
            values[size + player] = np.inf
        barrier()
        if size > lanes():
            lowest, winner = values[size + lane()], lane()
            for player in range(lane() + lanes(), size, lanes()):
                if values[size + player] < lowest:
                    lowest, winner = values[size + player], player
            values[lane()], winners[lane()] = lowest, winner
        barrier()

    return open_bracket


def _champion(bracket, size):  # type: ignore[no-untyped-def]
    def champion(bracket, size):  # type: ignore[no-untyped-def]
        player = np.int32(lane())
        lowest = bracket.values.dtype.type(np.inf)
        if size > lanes():
            lowest, player = bracket.values[lane()], np.int32(bracket.winners[lane()])
        elif lane() < size:
            lowest = bracket.values[size + lane()]
        lowest, winner = best_lane(-lowest, player)
        return -lowest, winner

    return champion


def _replay(bracket, size, player, value):  # type: ignore[no-untyped-def]
    def replay(bracket, size, player, value):  # type: ignore[no-untyped-def]
        """Find the lowest of those who share a lane with the player: all lanes help with that."""
        values, winners = bracket.values, bracket.winners
        owner = player & (lanes() - 1)  # a block has 32, 64 or 128 lanes
        if lane() == owner:
            values[size + player] = value
        barrier()
        if size > lanes():
            lowest, winner = values.dtype.type(np.inf), np.int64(owner)
            for rival in range(owner + lane() * lanes(), size, lanes() * lanes()):
                if values[size + rival] < lowest:
                    lowest, winner = values[size + rival], rival
            lowest, winner = best_lane(-lowest, winner)
            if lane() == owner:
                values[lane()], winners[lane()] = -lowest, winner
            barrier()

    return replay


def _sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
    def sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
        """Count how many stand before each item or, where that takes too long, place by one digit after the other.

        By digits, each lane of a warp takes a run of items, and other warps only wait.  Bits of floats that are not negative
        sort like their values; only those that differ count.
        """
        count = len(keys)
        if count <= FEW:
            _count_and_place(keys, order)
            return
        for item in range(lane(), count, lanes()):
            order[item] = item
        high = bits_of(largest_of(keys))
        width = bits_in(np.uint64(high - bits_of(smallest_of(keys))))
        counters, source, target = spare[:COUNTERS], order, spare[COUNTERS : COUNTERS + count]
        run = (count + WARP - 1) // WARP
        first = min(lane() * run, count)
        last = min(first + run, count) if lane() < WARP else first
        for shift in range(0, width, DIGIT_BITS):
            if lane() < WARP:
                for digit in range(DIGITS):
                    counters[_counter(digit, lane())] = 0
            for place in range(first, last):
                counters[_counter(_digit(high, keys[source[place]], shift), lane())] += 1
            barrier()
            if lane() < WARP:
                _add_up_counters(counters)
            barrier()
            for place in range(first, last):
                item = source[place]
                counter = _counter(_digit(high, keys[item], shift), lane())
                target[counters[counter]] = item
                counters[counter] += 1
            barrier()
            source, target = target, source
        if ((width + DIGIT_BITS - 1) // DIGIT_BITS) & 1:
            for place in range(lane(), count, lanes()):
                target[place] = source[place]
        barrier()

    return sort_descending


@jit
def _digit(high, key, shift):  # type: ignore[no-untyped-def]
    """Give a digit of how far a key is below the highest."""
    return np.int64((np.uint64(high - bits_of(key)) >> np.uint64(shift)) & np.uint64(DIGITS - 1))


@jit
def _counter(digit, lane):  # type: ignore[no-untyped-def]
    """Say where a lane counts a digit; the gaps keep lanes that add up whole rows out of each other's memory banks."""
    index = digit * WARP + lane
    return index + (index >> DIGIT_BITS)


@jit
def _add_up_counters(counters):  # type: ignore[no-untyped-def]
    """Replace each counter by the sum of those before it."""
    first = lane() << DIGIT_BITS
    own = np.int32(0)
    for index in range(first, first + DIGITS):
        own += counters[index + (index >> DIGIT_BITS)]
    sum_of_all = np.int32(own)
    distance = 1
    while distance < WARP:
        before = cuda.shfl_up_sync(ALL, sum_of_all, distance)
        if lane() >= distance:
            sum_of_all = np.int32(sum_of_all + before)
        distance *= 2
    running = sum_of_all - own
    for index in range(first, first + DIGITS):
        place = index + (index >> DIGIT_BITS)
        counted = counters[place]
        counters[place] = running
        running += counted


@jit
def _count_and_place(keys, order):  # type: ignore[no-untyped-def]
    """Let each lane count how many keys stand before its own, four at a time: stable by itself."""
    last = len(keys) - 1
    for item in range(lane(), len(keys), lanes()):
        key = keys[item]
        place = 0
        for first in range(0, len(keys), 4):
            # Beyond the end the last key stands again and again; it must not be counted twice.
            second, third, fourth = min(first + 1, last), min(first + 2, last), min(first + 3, last)
            one, two, three, four = keys[first], keys[second], keys[third], keys[fourth]
            place += stands_before(one, first, key, item)
            place += stands_before(two, second, key, item) & (second > first)
            place += stands_before(three, third, key, item) & (third > second)
            place += stands_before(four, fourth, key, item) & (fourth > third)
        order[place] = item
    barrier()


@jit
def stands_before(rival_key, rival, key, item):  # type: ignore[no-untyped-def]
    """Tell whether a rival stands before an item: it has the larger key, or the same and the lower number."""
    return (rival_key > key) | ((rival_key == key) & (rival < item))


def _rank(loads, ranking):  # type: ignore[no-untyped-def]
    return lambda loads, ranking: _count_and_place(loads, ranking)


overload(bracket.open_bracket, target="cuda")(_open_bracket)
overload(bracket.champion, target="cuda")(_champion)
overload(bracket.replay, target="cuda")(_replay)
overload(sort.sort_descending, target="cuda")(_sort_descending)
overload(refine.rank, target="cuda")(_rank)
