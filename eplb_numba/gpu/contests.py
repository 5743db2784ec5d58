"""How do the lanes of a block find the lowest of many, and sort?  What they find is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import bracket, refine, sort
from ..rules.words import barrier, best_lane, lane, lanes, mine
from .instructions import next_below, quotient

__all__ = ["stands_before"]

FEW = 192  # so few that counting in one go beats merging


def _open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
    def open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
        """Let each lane find the lowest of its own players: every lanes-th."""
        values = bracket.values
        for player in mine(size):
            if player >= players:
                values[size + player] = np.inf
        lowest, winner = values.dtype.type(np.inf), np.int64(lane())
        for player in mine(size):
            if values[size + player] < lowest:
                lowest, winner = values[size + player], np.int64(player)
        return lowest, winner

    return open_bracket


def _champion(lead):  # type: ignore[no-untyped-def]
    def champion(lead):  # type: ignore[no-untyped-def]
        lowest, player = best_lane(-lead[0], lead[1])
        return -lowest, player

    return champion


def _replay(bracket, size, player, value, lead):  # type: ignore[no-untyped-def]
    def replay(bracket, size, player, value, lead):  # type: ignore[no-untyped-def]
        """Let the lane that the player belongs to know its new lead; where it has several players, all lanes help."""
        owner = player & (lanes() - 1)  # the number of lanes is a power of two
        if size <= lanes():
            return (value, np.int64(player)) if lane() == owner else lead
        values = bracket.values
        if lane() == owner:
            values[size + player] = value
        barrier()
        lowest, winner = values.dtype.type(np.inf), np.int64(owner)
        rival = owner + lane() * lanes()
        while rival < size:  # a range would divide
            if values[size + rival] < lowest:
                lowest, winner = values[size + rival], np.int64(rival)
            rival += lanes() * lanes()
        lowest, winner = best_lane(-lowest, winner)
        return (-lowest, winner) if lane() == owner else lead

    return replay


def _sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
    def sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
        if len(keys) <= FEW:
            _count_and_place(keys, order)
        else:
            _sort_and_merge(keys, order, spare)

    return sort_descending


@jit
def _sort_and_merge(keys, order, spare):  # type: ignore[no-untyped-def]
    """Let each lane sort a run of items; then runs are merged two by two, and each lane finds the place of what it holds."""
    count = len(keys)
    width = quotient(count + lanes() - 1, lanes())
    first = min(lane() * width, count)
    last = min(first + width, count)
    for item in range(first, last):
        hole = item
        while hole > first and keys[order[hole - 1]] < keys[item]:
            order[hole] = order[hole - 1]
            hole -= 1
        order[hole] = item
    barrier()
    source, target = order, spare[:count]
    run = np.int64(lane())
    rounds = 0
    while width < count:
        rivals = min((run ^ 1) * width, count)
        end = min(rivals + width, count)
        is_second = run & 1  # then rivals with the same key stand before
        rival = end
        if first < last:
            key = keys[source[first]]
            low = rivals
            while low < rival:
                middle = (low + rival) >> 1
                rival_key = keys[source[middle]]
                if rival_key > key or (is_second and rival_key == key):
                    low = middle + 1
                else:
                    rival = middle
        for place in range(first, last):
            item = source[place]
            key = keys[item]
            while rival < end:
                rival_key = keys[source[rival]]
                if not (rival_key > key or (is_second and rival_key == key)):
                    break
                rival += 1
            target[place - is_second * width + rival - rivals] = item
        barrier()
        source, target = target, source
        run >>= 1
        width *= 2
        rounds += 1
    if rounds & 1:
        for place in mine(count):
            target[place] = source[place]
        barrier()


@jit
def _count_and_place(keys, order):  # type: ignore[no-untyped-def]
    """Let each lane count how many keys stand before its own: four of its own at a time, beyond the end the last again."""
    count = len(keys)
    share = quotient(count + lanes() - 1, lanes())
    end = min((lane() + 1) * share, count)
    for one in range(lane() * share, end, 4):
        two, three, four = min(one + 1, end - 1), min(one + 2, end - 1), min(one + 3, end - 1)
        key_one, key_two, key_three, key_four = keys[one], keys[two], keys[three], keys[four]
        # Of those that come first, equal keys stand before: they are above the next lower key.
        lower = next_below(key_one), next_below(key_two), next_below(key_three), next_below(key_four)
        places = _count_above(keys, 0, one, lower, (np.int32(0), np.int32(0), np.int32(0), np.int32(0)))
        for rival in range(one, min(one + 4, count)):
            key = keys[rival]
            places = (
                np.int32(places[0] + stands_before(key, rival, key_one, one)),
                np.int32(places[1] + stands_before(key, rival, key_two, two)),
                np.int32(places[2] + stands_before(key, rival, key_three, three)),
                np.int32(places[3] + stands_before(key, rival, key_four, four)),
            )
        places = _count_above(keys, one + 4, count, (key_one, key_two, key_three, key_four), places)
        order[places[0]], order[places[1]], order[places[2]], order[places[3]] = one, two, three, four
    barrier()


@jit
def _count_above(keys, first, last, limits, counts):  # type: ignore[no-untyped-def]
    """Count the keys in the places [first, last) that are above each of four limits, four keys at a time."""
    place = first
    while place + 3 < last:
        one, two, three, four = keys[place], keys[place + 1], keys[place + 2], keys[place + 3]
        counts = _count_one(four, limits, _count_one(three, limits, _count_one(two, limits, _count_one(one, limits, counts))))
        place += 4
    while place < last:
        counts = _count_one(keys[place], limits, counts)
        place += 1
    return counts


@jit
def _count_one(key, limits, counts):  # type: ignore[no-untyped-def]
    return (
        np.int32(counts[0] + (key > limits[0])),
        np.int32(counts[1] + (key > limits[1])),
        np.int32(counts[2] + (key > limits[2])),
        np.int32(counts[3] + (key > limits[3])),
    )


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
