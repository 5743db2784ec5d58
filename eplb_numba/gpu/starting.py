"""How do blocks make the starts of a packing beside each other, and who settles which one is kept?"""

from __future__ import annotations

import numpy as np
from numba import cuda

from ..rules.ceiling import Ceiling, sunk
from ..rules.groups import first_try
from ..rules.node import prepare_node
from ..rules.pack import best_start, keep
from ..rules.scratch import recall
from ..rules.starts import place_start, put_together, settle_node
from ..rules.words import best_lane, each, fresh, lane, parts, rule, strip, tell
from .memory import KEPT_APART, NOBODY_ASKS, PUT_TOGETHER, Work
from .own import kept_of, load_own_node, loads_and_tools, ours_in, prepared_of, stage_of
from .prepared import take_up_node
from .tries import ABREAST

__all__ = ["place_starts"]


def place_starts(weight, most, layout, tactics, work, scratch, starts, together):  # type: ignore[no-untyped-def]
    """Make each start of each packing; whoever ends last settles which one is kept."""
    loads, tools = loads_and_tools(scratch, layout, False)
    layers, num_parts, nodes = len(work.stage_values), work.first_near.shape[1], layout.num_nodes
    in_common = work.prepared.values.shape[1] > 0
    for problem in ours_in(scratch, layers * num_parts * tactics.starts):
        row, part = parts(problem, num_parts)
        start, layer = parts(row, layers)
        # All lanes must have read the same.
        _, first_near = best_lane(loads.dtype.type(0), fresh(strip(work.first_near[layer, part]), together))
        if first_near == NOBODY_ASKS:
            continue
        attempt, node = parts(part, nodes)
        stage, restart = stage_of(work, layer, attempt, layout), attempt + first_try(layout, tactics)
        is_raised = in_common and together == KEPT_APART and restart <= 0
        is_prepared, bound, raised_bound = False, loads.dtype.type(0), loads.dtype.type(0)
        for turn in each(2):  # to make the start, and to settle: two turns because either needs a node that is prepared
            if turn == 0:
                if first_near < start:
                    continue  # it cannot be kept
            elif not _is_last(work, layer, part, together, tactics.starts):
                continue
            if not is_prepared:
                if in_common:
                    bound, raised_bound = take_up_node(*prepared_of(work, layer, part), tools)
                    if together == PUT_TOGETHER:
                        put_together(tactics, tools)
                else:
                    load_own_node(weight, layer, node, part == 0 and start == 0, most, work, tools, loads, stage)
                    bound = prepare_node(node, together == PUT_TOGETHER, tactics, tools, stage)
                is_prepared = True
            if turn == 0:
                # Few starts are all made at the same time; and the narrowest spread may be one with a heavier GPU.
                earlier = start if tactics.starts > ABREAST and not tactics.by_spread else 0
                ceiling = sunk(Ceiling(loads.dtype.type(np.inf), strip(work.largest[layer, part, together]), earlier))
                near_to = raised_bound if is_raised else bound
                largest, spread, near = place_start(
                    start, near_to, is_raised, layer, restart, node, together == PUT_TOGETHER, ceiling, tactics, tools
                )
                if largest < ceiling.level:  # as is the first of the best, and the first that is near enough
                    keep(recall(tools).desk.trial, kept_of(starts, layer, part, start))
                if lane() == 0:
                    tell(strip(work.largest[layer, part, together]), start, largest)
                    starts.spreads[layer, part, start] = spread
                    # Whatever the order in which blocks end, the first start that comes near is made, and is the least.
                    if near:
                        cuda.atomic.min(work.first_near, (layer, part, together), start)
            else:
                all_largest, spreads = strip(work.largest[layer, part, together]), strip(starts.spreads[layer, part])
                best = best_start(work.first_near[layer, part, together], tactics, all_largest, spreads)
                kept = kept_of(starts, layer, part, best)
                dear = settle_node(bound, node, together == PUT_TOGETHER, kept, tactics, tools, stage)
                if together == KEPT_APART and lane() == 0:
                    work.first_near[layer, part, PUT_TOGETHER] = tactics.starts if dear else NOBODY_ASKS


@rule
def _is_last(work: Work, layer: int, part: int, together: int, starts: int) -> bool:
    """Tell whether all other starts of a packing are made, or need not be; then this block sees what has come of them."""
    made = 0
    if lane() == 0:
        cuda.threadfence()  # others see first what has come of this one
        made = cuda.atomic.add(work.made, (layer, part, together), 1)
        if made == starts - 1:
            cuda.threadfence()  # and what has come of others is not looked up from before
    _, made = best_lane(work.ceilings.dtype.type(lane() == 0), made)
    return made == starts - 1
