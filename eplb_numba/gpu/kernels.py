"""Which kernels are there?  Each takes its problems block by block and leaves what is decided to the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..rules.intake import take_in
from ..rules.node import load_node, place_node, prepare_node
from ..rules.outlast import outlast_node
from ..rules.pack import best_start, keep
from ..rules.place import (
    assign_groups,
    best_try,
    ceiling_after,
    deliver,
    first_try,
    is_lost,
    list_slots,
    load_groups,
    node_in_turn,
    restage,
)
from ..rules.rows import pack_row, replicate_row
from ..rules.scratch import cut_outlook, cut_stage, cut_tools, cut_window, recall
from ..rules.starts import place_start, put_together, settle_node
from ..rules.terms import Bench, Kept, Layout, Outlook, Sheet, Stage, Tools
from ..rules.window import note_window, read_window
from ..rules.words import barrier, best_lane, lane, mine, mine_from, parts, rule, strip
from ..stamp import stamped
from .block import MOST_REGISTERS
from .memory import InGlobal, InShared, Starts, Work
from .prepared import leave_node, take_up_node
from .tries import ceiling_before, try_and_turn

if not config.ENABLE_CUDASIM:
    from numba.cuda.extending import overload

    from . import words  # noqa: F401  # what the rules mean here
    from .strips import strip_of_shared

__all__ = ["KEPT_APART", "KERNELS", "NOBODY_ASKS", "PUT_TOGETHER"]

# How replicas of one expert are packed where the starts of a packing are made beside each other.
KEPT_APART, PUT_TOGETHER = 0, 1
NOBODY_ASKS = -1  # for the starts that pack them together


def _shared(row: Any, first_byte: int) -> Any:
    """Give a place in shared memory for what would be a row of an array."""
    first = first_byte // row.itemsize
    return cuda.shared.array(0, row.dtype)[first : first + row.shape[1]]


def _in_shared(where: InShared) -> tuple[Any, Any]:
    values = _shared(where.values, where.first_byte)
    return values, _shared(where.integers, where.first_byte + len(values) * where.values.itemsize)


def _in_global(where: InGlobal) -> tuple[Any, Any]:
    return strip(where.values[cuda.blockIdx.x]), strip(where.integers[cuda.blockIdx.x])


def _space(where: InShared | InGlobal) -> tuple[Any, Any]:
    """Give values and integers of this block; where they lie is known when a kernel is compiled."""
    return _in_shared(where) if isinstance(where, InShared) else _in_global(where)


def _own_problem(where: InShared, count: int) -> range:
    return range(cuda.blockIdx.x, cuda.blockIdx.x + 1)  # the compiler sees that this is no loop


def _every_problem(where: InGlobal, count: int) -> range:
    return range(cuda.blockIdx.x, count, cuda.gridDim.x)


def _problems(where: InShared | InGlobal, count: int) -> range:
    """Give the problems of this block, of so many: one, unless there are fewer places for scratch than problems."""
    return _own_problem(where, count) if isinstance(where, InShared) else _every_problem(where, count)


if not config.ENABLE_CUDASIM:

    @overload(_shared, target="cuda")
    def _shared_on_gpu(row, first_byte):  # type: ignore[no-untyped-def]  # numba compares the two signatures
        dtype = row.dtype
        return lambda row, first_byte: strip_of_shared(cuda.shared.array(0, dtype), first_byte, row.shape[1])

    overload(_space, target="cuda", strict=False)(lambda where: _in_shared if where.instance_class is InShared else _in_global)

    @overload(_problems, target="cuda", strict=False)
    def _problems_on_gpu(where, count):  # type: ignore[no-untyped-def]
        return _own_problem if where.instance_class is InShared else _every_problem


@rule
def _loads_and_bench(scratch: Any, layout: Layout) -> tuple[Any, Any, Any]:
    """Cut the scratch of this block: a place for the loads of a layer, then values and integers.

    The loads lie at the end of the values.  Whatever else lies there is used only once they have been looked at.
    """
    values, integers = _space(scratch)
    return values[len(values) - layout.num_logical : len(values)], values, integers


@rule
def _stage(work: Work, layer: int, attempt: int, layout: Layout) -> Stage:
    """Give the stage of a try."""
    return cut_stage(
        Bench(strip(work.stage_values[layer, attempt]), strip(work.stage_integers[layer, attempt]), layout, False)
    )


@rule
def _prepared(work: Work, layer: int, part: int) -> tuple[Any, Any]:
    """Give where a prepared node lies: that of a part, or of all tries where groups leave them no choice."""
    values, integers = work.prepared
    _, place = parts(part, values.shape[1])
    return strip(values[layer, place]), strip(integers[layer, place])


@rule
def _outlook_of(outlook: Any, layout: Layout) -> Outlook:
    """Give the outlook of this block."""
    values, integers = _space(outlook)
    return cut_outlook(Sheet(values, integers, layout))


@rule
def _fetch(weight: Any, layer: int, most: Any, loads: Any) -> bool:
    """Fetch a layer of a weight (1, layers, experts) that is in the planned type; tell whether it holds loads."""
    value = loads.dtype.type
    return take_in(weight, layer, value(0), value(np.inf), most, loads)


@rule
def _load_node(
    weight: Any, layer: int, node: int, notes: bool, most: Any, work: Work, tools: Tools, loads: Any, stage: Stage
) -> None:
    """Fetch the loads of a node's experts; let others know whether the layer holds loads, if it notes that."""
    layout = tools.bench.layout
    if layout.num_groups > layout.num_nodes:  # they were fetched, and that was noted, when groups were assigned
        load_node(strip(work.fetched[layer]), node, tools, stage)
        return
    is_sound = _fetch(weight, layer, most, loads)
    if notes:
        work.sound[layer] = is_sound
    load_node(loads, node, tools, stage)


