"""How do the lanes of a block find the lowest of many, and sort?  What they find is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import bracket, refine, sort
from ..rules.words import barrier, best_lane, lane, lanes, mine
from .block import WARP
from .instructions import either, next_below, quotient
from .strips import rest

__all__ = ["stands_before"]

FEW = 64  # so few that counting in one go beats merging
LONG = 16  # a run of a lane's that is longer is sorted in halves


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
        """Let each lane sort runs of its share by counting; then runs are merged two by two, and each lane makes its share.

        All lanes take as many steps as each other, whatever the keys are.  Few are one run that all lanes sort.
        """
        count, many = np.int32(len(keys)), np.int32(lanes())
        share, width, is_few = np.int32(quotient(count + many - 1, many)), count, count <= FEW
        if not is_few:
            # Odd: where each lane has one run, no two lanes read from one memory bank.
            width, runs = np.int32(share | np.int32(1)), np.int32(1)
            while width > LONG:
                width, runs = np.int32((np.int32(width + np.int32(1)) >> np.int32(1)) | np.int32(1)), np.int32(runs + runs)
            share = np.int32(width * runs)
        first = min(np.int32(lane() * share), count)
        last = min(np.int32(first + share), count)
        source, target, reach = order, spare[:count], width
        while reach < count:  # what is merged at last must end up in the order
            source, target, reach = target, source, np.int32(reach + reach)
        place = first
        while place < last:
            end = min(np.int32(place + width), last)
            begin, stop = (np.int32(0), count) if is_few else (place, end)
            _place_by_count(keys, source, place, end, begin, stop)
            place = end
        barrier()
        run = np.int32(lane())
        while width < count:
            double, place = np.int32(width + width), first
            if double > share:
                run = np.int32(run >> np.int32(1))
            while place < last:
                begin, end = place, min(np.int32(place + double), last)
                if double > share:
                    begin = np.int32(run * double)
                _merge(keys, source, target, begin, width, place, end)
                place = end
            barrier()
            source, target, width = target, source, double

    return sort_descending


@jit
def _merge(keys, source, target, begin, width, first, last):  # type: ignore[no-untyped-def]
    """Write the places [first, last) of what two runs merge to, the first of which begins at begin; equals as they stand."""
    count = np.int32(len(keys))
    middle = min(np.int32(begin + width), count)
    end, ahead = min(np.int32(middle + width), count), np.int32(first - begin)
    # How many of the first run stand ahead of these places?
    low, high = max(np.int32(0), np.int32(ahead - np.int32(end - middle))), min(ahead, np.int32(middle - begin))
    while low < high:
        half = np.int32(low + high) >> np.int32(1)
        rival = np.int32(np.int32(middle + ahead) - np.int32(half + np.int32(1)))
        if keys[source[rival]] > keys[source[begin + half]]:
            high = half
        else:
            low = np.int32(half + 1)
    one, other = np.int32(begin + low), np.int32(np.int32(middle + ahead) - low)
    one_item, one_key = _read_run(keys, source, one, middle)
    other_item, other_key = _read_run(keys, source, other, end)
    place = first
    while place < last:
        is_other = other_key > one_key
        target[place] = either(is_other, other_item, one_item)
        one, other = np.int32(one + (not is_other)), np.int32(other + is_other)
        item, key = _read_run(keys, source, either(is_other, other, one), either(is_other, end, middle))
        one_item, one_key = either(is_other, one_item, item), either(is_other, one_key, key)
        other_item, other_key = either(is_other, item, other_item), either(is_other, key, other_key)
        place = np.int32(place + 1)


@jit
def _read_run(keys, source, place, end):  # type: ignore[no-untyped-def]
    """Give the item in a place of a run and its key, or one that is below all behind its end."""
    item = np.int32(source[min(place, np.int32(len(keys) - 1))])
    return item, either(place < end, keys[item], keys.dtype.type(-1))


@jit
def _count_and_place(keys, order):  # type: ignore[no-untyped-def]
    """Let each lane count how many keys stand before its own."""
    count = np.int32(len(keys))
    share = np.int32(quotient(count + lanes() - 1, lanes()))
    first = np.int32(lane() * share)
    _place_by_count(keys, order, first, min(np.int32(first + share), count), np.int32(0), count)
    barrier()


@jit
def _place_by_count(keys, order, one, end, begin, stop):  # type: ignore[no-untyped-def]
    """Sort the places [begin, stop) as far as the items [one, end) go: four at a time, beyond the end the last again."""
    while one < end:
        final = np.int32(end - 1)
        two, three, four = min(np.int32(one + 1), final), min(np.int32(one + 2), final), min(np.int32(one + 3), final)
        key_one, key_two, key_three, key_four = keys[one], keys[two], keys[three], keys[four]
        # Of those that come first, equal keys stand before: they are above the next lower key.
        limits = next_below(key_one), next_below(key_two), next_below(key_three), next_below(key_four)
        after = min(np.int32(one + 4), stop)
        first, last, places = begin, one, (begin, begin, begin, begin)
        while True:  # those that come first, then those that come last
            places = _count_above(keys, first, last, limits, places)
            if last == stop:
                break
            first, last, limits = after, stop, (key_one, key_two, key_three, key_four)
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
