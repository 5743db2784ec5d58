"""What is a block made of?"""

from __future__ import annotations

__all__ = ["LANES", "OFFER_BYTES", "SHARED_BYTES", "WARP", "WARPS"]

LANES = 128
WARP = 32
WARPS = LANES // WARP
OFFER_BYTES = 2 * WARPS * 8  # of shared memory, before all else: what the warps offer each other in best_lane
SHARED_BYTES = 48 * 1024 - OFFER_BYTES  # what every GPU gives a block that has not asked for more
