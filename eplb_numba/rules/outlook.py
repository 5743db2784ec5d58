"""What does a plan that is to last look at, and on which scratch is it worked out?"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from .scratch import endless, handed_on, taken
from .terms import Layout
from .words import aside, rule, take

__all__ = [
    "MOST_SCENARIOS",
    "MOST_STEPS",
    "STEP_STRIDE",
    "Outlook",
    "Sheet",
    "Window",
    "cut_outlook",
    "cut_window",
    "outlook_size",
    "recall_outlook",
    "window_size",
]

MOST_SCENARIOS = 8  # of a window that are planned for; ``scenarios`` is written for eight
MOST_STEPS = 32  # that are told apart while a window is read
STEP_STRIDE = MOST_STEPS + 1  # of an expert's loads: odd, so that a GPU's memory banks serve one step of all experts at once


class Window(NamedTuple):
    """The scenarios of a layer."""

    loads: Any  # (num_logical, STEP_STRIDE) where the mean GPU load is 1
    sizes: Any  # (MOST_STEPS) how many steps each stands for
    distances: Any  # (MOST_STEPS, MOST_STEPS)
    totals: Any  # (MOST_STEPS) of the steps that are being read


class Sheet(NamedTuple):
    """The scratch of an outlook, before it is cut into arrays."""

    values: Any
    integers: Any
    layout: Layout


class Outlook(NamedTuple):
    """What the lasting placement of a node is worked out on; loads stand scenario by scenario."""

    loads: Any  # (scenarios, experts)
    slot_loads: Any  # (scenarios, slots) of the replica in each slot
    sevenths: Any  # (scenarios, slots) its GPU's load to the power of seven; on a GPU there is nothing from here to prospects
    pulls: Any  # (scenarios, slots) what a load that leaves is multiplied by, in the promise of a swap for the one there
    heights: Any  # (scenarios) the seventh power of the heavy GPU's load
    bends: Any  # (scenarios) what the square of the load that moves costs a promise
    lightest: Any  # (scenarios) the load of the lightest GPU
    heaviest: Any  # (scenarios)
    promises: Any  # (slots) what no swap for the item in it can gain more than
    prospects: Any  # (gpus) the largest promise of their slots
    gpu_loads: Any  # (scenarios, gpus)
    powers: Any  # (scenarios, gpus) their eighth powers
    sizes: Any  # (scenarios) how many steps each stands for
    slopes: Any  # (scenarios)
    burdens: Any  # (gpus) the share of each in the weighted sum of powers
    costs: Any  # (slots)
    means: Any  # (experts)
    scores: Any  # (experts) by which replicas are given
    worsts: Any  # (experts) by which they are packed
    counts: Any  # (experts)
    experts: Any  # (slots)
    ranks: Any  # (slots)
    fill: Any  # (gpus) how many slots are taken, unless one warp packs; then, whether the GPU rests
    slots: int  # of a GPU
    sheet: Sheet


@lru_cache(maxsize=64)
def outlook_size(layout: Layout, of_gpu: bool) -> tuple[int, int]:
    """Give the number of values and of integers of an outlook."""
    table = endless(of_gpu)
    return taken(*_cut_outlook(Sheet(table, table, layout)))


def window_size(layout: Layout) -> int:
    """Give the number of values of a window."""
    return layout.num_logical * STEP_STRIDE + (2 + MOST_STEPS) * MOST_STEPS


@rule
def cut_window(values: Any, layout: Layout) -> Window:
    """Cut all arrays of a window."""
    loads, values = take(values, layout.num_logical * STEP_STRIDE)
    sizes, values = take(values, MOST_STEPS)
    distances, values = take(values, MOST_STEPS * MOST_STEPS)
    totals, _ = take(values, MOST_STEPS)
    return Window(loads, sizes, distances, totals)


@rule
def cut_outlook(sheet: Sheet) -> Outlook:
    """Cut an outlook."""
    outlook, _, _ = _cut_outlook(sheet)
    return outlook


@handed_on
def recall_outlook(outlook: Outlook) -> Outlook:
    """Give the same outlook; on a GPU, cut anew."""
    return outlook


@rule
def _cut_outlook(sheet: Sheet) -> tuple[Outlook, Any, Any]:
    """Cut all arrays of an outlook; give it and what is left."""
    values, integers, layout = sheet
    experts, slots, gpus = layout.node_experts, layout.node_slots, layout.node_gpus
    loads, values = take(values, MOST_SCENARIOS * experts)
    slot_loads, values = take(values, MOST_SCENARIOS * slots)
    sevenths, values = take(values, aside(values, MOST_SCENARIOS * slots))
    pulls, values = take(values, aside(values, MOST_SCENARIOS * slots))
    heights, values = take(values, aside(values, MOST_SCENARIOS))
    bends, values = take(values, aside(values, MOST_SCENARIOS))
    lightest, values = take(values, aside(values, MOST_SCENARIOS))
    heaviest, values = take(values, aside(values, MOST_SCENARIOS))
    promises, values = take(values, aside(values, slots))
    prospects, values = take(values, aside(values, gpus))
    gpu_loads, values = take(values, MOST_SCENARIOS * gpus)
    powers, values = take(values, MOST_SCENARIOS * gpus)
    sizes, values = take(values, MOST_SCENARIOS)
    slopes, values = take(values, MOST_SCENARIOS)
    burdens, values = take(values, gpus)
    costs, values = take(values, slots)
    means, values = take(values, experts)
    scores, values = take(values, experts)
    worsts, values = take(values, experts)
    counts, integers = take(integers, experts)
    slot_experts, integers = take(integers, slots)
    ranks, integers = take(integers, slots)
    fill, integers = take(integers, gpus)
    outlook = Outlook(
        loads,
        slot_loads,
        sevenths,
        pulls,
        heights,
        bends,
        lightest,
        heaviest,
        promises,
        prospects,
        gpu_loads,
        powers,
        sizes,
        slopes,
        burdens,
        costs,
        means,
        scores,
        worsts,
        counts,
        slot_experts,
        ranks,
        fill,
        layout.gpu_slots,
        sheet,
    )
    return outlook, values, integers
