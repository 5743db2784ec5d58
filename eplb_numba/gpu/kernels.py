"""Which kernels are there?  Each takes its problems block by block and leaves what is decided to the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from ..rules.intake import take_in
from ..rules.node import place_node
from ..rules.outlast import outlast_node
from ..rules.place import assign_groups, best_try, deliver, first_try, list_slots, restage
from ..rules.rows import pack_rows, replicate_rows
from ..rules.scratch import cut_outlook, cut_stage, cut_tools, cut_window
from ..rules.terms import Bench, Job, Layout, Stage, Tables, Tactics
from ..rules.window import read_window
from ..rules.words import lane, rule
from ..stamp import stamped
from .block import OFFER_BYTES

if not config.ENABLE_CUDASIM:
    from . import words  # noqa: F401  # what the rules mean here

__all__ = ["KERNELS", "Work"]


class Work(NamedTuple):
    """What lies on the GPU beside the weight and the results."""

    loads: Any  # (layers, experts)
    sound: Any  # (layers) whether a layer's loads are loads
    stage_values: Any  # (layers, tries, ...)
    stage_integers: Any  # (layers, tries, ...)
    values: Any  # (blocks, ...) scratch of each block; a single row tells how much shared memory takes its place
    integers: Any  # (blocks, ...)
    scenarios: Any  # (layers) how many a layer's window stands for
    window_values: Any  # (layers, ...)
    outlook_values: Any  # (blocks, ...)
    outlook_integers: Any  # (blocks, ...)


@rule
def _scratch(work: Work) -> tuple[Any, Any]:
    """Give the scratch of this block."""
    num_values = work.values.shape[1]
    if len(work.values) > 1:
        return work.values[cuda.blockIdx.x], work.integers[cuda.blockIdx.x]
    values_from = OFFER_BYTES // work.values.itemsize
    integers_from = (OFFER_BYTES + num_values * work.values.itemsize) // work.integers.itemsize
    return (
        cuda.shared.array(0, work.values.dtype)[values_from : values_from + num_values],
        cuda.shared.array(0, work.integers.dtype)[integers_from:],
    )


@rule
def _stage(work: Work, layer: int, attempt: int, layout: Layout) -> Stage:
    """Give the stage of a try."""
    return cut_stage(Bench(work.stage_values[layer, attempt], work.stage_integers[layer, attempt], layout, False))


def _take_in(weight, zero, most, work):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.loads), cuda.gridDim.x):
        take_in(weight, layer, zero, most, work.loads, work.sound)


def _assign(layout, tactics, work):  # type: ignore[no-untyped-def]
    values, integers = _scratch(work)
    tools = cut_tools(Bench(values, integers, layout, True))
    tries = work.stage_values.shape[1]
    for problem in range(cuda.blockIdx.x, len(work.loads) * tries, cuda.gridDim.x):
        layer, attempt = problem // tries, problem % tries
        stage = _stage(work, layer, attempt, layout)
        restart = attempt + first_try(layout, tactics)
        assign_groups(work.loads, layer, restart, tactics, tools, stage)


def _place(layout, tactics, work):  # type: ignore[no-untyped-def]
    values, integers = _scratch(work)
    tools = cut_tools(Bench(values, integers, layout, False))
    tries = work.stage_values.shape[1]
    for problem in range(cuda.blockIdx.x, len(work.loads) * tries * layout.num_nodes, cuda.gridDim.x):
        node = problem % layout.num_nodes
        layer, attempt = problem // layout.num_nodes // tries, problem // layout.num_nodes % tries
        stage = _stage(work, layer, attempt, layout)
        restart = attempt + first_try(layout, tactics)
        place_node(work.loads, layer, restart, node, tactics, tools, stage)


def _deliver(layout, tactics, work, placement):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.loads), cuda.gridDim.x):
        best = best_try(layout, tactics, work.stage_values[layer], work.stage_integers[layer])
        deliver(layer, layout, _stage(work, layer, best, layout), placement)
        if lane() == 0 and work.sound[layer] == 0:
            placement.balancedness[layer] = np.nan


def _read_window(steps, layout, work, placement):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.loads), cuda.gridDim.x):
        count = 0
        if work.sound[layer] == 1:
            count = read_window(steps, layer, layout.num_gpus, cut_window(work.window_values[layer], layout))
        if count > 1:
            restage(layer, layout, placement, _stage(work, layer, 0, layout))
        work.scenarios[layer] = count


def _outlast(layout, tactics, work):  # type: ignore[no-untyped-def]
    values, integers = _scratch(work)
    tools = cut_tools(Bench(values, integers, layout, False))
    outlook = cut_outlook(work.outlook_values[cuda.blockIdx.x], work.outlook_integers[cuda.blockIdx.x], layout)
    for problem in range(cuda.blockIdx.x, len(work.loads) * layout.num_nodes, cuda.gridDim.x):
        layer, node = problem // layout.num_nodes, problem % layout.num_nodes
        count = work.scenarios[layer]
        if count > 1:
            stage, window = _stage(work, layer, 0, layout), cut_window(work.window_values[layer], layout)
            outlast_node(work.loads, layer, node, count, tactics, tools, stage, window, outlook)


def _deliver_again(layout, work, placement):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(work.loads), cuda.gridDim.x):
        if work.scenarios[layer] > 1:
            deliver(layer, layout, _stage(work, layer, 0, layout), placement)


def _list(placement, log2phy):  # type: ignore[no-untyped-def]
    for layer in range(cuda.blockIdx.x, len(log2phy), cuda.gridDim.x):
        list_slots(layer, placement, log2phy)


@rule
def _alone(work: Work, layout: Layout, tactics: Tactics, values: Any, integers: Any) -> tuple[Job, Tables]:
    """Give a job for single stages, which need neither a stage nor an outlook."""
    job = Job(work.loads, work.stage_values, layout, tactics)
    return job, Tables(values, integers, values, integers, values, values, integers)


def _pack(layout, tactics, work, packs):  # type: ignore[no-untyped-def]
    values, integers = _scratch(work)
    job, tables = _alone(work, layout, tactics, values, integers)
    pack_rows(job, cuda.blockIdx.x, cuda.gridDim.x, tables, packs)


def _replicate(layout, tactics, work, replicas):  # type: ignore[no-untyped-def]
    values, integers = _scratch(work)
    job, tables = _alone(work, layout, tactics, values, integers)
    replicate_rows(job, cuda.blockIdx.x, cuda.gridDim.x, tables, replicas)


def _compiled(function: Any) -> Any:
    """Compile a kernel when it is launched; keep it on disk if there is a place to."""
    try:
        return cuda.jit(cache=True)(stamped(function))
    except RuntimeError:  # Numba has found no folder that it may write to
        return cuda.jit(stamped(function))


class Kernels(NamedTuple):
    """All kernels, compiled."""

    take_in: Any = _compiled(_take_in)
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