def _intake(weight, zero, top, most, work):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, weight.shape[1], cuda.gridDim.x):
        loads = strip(work.loads[0, layer])
        if not take_in(weight, layer, zero, top, most, loads):
            for expert in mine(len(loads)):
                loads[expert] = np.nan  # whoever takes it in again finds that these are no loads


def _assign(weight, most, layout, tactics, work, scratch):  # type: ignore[no-untyped-def]
    loads, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, True))
    tries, nodes, step = work.stage_values.shape[1], layout.num_nodes, work.assigners
    for problem in _problems(scratch, len(work.stage_values) * step):
        layer, first = parts(problem, step)
        if layout.num_groups > nodes:
            is_sound = _fetch(weight, layer, most, loads)
            if first == 0:
                work.sound[layer] = is_sound
                for expert in mine(len(loads)):
                    work.fetched[layer, expert] = loads[expert]
        groups_bound, attempt = load_groups(loads, tools), first
        while attempt < tries:  # a range with such a step would divide
            restart = attempt + first_try(layout, tactics)
            assign_groups(groups_bound, layer, restart, tactics, tools, _stage(work, layer, attempt, layout))
            if lane() == 0:
                work.ceilings[layer, attempt] = np.inf
            for part in mine_from(attempt * nodes, (attempt + 1) * nodes):
                work.first_near[layer, part, KEPT_APART] = tactics.starts
                for together in range(2):
                    work.made[layer, part, together] = 0
            attempt += step


def _prepare(weight, most, layout, tactics, work, scratch):  # type: ignore[no-untyped-def]
    loads, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    layers, prepared = work.prepared.values.shape[:2]
    for problem in _problems(scratch, layers * prepared):
        layer, part = parts(problem, prepared)
        attempt, node = parts(part, layout.num_nodes)
        stage = _stage(work, layer, attempt, layout)
        _load_node(weight, layer, node, part == 0, most, work, tools, loads, stage)
        bound = prepare_node(node, False, tactics, tools, stage)
        leave_node(bound, tools, *_prepared(work, layer, part))


