"""How do the single stages of a plan run, each row a problem of its own?"""

from __future__ import annotations

from typing import Any, NamedTuple

from .noise import stir
from .pack import largest_of, pack
from .replicate import replicate
from .scratch import cut_tools, recall
from .terms import Bench, Job, Tables, Tools
from .words import barrier, lane, lanes, rule

__all__ = ["Packs", "Replicas", "pack_rows", "replicate_rows"]


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
    weight, _, layout, tactics = job
    tools = cut_tools(Bench(tables.values, tables.integers, layout, False))
    for row in range(first, len(weight), step):
        bound = _load_row(weight, row, tools)
        pack(tools, tactics, False, 0, bound, stir(tactics.seed, row), False)
        kept = recall(tools).kept
        slots = layout.num_replicas // layout.num_gpus
        for position in range(lane(), len(kept.items), lanes()):
            packs.pack_index[row, kept.items[position]] = position // slots
            packs.rank_in_pack[row, kept.items[position]] = position % slots
        barrier()


@rule
def _load_row(weight: Any, row: int, tools: Tools) -> Any:
    """Fetch the loads of a row's items; give the load that its heaviest pack cannot go below."""
    value = weight.dtype.type
    loads = recall(tools).items.loads
    for item in range(lane(), len(loads), lanes()):
        loads[item] = abs(weight[row, item])
    barrier()
    total = value(0)
    for item in range(len(loads)):
        total += loads[item]
    return max(total / value(tools.bench.layout.num_gpus), largest_of(loads))


@rule
def replicate_rows(job: Job, first: int, step: int, tables: Tables, replicas: Replicas) -> None:
    """Replicate the experts of the rows first, first + step, ..."""
    weight, _, layout, _ = job
    node, _, _, desk, _ = cut_tools(Bench(tables.values, tables.integers, layout, False))
    for row in range(first, len(weight), step):
        for expert in range(lane(), len(node.loads), lanes()):
            node.loads[expert] = abs(weight[row, expert])
        barrier()
        replicate(node, layout.num_replicas, desk.bracket)
        for slot in range(lane(), len(node.slot_loads), lanes()):
            replicas.phy2log[row, slot] = node.slot_experts[slot]
            replicas.rank[row, slot] = node.slot_ranks[slot]
        for expert in range(lane(), len(node.loads), lanes()):
            replicas.logcnt[row, expert] = node.counts[expert]
        barrier()
