"""Which lane of a warp has the best to offer?  Floats are compared by integers that sort like them: those reduce at once."""

from __future__ import annotations

import numpy as np
from numba.cuda import types
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from .instructions import NONE, among, bits_of, either, float_of, largest, lowest

__all__ = ["best_of_warp", "best_rank", "highest_of", "is_first_lowest", "lowest_lane", "lowest_of", "rank_of", "unrank"]

SIGN, WIDE_SIGN = np.uint32(2**31), np.uint64(2**63)


def rank_of(gain):  # type: ignore[no-untyped-def]
    """Give a number that sorts like a float; 0 is added because the zero below zero is no less than the other."""


def unrank(rank):  # type: ignore[no-untyped-def]
    """Give the float that a rank stands for."""


def best_rank(rank, choice):  # type: ignore[no-untyped-def]
    """Hand the lanes of a warp the largest of their ranks; equal ranks go to the lowest choice."""


@overload(rank_of, target="cuda")
def _rank_of(gain):  # type: ignore[no-untyped-def]
    sign, unsigned = (SIGN, np.uint32) if gain == types.float32 else (WIDE_SIGN, np.uint64)

    def rank_of(gain):  # type: ignore[no-untyped-def]
        bits = bits_of(gain + type(gain)(0))
        return either(bits & sign != 0, unsigned(~bits), unsigned(bits | sign))

    return rank_of


@overload(unrank, target="cuda")
def _unrank(rank):  # type: ignore[no-untyped-def]
    sign, unsigned = (SIGN, np.uint32) if rank == types.uint32 else (WIDE_SIGN, np.uint64)

    def unrank(rank):  # type: ignore[no-untyped-def]
        return float_of(unsigned(rank ^ sign)) if rank & sign else float_of(unsigned(~rank))

    return unrank


@overload(best_rank, target="cuda")
def _best_rank(rank, choice):  # type: ignore[no-untyped-def]
    if rank == types.uint32:

        def best_rank(rank, choice):  # type: ignore[no-untyped-def]
            best = largest(rank)
            return best, lowest(either(rank == best, np.int32(choice), NONE))

        return best_rank

    def best_rank_wide(rank, choice):  # type: ignore[no-untyped-def]
        # The upper half first.
        upper = np.uint32(rank >> np.uint64(32))
        most = largest(upper)
        lower = largest(either(upper == most, np.uint32(rank), np.uint32(0)))
        best = (np.uint64(most) << np.uint64(32)) | np.uint64(lower)
        return best, lowest(either(rank == best, np.int32(choice), NONE))

    return best_rank_wide


@jit
def best_of_warp(gain, choice):  # type: ignore[no-untyped-def]
    """Do what `best_lane` does among the lanes of a warp, which need not be the whole block."""
    rank, chosen = best_rank(rank_of(gain), choice)
    return unrank(rank), chosen


def lowest_of(load):  # type: ignore[no-untyped-def]
    """Give the lowest load of the lanes of a warp, none of which is negative."""


def highest_of(load):  # type: ignore[no-untyped-def]
    """Give the highest load of the lanes of a warp, none of which is negative."""


def lowest_lane(load, own):  # type: ignore[no-untyped-def]
    """Give the lowest load of the lanes of a warp, none of which is negative, and the first that has it; own is the lane."""


def is_first_lowest(load, own):  # type: ignore[no-untyped-def]
    """Tell whether this lane is the first of its warp's with the lowest load, none of which is negative."""


@overload(lowest_of, target="cuda")
def _lowest_of(load):  # type: ignore[no-untyped-def]
    if load == types.float32:
        return lambda load: float_of(np.uint32(lowest(np.int32(bits_of(load)))))  # these sort like their floats
    return lambda load: -best_of_warp(-load, 0)[0]


@overload(highest_of, target="cuda")
def _highest_of(load):  # type: ignore[no-untyped-def]
    if load == types.float32:
        return lambda load: float_of(largest(bits_of(load)))
    return lambda load: best_of_warp(load, 0)[0]


@overload(lowest_lane, target="cuda")
def _lowest_lane(load, own):  # type: ignore[no-untyped-def]
    if load == types.float32:

        def lowest_lane(load, own):  # type: ignore[no-untyped-def]
            bits = np.int32(bits_of(load))
            least = lowest(bits)
            return float_of(np.uint32(least)), lowest(either(bits == least, np.int32(own), NONE))

        return lowest_lane

    def lowest_lane_wide(load, own):  # type: ignore[no-untyped-def]
        least, chosen = best_of_warp(-load, own)
        return -least, chosen

    return lowest_lane_wide


@overload(is_first_lowest, target="cuda")
def _is_first_lowest(load, own):  # type: ignore[no-untyped-def]
    if load == types.float32:

        def is_first_lowest(load, own):  # type: ignore[no-untyped-def]
            bits = np.int32(bits_of(load))
            is_lowest = bits == lowest(bits)
            before = np.uint32(among(is_lowest) & np.uint32((np.uint32(1) << np.uint32(own)) - np.uint32(1)))
            return is_lowest and before == 0

        return is_first_lowest
    return lambda load, own: best_of_warp(-load, own)[1] == own
