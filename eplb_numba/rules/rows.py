"""How do the single stages of a plan run, each row a problem of its own?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .ceiling import steady
from .noise import stir
from .pack import pack
from .replicate import replicate
from .scratch import cut_tools, recall
from .sums import largest_of, total_of
from .terms import Bench, Job, Tables, Tactics, Tools
from .words import barrier, mine, rule

__all__ = ["Packs", "Replicas", "pack_row", "pack_rows", "replicate_row", "replicate_rows"]


class Packs(NamedTuple):
    """Where each item of each row went."""

    pack_index: Any  # (rows, items)
    rank_in_pack: Any  # (rows, items)


class Replicas(NamedTuple):
    """Which expert each slot of each row holds."""

    phy2log: Any  # (rows, slots)
    rank: Any  # (rows, slots)
    logcnt: Any  # (rows, experts)


@rule
def pack_rows(job: Job, first: int, step: int, tables: Tables, packs: Packs) -> None:
    """Pack the items of the rows first, first + step, ... onto num_gpus packs."""
    tools = cut_tools(Bench(tables.values, tables.integers, job.layout, False))
    for row in range(first, len(job.weight), step):
        pack_row(job.weight[row], row, job.tactics, tools, packs)


@rule
def replicate_rows(job: Job, first: int, step: int, tables: Tables, replicas: Replicas) -> None:
    """Replicate the experts of the rows first, first + step, ..."""
    tools = cut_tools(Bench(tables.values, tables.integers, job.layout, False))
    for row in range(first, len(job.weight), step):
        replicate_row(job.weight[row], row, tools, replicas)


@rule
def pack_row(loads: Any, row: int, tactics: Tactics, tools: Tools, packs: Packs) -> None:
    """Pack the items of a row, whose loads (items) are given."""
    bound = _load_row(loads, tools)
    pack(tools, tactics, False, 0, bound, stir(tactics.seed, row), False, steady(loads.dtype.type(np.inf), loads))
    kept = recall(tools).kept
    slots = tools.bench.layout.gpu_slots
    for position in mine(len(kept.items)):
        packs.pack_index[row, kept.items[position]] = position // slots
        packs.rank_in_pack[row, kept.items[position]] = position % slots
    barrier()


@rule
def _load_row(loads: Any, tools: Tools) -> Any:
    """Fetch the loads of a row's items; give the load that its heaviest pack cannot go below."""
    item_loads = recall(tools).items.loads
    for item in mine(len(loads)):
        item_loads[item] = abs(loads[item])
    barrier()
    return max(total_of(item_loads) / loads.dtype.type(tools.bench.layout.num_gpus), largest_of(item_loads))


@rule
def replicate_row(loads: Any, row: int, tools: Tools, replicas: Replicas) -> None:
    """Replicate the experts of a row, whose loads (experts) are given."""
    node, _, _, desk, _ = recall(tools)
    for expert in mine(len(node.loads)):
        node.loads[expert] = abs(loads[expert])
    barrier()
    replicate(node, tools.bench.layout.num_replicas, False, desk)
    for slot in mine(len(node.slot_loads)):
        replicas.phy2log[row, slot] = node.slot_experts[slot]
        replicas.rank[row, slot] = node.slot_ranks[slot]
    for expert in mine(len(node.loads)):
        replicas.logcnt[row, expert] = node.counts[expert]
    barrier()
