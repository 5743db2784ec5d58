"""How do the lanes of a block write a table?  Neighbours write neighbours, for memory takes in whole lines at a time."""

from __future__ import annotations

import numpy as np
from numba.cuda.extending import overload

from ..rules import placement
from ..rules.words import barrier, lane, lanes
from .instructions import quotient

__all__: list[str] = []


def _clear_log2phy(layer, log2phy):  # type: ignore[no-untyped-def]
    def clear_log2phy(layer, log2phy):  # type: ignore[no-untyped-def]
        """Let each lane go on by as many places as there are lanes, without a division for each."""
        experts, width = np.int32(log2phy.shape[1]), np.int32(log2phy.shape[2])
        rows = np.int32(quotient(lanes(), width))
        rest = np.int32(lanes() - rows * width)
        expert = np.int32(quotient(lane(), width))
        rank = np.int32(lane() - expert * width)
        while expert < experts:
            log2phy[layer, expert, rank] = -1
            expert, rank = np.int32(expert + rows), np.int32(rank + rest)
            if rank >= width:
                expert, rank = np.int32(expert + 1), np.int32(rank - width)
        barrier()

    return clear_log2phy


overload(placement.clear_log2phy, target="cuda")(_clear_log2phy)
