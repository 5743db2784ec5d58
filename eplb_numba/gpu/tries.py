"""Which try does a block place, and in which order are its nodes placed?"""

from __future__ import annotations

from ..rules.words import parts, rule

__all__ = ["ABREAST", "try_and_turn"]

ABREAST = 8  # tries or starts of a layer of which none finds another one made: a GPU has more than that at work at a time


@rule
def try_and_turn(part: int, tries: int, nodes: int) -> tuple[int, int]:
    """Give the try, and which of its nodes in turn, that a layer's part-th block places.

    The first tries are placed whole: the others are measured against them.  Of those the node whose turn is first, which shows
    best that a try is lost, goes before all others: were all nodes of a try begun at once, it would spare none of them.
    """
    whole = min(tries, ABREAST)
    if part < whole * nodes:
        return parts(part, nodes)
    part -= whole * nodes
    if part < tries - whole:
        return whole + part, 0
    part -= tries - whole
    attempt, turn = parts(part, max(nodes - 1, 1))
    return whole + attempt, 1 + turn
