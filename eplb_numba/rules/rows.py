"""How do the single stages of a plan run, each row a problem of its own?"""

from __future__ import annotations

from typing import Any, NamedTuple

from .noise import stir
from .pack import largest_of, pack
from .replicate import replicate
from .scratch import lay_out, sized
from .terms import Items, Layout, Tactics
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
def pack_rows(
    weight: Any, first: int, step: int, layout: Layout, tactics: Tactics, values: Any, integers: Any, packs: Packs
) -> None:
    """Pack the items of the rows first, first + step, ... of weight (rows, items) onto num_gpus packs."""
    value = weight.dtype.type
    bench, _, _ = lay_out(values, integers, layout)
    loads = bench.node.slot_loads
    kept, desk = sized(bench, len(loads), layout.num_gpus)
    items = Items(loads, bench.node.slot_experts, bench.node.counts)
    slots = len(loads) // layout.num_gpus
    for row in range(first, len(weight), step):
        for item in range(lane(), len(loads), lanes()):
            loads[item] = abs(weight[row, item])
        barrier()
        total = value(0)
        for item in range(len(loads)):
            total += loads[item]
        bound = max(total / value(layout.num_gpus), largest_of(loads))
        pack(items, kept, tactics, False, 0, bound, stir(tactics.seed, row), False, desk)
        for position in range(lane(), len(loads), lanes()):
            packs.pack_index[row, kept.items[position]] = position // slots
            packs.rank_in_pack[row, kept.items[position]] = position % slots
        barrier()


@rule
def replicate_rows(
    weight: Any, first: int, step: int, layout: Layout, tactics: Tactics, values: Any, integers: Any, replicas: Replicas
) -> None:
    """Replicate the experts of the rows first, first + step, ... of weight (rows, experts)."""
    bench, _, _ = lay_out(values, integers, layout)
    node = bench.node
    for row in range(first, len(weight), step):
        for expert in range(lane(), len(node.loads), lanes()):
            node.loads[expert] = abs(weight[row, expert])
        barrier()
        replicate(node, layout.num_replicas, bench.desk.bracket)
        for slot in range(lane(), len(node.slot_loads), lanes()):
            replicas.phy2log[row, slot] = node.slot_experts[slot]
            replicas.rank[row, slot] = node.slot_ranks[slot]
        for expert in range(lane(), len(node.loads), lanes()):
            replicas.logcnt[row, expert] = node.counts[expert]
        barrier()
