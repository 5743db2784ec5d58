"""How do the lanes of a block find the lowest of many, and sort?  What they find is what one lane would have found."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import bracket, sort
from ..rules.words import barrier, best_lane, lane, lanes, mine
from .instructions import either, next_below

__all__ = ["stand_in_order", "stands_before"]

FEW = 4  # players of a lane that it looks at alone


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
        """Let the lane that the player belongs to find its new lead; where it has many players, all lanes help."""
        many, rivals = np.int32(lanes()), np.int32(size)
        owner = np.int32(player & (many - 1))  # the number of lanes is a power of two
        values = bracket.values
        lowest, winner = values.dtype.type(np.inf), owner
        if rivals <= FEW * many:
            if lane() == owner:
                values[player] = value
                rival = owner
                while rival < rivals:
                    if values[rival] < lowest:
                        lowest, winner = values[rival], rival
                    rival = np.int32(rival + many)
                lead = lowest, np.int64(winner)
            return lead
        if lane() == owner:
            values[player] = value
        barrier()
        rival, step = np.int32(owner + np.int32(lane() * many)), np.int32(many * many)
        while rival < rivals:
            if values[rival] < lowest:
                lowest, winner = values[rival], rival
            rival = np.int32(rival + step)
        lowest, chosen = best_lane(-lowest, winner)
        return (-lowest, chosen) if lane() == owner else lead

    return replay


@jit
def stand_in_order(keys, order):  # type: ignore[no-untyped-def]
    """Sort keys, largest first: each lane counts how many stand before its own, which is soon done where it has one or two."""
    count = np.int32(len(keys))
    for turn in mine(count):
        own, place, rival = np.int32(turn), np.int32(0), np.int32(0)
        key = keys[own]
        below = next_below(key)  # of rivals with a lower number equal keys stand before: they are above that
        while rival < count:
            place = np.int32(place + (keys[rival] > either(rival < own, below, key)))
            rival = np.int32(rival + 1)
        order[place] = own
    barrier()


@jit
def stands_before(rival_key, rival, key, item):  # type: ignore[no-untyped-def]
    """Tell whether a rival stands before an item: it has the larger key, or the same and the lower number."""
    return (rival_key > key) | ((rival_key == key) & (rival < item))


def _sort_among_many(keys, order, spare, marks):  # type: ignore[no-untyped-def]
    return lambda keys, order, spare, marks: stand_in_order(keys, order)  # noqa: ARG005  # numba compares the signatures


overload(bracket.seat, target="cuda")(_seat)
overload(bracket.open_bracket, target="cuda")(_open_bracket)
overload(bracket.champion, target="cuda")(_champion)
overload(bracket.replay, target="cuda")(_replay)
overload(sort.sort_among_many, target="cuda")(_sort_among_many)