def _place(weight, most, layout, tactics, work, scratch):  # type: ignore[no-untyped-def]
    loads, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    layers, tries, nodes = len(work.stage_values), work.stage_values.shape[1], layout.num_nodes
    for problem in _problems(scratch, layers * tries * nodes):
        # All layers have their first blocks first, so that late tries of each find early ones finished.
        part, layer = parts(problem, layers)
        attempt, node = try_and_turn(part, tries, nodes)
        stage = _stage(work, layer, attempt, layout)
        ceiling = weight.dtype.type(np.inf)
        if tries > 1:
            ceiling = ceiling_before(attempt, strip(work.ceilings[layer]))
            if is_lost(stage, ceiling):
                continue
            node = node_in_turn(node, stage)
        if work.prepared.values.shape[1] > 0:
            bound = take_up_node(*_prepared(work, layer, node), tools)  # groups leave the tries no choice, or there were none
        else:
            if tries == 1 and layout.num_groups == nodes:  # there was nothing to choose, and groups were not assigned before
                for place in mine_from(node * layout.node_experts, (node + 1) * layout.node_experts):
                    stage.order[place] = place
                barrier()
            _load_node(weight, layer, node, part == 0, most, work, tools, loads, stage)
            bound = prepare_node(node, False, tactics, tools, stage)
        place_node(bound, layer, attempt + first_try(layout, tactics), node, ceiling, tactics, tools, stage)
        if tries > 1:
            if lane() == 0:
                cuda.threadfence()  # behind it the last of a try's blocks sees what the others have staged
                ceiling = ceiling_after(layout, tactics, stage)
                if ceiling < np.inf:
                    work.ceilings[layer, attempt] = ceiling
            barrier()  # the next problem may be a later try of the same layer


def _place_start(weight, most, layout, tactics, work, scratch, starts, together):  # type: ignore[no-untyped-def]
    loads, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    layers, num_parts, nodes = len(work.stage_values), work.first_near.shape[1], layout.num_nodes
    in_common = work.prepared.values.shape[1] > 0
    for problem in _problems(scratch, layers * num_parts * tactics.starts):
        row, part = parts(problem, num_parts)
        start, layer = parts(row, layers)
        # Another block may write there at any moment, and all lanes must have read the same.
        _, first_near = best_lane(values.dtype.type(0), work.first_near[layer, part, together])
        if first_near == NOBODY_ASKS:
            continue
        attempt, node = parts(part, nodes)
        stage, restart = _stage(work, layer, attempt, layout), attempt + first_try(layout, tactics)
        is_prepared, bound = False, values.dtype.type(0)
        for turn in range(2):  # to make the start, and to settle: two turns because either needs a node that is prepared
            if turn == 0:
                if first_near < start:
                    continue  # it cannot be kept
            elif not _is_last(work, layer, part, together, tactics.starts):
                continue
            if not is_prepared:
                if in_common:
                    bound = take_up_node(*_prepared(work, layer, part), tools)
                    if together == PUT_TOGETHER:
                        put_together(tactics, tools)
                else:
                    _load_node(weight, layer, node, part == 0 and start == 0, most, work, tools, loads, stage)
                    bound = prepare_node(node, together == PUT_TOGETHER, tactics, tools, stage)
                is_prepared = True
            if turn == 0:
                largest, spread, near = place_start(
                    start, bound, layer, restart, node, together == PUT_TOGETHER, tactics, tools
                )
                keep(recall(tools).desk.trial, _kept(starts, layer, part, start))
                if lane() == 0:
                    starts.largest[layer, part, start], starts.spreads[layer, part, start] = largest, spread
                    # Whatever the order in which blocks end, the first start that comes near is made, and is the least.
                    if near:
                        cuda.atomic.min(work.first_near, (layer, part, together), start)
            else:
                all_largest, spreads = strip(starts.largest[layer, part]), strip(starts.spreads[layer, part])
                best = best_start(work.first_near[layer, part, together], tactics, all_largest, spreads)
                kept = _kept(starts, layer, part, best)
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


