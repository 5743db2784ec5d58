"""What is a block made of?"""

from __future__ import annotations

__all__ = [
    "ALL",
    "COPYING_LANES",
    "FEW_REGISTERS",
    "LANES",
    "LASTING_LANES",
    "MANY_LANES",
    "MOST_REGISTERS",
    "OFFER_BYTES",
    "SHARED_BYTES",
    "WARP",
    "WARPS",
    "WARP_BITS",
]

# Whole warps, a power of two of them, at most WARPS.
LANES = 32  # for a plan: one warp, whose lanes wait for each other at little cost; most of what plans takes that for granted
LASTING_LANES = 256  # for a plan that is to last, where most is shared
MANY_LANES = 512  # for one with more slots on a node
MOST_REGISTERS = 128  # that a multiprocessor has for each of so many lanes
FEW_REGISTERS = 96  # of a lane where more blocks are to run than there is room for: 21 fit on a multiprocessor
COPYING_LANES = 256  # for what little more than copies, and waits for memory
WARP = 32  # more than twice as many lanes as there are scenarios
WARP_BITS = 5  # of the number of a lane
ALL = 0xFFFFFFFF  # lanes of a warp
WARPS = 16  # at most
OFFER_BYTES = WARPS * (8 + 4) + 8  # of shared memory, before all else: what warps tell each other
SHARED_BYTES = 48 * 1024 - OFFER_BYTES  # what every GPU gives a block that has not asked for more
