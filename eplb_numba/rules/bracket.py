"""Who is lowest now?  A tournament over packs or experts whose values change one at a time.

The values stand in the leaves of a binary tree; each inner node holds the winner of its two children, so a change costs
one match a level.  Ties go to the left child, which is the lower index: every rank must agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .words import barrier, lane, rule, word

__all__ = ["Bracket", "bracket_size", "champion", "open_bracket", "replay", "seat"]


class Bracket(NamedTuple):
    """A tree of 2 * size nodes: the root is node 1, the players sit in nodes size, size + 1, ...

    On a GPU there are only the values of the players: lanes find the lowest without a tree.
    """

    values: Any
    winners: Any


@rule
def bracket_size(players: int) -> int:
    """Give the number of leaves for that many players: the next power of two."""
    size = 1
    while size < players:
        size *= 2
    return size


@word
def seat(bracket: Bracket, size: int, player: int, value: Any) -> None:
    """Give a player its value before the bracket opens."""
    bracket.values[size + player] = value


@word
def open_bracket(bracket: Bracket, size: int, players: int) -> tuple[Any, int]:
    """Play all matches among the seated players; give the lead: the lowest value of a lane's players, and who has it.

    Where lanes share the players, each has a lead of its own, and they were seated by lanes that take turns.
    """
    if lane() == 0:
        values, winners = bracket.values, bracket.winners
        for leaf in range(size):
            winners[size + leaf] = leaf
            if leaf >= players:
                values[size + leaf] = np.inf
        for node in range(size - 1, 0, -1):
            left = 2 * node
            winner = left if values[left] <= values[left + 1] else left + 1
            values[node] = values[winner]
            winners[node] = winners[winner]
    barrier()
    return bracket.values[1], np.int64(bracket.winners[1])


@word
def champion(lead: tuple[Any, int]) -> tuple[Any, int]:
    """Hand every lane the lowest value and the player who has it, among equals the lowest player.  Ends with a barrier."""
    barrier()
    return lead


@word
def replay(bracket: Bracket, size: int, player: int, value: Any, lead: tuple[Any, int]) -> tuple[Any, int]:
    """Give one player a new value and replay its matches up to the top; give the new lead.  Nobody need wait for that."""
    if lane() == 0:
        values, winners = bracket.values, bracket.winners
        node = size + player
        winner = winners[node]
        values[node] = value
        while node > 1:
            rival = node ^ 1
            rival_value = values[rival]
            rival_winner = winners[rival]
            # Arithmetic, not a branch: who wins is a coin toss, and a mispredicted branch costs more than the match.
            rival_wins = np.int32(rival_value < value) | (np.int32(rival_value == value) & np.int32(rival < node))
            winner += (rival_winner - winner) * rival_wins
            value = min(value, rival_value)
            node >>= 1
            values[node] = value
            winners[node] = winner
    barrier()
    return bracket.values[1], np.int64(bracket.winners[1])