@rule
def _kept(starts: Starts, layer: int, part: int, start: int) -> Kept:
    """Give where the packing of a start is kept."""
    return Kept(strip(starts.items[layer, part, start]), strip(starts.pack_loads[layer, part, start]))


def _deliver(layout, tactics, work, placement, log2phy, lists):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.sound), cuda.gridDim.x):
        best = best_try(layout, tactics, work.stage_values[layer], work.stage_integers[layer])
        deliver(layer, layout, _stage(work, layer, best, layout), placement)
        if lane() == 0 and work.sound[layer] == 0:
            placement.balancedness[layer] = np.nan
        if lists:
            list_slots(layer, placement, log2phy)


def _read_window(steps, layout, work, placement):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.sound), cuda.gridDim.x):
        count, noted = 0, cut_window(strip(work.window_values[layer]), layout)
        if work.sound[layer] == 1:
            if work.window_from > 0:
                window = cut_window(_shared(work.window_values, work.window_from), layout)
                count = read_window(steps, layer, layout.num_gpus, window)
                note_window(count, layout.num_logical, window, noted)
            else:
                count = read_window(steps, layer, layout.num_gpus, noted)
        if count > 1:
            restage(layer, layout, placement, _stage(work, layer, 0, layout))
        work.scenarios[layer] = count


def _outlast(layout, tactics, work, scratch, sheet):  # type: ignore[no-untyped-def]
    _, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    outlook = _outlook_of(sheet, layout)
    for problem in range(cuda.blockIdx.x, len(work.sound) * layout.num_nodes, cuda.gridDim.x):
        layer, node = parts(problem, layout.num_nodes)
        count = work.scenarios[layer]
        if count > 1:
            stage, window = _stage(work, layer, 0, layout), cut_window(strip(work.window_values[layer]), layout)
            outlast_node(strip(work.loads[0, layer]), layer, node, count, tactics, tools, stage, window, outlook)


def _deliver_again(layout, work, placement, log2phy, lists):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.sound), cuda.gridDim.x):
        if work.scenarios[layer] > 1:
            deliver(layer, layout, _stage(work, layer, 0, layout), placement)
        if lists:
            list_slots(layer, placement, log2phy)


def _list(placement, log2phy):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(log2phy), cuda.gridDim.x):
        list_slots(layer, placement, log2phy)


def _pack(weight, most, layout, tactics, scratch, packs):  # type: ignore[no-untyped-def]
    loads, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    for row in _problems(scratch, weight.shape[1]):
        _fetch(weight, row, most, loads)
        pack_row(loads, row, tactics, tools, packs)


def _replicate(weight, most, layout, scratch, replicas):  # type: ignore[no-untyped-def]
    loads, values, integers = _loads_and_bench(scratch, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    for row in _problems(scratch, weight.shape[1]):
        _fetch(weight, row, most, loads)
        replicate_row(loads, row, tools, replicas)


def _compiled(function: Any, **options: Any) -> Any:
    """Compile a kernel when it is launched; keep it on disk if there is a place to."""
    if config.ENABLE_CUDASIM:  # it compiles nothing, and knows no options of that
        return cuda.jit(stamped(function, options))
    try:
        return cuda.jit(cache=True, **options)(stamped(function, options))
    except RuntimeError:  # Numba has found no folder that it may write to
        return cuda.jit(**options)(stamped(function, options))


class Kernels(NamedTuple):
    """All kernels, compiled."""

    intake: Any = _compiled(_intake)
    assign: Any = _compiled(_assign)
    prepare: Any = _compiled(_prepare)
    place: Any = _compiled(_place)
    place_start: Any = _compiled(_place_start)
    deliver: Any = _compiled(_deliver)
    read_window: Any = _compiled(_read_window)
    outlast: Any = _compiled(_outlast)
    outlast_by_many: Any = _compiled(_outlast, max_registers=MOST_REGISTERS)
    deliver_again: Any = _compiled(_deliver_again)
    list_slots: Any = _compiled(_list)
    pack: Any = _compiled(_pack)
    replicate: Any = _compiled(_replicate)


KERNELS = Kernels()
