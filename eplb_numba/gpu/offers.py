"""How do the warps of a block tell each other something?  At the front of shared memory; the caller sees to barriers.

How large that is a launch tells: an array of a fixed size Numba links twice where two rules have it, and that fails.
"""

from __future__ import annotations

import numpy as np
from numba import cuda
from numba.cuda import types
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules.words import lane, lanes
from .block import WARP, WARPS
from .ranks import best_rank
from .strips import strip_of_shared

__all__ = ["best_offer", "make_offer", "post", "posted"]

# Where in OFFER_BYTES: ranks of 64 bits at most come first, then choices and a number of 32.
CHOICES, NOTICE = 8 * WARPS, 12 * WARPS


def make_offer(rank, choice):  # type: ignore[no-untyped-def]
    """Offer the best that the lanes of a warp have."""


def best_offer(rank):  # type: ignore[no-untyped-def]
    """Give the rank and the choice of the best offer; ranks are of the type of the one that is given."""


@overload(make_offer, target="cuda")
def _make_offer(rank, choice):  # type: ignore[no-untyped-def]
    rank_type = rank

    def make_offer(rank, choice):  # type: ignore[no-untyped-def]
        if lane() & (WARP - 1) == 0:
            warp = np.int32(np.int32(lane()) // np.int32(WARP))
            strip_of_shared(cuda.shared.array(0, rank_type), 0, WARPS)[warp] = rank
            strip_of_shared(cuda.shared.array(0, types.int32), CHOICES, WARPS)[warp] = choice

    return make_offer


@overload(best_offer, target="cuda")
def _best_offer(rank):  # type: ignore[no-untyped-def]
    rank_type = rank

    def best_offer(rank):  # type: ignore[no-untyped-def]
        warp = np.int32(np.int32(lane()) & np.int32(np.int32(np.int32(lanes()) // np.int32(WARP)) - 1))
        ranks = strip_of_shared(cuda.shared.array(0, rank_type), 0, WARPS)
        choices = strip_of_shared(cuda.shared.array(0, types.int32), CHOICES, WARPS)
        return best_rank(ranks[warp], choices[warp])

    return best_offer


@jit
def post(number):  # type: ignore[no-untyped-def]
    """Post a number where all lanes can read it."""
    strip_of_shared(cuda.shared.array(0, types.int32), NOTICE, 1)[0] = number


@jit
def posted():  # type: ignore[no-untyped-def]
    """Read the number that was posted."""
    return strip_of_shared(cuda.shared.array(0, types.int32), NOTICE, 1)[0]
