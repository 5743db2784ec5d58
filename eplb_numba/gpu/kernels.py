"""Which kernels are there?  Each takes its problems block by block and leaves what is decided to the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..rules.intake import take_in
from ..rules.node import place_node
from ..rules.outlast import outlast_node
from ..rules.place import assign_groups, best_try, deliver, first_try, list_slots, restage
from ..rules.rows import pack_row, replicate_row
from ..rules.scratch import cut_outlook, cut_stage, cut_tools, cut_window
from ..rules.terms import Bench, Layout, Stage
from ..rules.window import read_window
from ..rules.words import barrier, lane, lanes, rule, strip, take
from ..stamp import stamped
from .block import OFFER_BYTES

if not config.ENABLE_CUDASIM:
    from . import words  # noqa: F401  # what the rules mean here

__all__ = ["KERNELS", "Work"]


class Work(NamedTuple):
    """What lies on the GPU beside the weight and the results."""

    stage_values: Any  # (layers, tries, ...)
    stage_integers: Any  # (layers, tries, ...)
    values: Any  # (blocks, ...) scratch of each block; a single row tells how much shared memory takes its place
    integers: Any  # (blocks, ...)
    sound: Any  # (layers) whether a layer's loads are loads
    loads: Any  # (layers, experts) that were taken in
    scenarios: Any  # (layers) how many a layer's window stands for
    window_values: Any  # (layers, ...)
    outlook_values: Any  # (blocks, ...)
    outlook_integers: Any  # (blocks, ...)


@rule
def _scratch(work: Work, layout: Layout) -> tuple[Any, Any, Any]:
    """Give the scratch of this block: a place for the loads of a layer, then values and integers."""
    if len(work.values) > 1:
        values, integers = strip(work.values[cuda.blockIdx.x]), strip(work.integers[cuda.blockIdx.x])
    else:
        num_values = work.values.shape[1]
        values_from = OFFER_BYTES // work.values.itemsize
        integers_from = (OFFER_BYTES + num_values * work.values.itemsize) // work.integers.itemsize
        values = strip(cuda.shared.array(0, work.values.dtype))[values_from : values_from + num_values]
        integers = strip(cuda.shared.array(0, work.integers.dtype))[integers_from : integers_from + work.integers.shape[1]]
    loads, values = take(values, layout.num_logical)
    return loads, values, integers


@rule
def _stage(work: Work, layer: int, attempt: int, layout: Layout) -> Stage:
    """Give the stage of a try."""
    return cut_stage(
        Bench(strip(work.stage_values[layer, attempt]), strip(work.stage_integers[layer, attempt]), layout, False)
    )


def _assign(weight, zero, top, most, layout, tactics, work):  # type: ignore[no-untyped-def]
    loads, values, integers = _scratch(work, layout)
    tools = cut_tools(Bench(values, integers, layout, True))
    tries = work.stage_values.shape[1]
    for problem in range(cuda.blockIdx.x, len(work.stage_values) * tries, cuda.gridDim.x):
        layer, attempt = problem // tries, problem % tries
        take_in(weight, layer, zero, top, most, loads)
        restart = attempt + first_try(layout, tactics)
        assign_groups(loads, layer, restart, tactics, tools, _stage(work, layer, attempt, layout).order)


def _place(weight, zero, top, most, layout, tactics, work):  # type: ignore[no-untyped-def]
    loads, values, integers = _scratch(work, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    tries, nodes = work.stage_values.shape[1], layout.num_nodes
    for problem in range(cuda.blockIdx.x, len(work.stage_values) * tries * nodes, cuda.gridDim.x):
        layer, part = problem // (tries * nodes), problem % (tries * nodes)
        attempt, node = part // nodes, part % nodes
        is_sound = take_in(weight, layer, zero, top, most, loads)
        if part == 0:
            for expert in range(lane(), layout.num_logical, lanes()):
                work.loads[layer, expert] = loads[expert]
            work.sound[layer] = is_sound
        stage = _stage(work, layer, attempt, layout)
        if layout.num_groups == nodes:  # then there was nothing to choose, and the groups were not assigned before
            for place in range(node * layout.node_experts + lane(), (node + 1) * layout.node_experts, lanes()):
                stage.order[place] = place
            barrier()
        place_node(loads, layer, attempt + first_try(layout, tactics), node, tactics, tools, stage)


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
        count = 0
        if work.sound[layer] == 1:
            count = read_window(steps, layer, layout.num_gpus, cut_window(strip(work.window_values[layer]), layout))
        if count > 1:
            restage(layer, layout, placement, _stage(work, layer, 0, layout))
        work.scenarios[layer] = count


def _outlast(layout, tactics, work):  # type: ignore[no-untyped-def]
    _, values, integers = _scratch(work, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    outlook = cut_outlook(strip(work.outlook_values[cuda.blockIdx.x]), strip(work.outlook_integers[cuda.blockIdx.x]), layout)
    for problem in range(cuda.blockIdx.x, len(work.sound) * layout.num_nodes, cuda.gridDim.x):
        layer, node = problem // layout.num_nodes, problem % layout.num_nodes
        count = work.scenarios[layer]
        if count > 1:
            stage, window = _stage(work, layer, 0, layout), cut_window(strip(work.window_values[layer]), layout)
            outlast_node(strip(work.loads[layer]), layer, node, count, tactics, tools, stage, window, outlook)


def _deliver_again(layout, work, placement, log2phy, lists):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.sound), cuda.gridDim.x):
        if work.scenarios[layer] > 1:
            deliver(layer, layout, _stage(work, layer, 0, layout), placement)
        if lists:
            list_slots(layer, placement, log2phy)


def _list(placement, log2phy):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(log2phy), cuda.gridDim.x):
        list_slots(layer, placement, log2phy)


def _pack(weight, zero, top, most, layout, tactics, work, packs):  # type: ignore[no-untyped-def]
    loads, values, integers = _scratch(work, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    for row in range(cuda.blockIdx.x, weight.shape[1], cuda.gridDim.x):
        take_in(weight, row, zero, top, most, loads)
        pack_row(loads, row, tactics, tools, packs)


def _replicate(weight, zero, top, most, layout, work, replicas):  # type: ignore[no-untyped-def]
    loads, values, integers = _scratch(work, layout)
    tools = cut_tools(Bench(values, integers, layout, False))
    for row in range(cuda.blockIdx.x, weight.shape[1], cuda.gridDim.x):
        take_in(weight, row, zero, top, most, loads)
        replicate_row(loads, row, tools, replicas)


def _compiled(function: Any) -> Any:
    """Compile a kernel when it is launched; keep it on disk if there is a place to."""
    try:
        return cuda.jit(cache=True)(stamped(function))
    except RuntimeError:  # Numba has found no folder that it may write to
        return cuda.jit(stamped(function))


class Kernels(NamedTuple):
    """All kernels, compiled."""

    assign: Any = _compiled(_assign)
    place: Any = _compiled(_place)
    deliver: Any = _compiled(_deliver)
    read_window: Any = _compiled(_read_window)
    outlast: Any = _compiled(_outlast)
    deliver_again: Any = _compiled(_deliver_again)
    list_slots: Any = _compiled(_list)
    pack: Any = _compiled(_pack)
    replicate: Any = _compiled(_replicate)


KERNELS = Kernels()
