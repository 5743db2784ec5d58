"""How do the lanes of a block find the lowest of many, and sort?  What they find is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import bracket, refine, sort
from ..rules.words import barrier, best_lane, lane, lanes, mine
from .block import WARP
from .instructions import next_below, quotient
from .strips import rest

__all__ = ["stands_before"]

FEW = 192  # so few that counting in one go beats merging


def _seat(bracket, size, player, value):  # type: ignore[no-untyped-def]
    def seat(bracket, size, player, value):  # type: ignore[no-untyped-def]
        bracket.values[player] = value

    return seat


def _open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
    def open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
        """Let each lane find the lowest of its own players: every lanes-th."""
        values = bracket.values
        for player in mine(size):
            if player >= players:
                values[player] = np.inf
        lowest, winner = values.dtype.type(np.inf), np.int32(lane())
        for player in mine(size):
            if values[player] < lowest:
                lowest, winner = values[player], np.int32(player)
        return lowest, np.int64(winner)

    return open_bracket


def _champion(lead):  # type: ignore[no-untyped-def]
    def champion(lead):  # type: ignore[no-untyped-def]
        lowest, player = best_lane(-lead[0], lead[1])
        return -lowest, player

    return champion


def _replay(bracket, size, player, value, lead):  # type: ignore[no-untyped-def]
    def replay(bracket, size, player, value, lead):  # type: ignore[no-untyped-def]
        """Let the lane that the player belongs to know its new lead; where it has several players, all lanes help."""
        many, rivals = np.int32(lanes()), np.int32(size)
        owner = np.int32(player & (many - 1))  # the number of lanes is a power of two
        if rivals <= many:
            return (value, np.int64(player)) if lane() == owner else lead
        values = bracket.values
        if lane() == owner:
            values[player] = value
        barrier()
        lowest, winner = values.dtype.type(np.inf), owner
        rival, step = np.int32(owner + np.int32(lane() * many)), np.int32(many * many)
        while rival < rivals:
            if values[rival] < lowest:
                lowest, winner = values[rival], rival
            rival = np.int32(rival + step)
        lowest, chosen = best_lane(-lowest, winner)
        return (-lowest, chosen) if lane() == owner else lead

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
    count, many = np.int32(len(keys)), np.int32(lanes())
    width = np.int32(quotient(count + many - 1, many))
    first = min(np.int32(lane() * width), count)
    last = min(np.int32(first + width), count)
    item = first
    while item < last:
        hole, key = item, keys[item]
        while hole > first:
            before = np.int32(order[hole - 1])
            if not keys[before] < key:
                break
            order[hole] = before
            hole = np.int32(hole - 1)
        order[hole] = item
        item = np.int32(item + 1)
    barrier()
    source, target = order, spare[:count]
    run, rounds = np.int32(lane()), np.int32(0)
    while width < count:
        rivals = min(np.int32(np.int32(run ^ np.int32(1)) * width), count)
        end = min(np.int32(rivals + width), count)
        is_second = np.int32(run & np.int32(1))  # then rivals with the same key stand before
        rival = end
        if first < last:
            key = keys[source[first]]
            low = rivals
            while low < rival:
                middle = np.int32(low + rival) >> np.int32(1)
                if _goes_before(keys[source[middle]], key, is_second):
                    low = np.int32(middle + 1)
                else:
                    rival = np.int32(middle)
        place = first
        goal = np.int32(np.int32(rival - rivals) - np.int32(is_second * width))
        while place < last:
            item = np.int32(source[place])
            key = keys[item]
            while rival < end and _goes_before(keys[source[rival]], key, is_second):
                rival, goal = np.int32(rival + 1), np.int32(goal + 1)
            target[place + goal] = item
            place = np.int32(place + 1)
        barrier()
        source, target = target, source
        run, width, rounds = np.int32(run >> np.int32(1)), np.int32(width + width), np.int32(rounds + 1)
    if rounds & 1:
        for place in mine(count):
            target[place] = source[place]
        barrier()


@jit
def _goes_before(rival_key, key, equal_too):  # type: ignore[no-untyped-def]
    return rival_key > key or (equal_too != 0 and rival_key == key)


@jit
def _count_and_place(keys, order):  # type: ignore[no-untyped-def]
    """Let each lane count how many keys stand before its own: four of its own at a time, beyond the end the last again."""
    count = np.int32(len(keys))
    share = np.int32(quotient(count + lanes() - 1, lanes()))
    one, end = np.int32(lane() * share), min(np.int32(np.int32(lane() + 1) * share), count)
    while one < end:
        final = np.int32(end - 1)
        two, three, four = min(np.int32(one + 1), final), min(np.int32(one + 2), final), min(np.int32(one + 3), final)
        key_one, key_two, key_three, key_four = keys[one], keys[two], keys[three], keys[four]
        # Of those that come first, equal keys stand before: they are above the next lower key.
        limits = next_below(key_one), next_below(key_two), next_below(key_three), next_below(key_four)
        after = min(np.int32(one + 4), count)
        first, last, places = np.int32(0), one, (np.int32(0), np.int32(0), np.int32(0), np.int32(0))
        while True:  # those that come first, then those that come last
            places = _count_above(keys, first, last, limits, places)
            if last == count:
                break
            first, last, limits = after, count, (key_one, key_two, key_three, key_four)
        rival = one
        while rival < after:
            key = keys[rival]
            places = (
                np.int32(places[0] + stands_before(key, rival, key_one, one)),
                np.int32(places[1] + stands_before(key, rival, key_two, two)),
                np.int32(places[2] + stands_before(key, rival, key_three, three)),
                np.int32(places[3] + stands_before(key, rival, key_four, four)),
            )
            rival = np.int32(rival + 1)
        order[places[0]], order[places[1]], order[places[2]], order[places[3]] = one, two, three, four
        one = np.int32(one + 4)
    barrier()


@jit
def _count_above(keys, first, last, limits, counts):  # type: ignore[no-untyped-def]
    """Count the keys in the places [first, last) that are above each of four limits, four keys at a time."""
    place = first
    while place + 3 < last:
        four_keys = rest(keys, place)
        one, two, three, four = four_keys[0], four_keys[1], four_keys[2], four_keys[3]
        counts = _count_one(four, limits, _count_one(three, limits, _count_one(two, limits, _count_one(one, limits, counts))))
        place = np.int32(place + 4)
    while place < last:
        counts = _count_one(keys[place], limits, counts)
        place = np.int32(place + 1)
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
    def rank(loads, ranking):  # type: ignore[no-untyped-def]
        if len(loads) > WARP:
            _count_and_place(loads, ranking)
            return
        own, count, place, rival = np.int32(lane()), np.int32(len(loads)), np.int32(0), np.int32(0)
        load = loads[min(own, np.int32(count - 1))]
        while rival < count:
            place = np.int32(place + stands_before(loads[rival], rival, load, own))
            rival = np.int32(rival + 1)
        if own < count:
            ranking[place] = own
        barrier()

    return rank


overload(bracket.seat, target="cuda")(_seat)
overload(bracket.open_bracket, target="cuda")(_open_bracket)
overload(bracket.champion, target="cuda")(_champion)
overload(bracket.replay, target="cuda")(_replay)
overload(sort.sort_descending, target="cuda")(_sort_descending)
overload(refine.rank, target="cuda")(_rank)
