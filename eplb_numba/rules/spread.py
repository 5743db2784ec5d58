"""How are replicas given, and packed at first, where several scenarios count?

They go to experts whose load is large or varies, and are packed in the order of their worst load, experts with several of them
first: each onto the GPU where the powers of the loads grow least.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .bracket import Bracket, bracket_size, champion, open_bracket, replay, seat
from .noise import STEPS, perturb
from .norm import eighth
from .outlook import STEP_STRIDE, Outlook, Window, recall_outlook
from .sort import sort_among_many
from .sums import total_in_line
from .terms import Stage, Tactics, Tools
from .words import barrier, best_lane, inlined_word, lane, mine, root, rule, times, word

__all__ = [
    "has_room",
    "pack_in_order",
    "pack_one_by_one",
    "pack_over_scenarios",
    "put_replica",
    "reckon",
    "replicate_by_spread",
]

SPREAD = 4.0  # how many standard deviations above the mean an expert's load is reckoned with
GUARD = 0.75  # of a mean GPU load: a replica with more on average is split before any that only varies
BEFORE_ALL = 2.0**20  # what puts those before all others


@rule
def reckon(first_expert: int, count: int, stage: Stage, window: Window, outlook: Outlook) -> None:
    """Fetch each expert's loads over the scenarios; work out its mean, its score and its worst load."""
    outlook = recall_outlook(outlook)
    value = outlook.means.dtype.type
    num_experts = len(outlook.means)
    for scenario in mine(count):
        outlook.sizes[scenario] = window.sizes[scenario]
    whole = total_in_line(window.sizes, 0, count)
    for expert in mine(num_experts):
        row = stage.order[first_expert + expert] * STEP_STRIDE
        total, worst, squares = value(0), value(0), value(0)
        for scenario in range(count):
            load = window.loads[row + scenario]
            outlook.loads[scenario * num_experts + expert] = load
            total += times(load, window.sizes[scenario])
            worst = max(worst, load)
        mean = total / whole
        for scenario in range(count):
            gap = outlook.loads[scenario * num_experts + expert] - mean
            squares += times(times(gap, gap), window.sizes[scenario])
        outlook.means[expert] = mean
        outlook.scores[expert] = mean + times(value(SPREAD), root(squares / whole))
        outlook.worsts[expert] = worst
    barrier()


@rule
def replicate_by_spread(copies: int, tactics: Tactics, bracket: Bracket, outlook: Outlook) -> None:
    """Give each expert one slot and every further slot to the one with the largest score per replica."""
    outlook = recall_outlook(outlook)
    num_experts, num_slots = len(outlook.means), len(outlook.costs)
    most = min(num_slots, len(outlook.burdens) * copies)
    if tactics.max_replicas > 0:
        most = min(most, tactics.max_replicas)
    size = bracket_size(num_experts)
    for expert in mine(num_experts):
        outlook.counts[expert] = 1
        seat(bracket, size, expert, -_claim(expert, 1, outlook))
    barrier()
    lead = open_bracket(bracket, size, num_experts)
    for _ in range(num_experts, num_slots):
        _, expert = champion(lead)
        replicas = np.int64(outlook.counts[expert]) + 1
        barrier()
        if lane() == 0:
            outlook.counts[expert] = replicas
        claim = outlook.means.dtype.type(-np.inf) if replicas >= most else _claim(expert, replicas, outlook)
        lead = replay(bracket, size, expert, -claim, lead)
    barrier()


@rule
def _claim(expert: int, replicas: int, outlook: Outlook) -> Any:
    """Give an expert's claim to a further replica; of those without load the ones with the fewest replicas come first."""
    value = outlook.means.dtype.type
    if outlook.scores[expert] == 0:
        return -value(replicas)
    claim = outlook.scores[expert] / value(replicas)
    mean = outlook.means[expert] / value(replicas)
    return claim + times(value(BEFORE_ALL), mean) if mean > value(GUARD) else claim


@rule
def pack_over_scenarios(count: int, copies: int, stream: int, disturbed: bool, tools: Tools, outlook: Outlook) -> bool:
    """Pack the replicas greedily, experts with several of them first; tell whether all could be kept apart."""
    value = outlook.means.dtype.type
    num_experts, num_gpus = len(outlook.means), len(outlook.burdens)
    desk = tools.desk
    keys, order = desk.keys[:num_experts], desk.order[:num_experts]
    shares = outlook.costs[:num_experts]
    for expert in mine(num_experts):
        shares[expert] = outlook.worsts[expert] / value(outlook.counts[expert])
        keys[expert] = shares[expert]
    barrier()
    if disturbed:
        perturb(shares, keys, stream, STEPS // 2, STEPS // 2)
    sort_among_many(keys, order, desk.spare, desk.marks)
    for place in mine(count * num_gpus):
        outlook.gpu_loads[place] = 0
        outlook.powers[place] = 0
    for gpu in mine(num_gpus):
        outlook.fill[gpu] = 0
    barrier()
    return pack_in_order(order, count, copies, outlook)


@word
def pack_in_order(order: Any, count: int, copies: int, outlook: Outlook) -> bool:
    """Pack the replicas of the experts in their order, those with several of them first; tell whether there was room."""
    return pack_one_by_one(order, count, copies, outlook)


@rule
def pack_one_by_one(order: Any, count: int, copies: int, outlook: Outlook) -> bool:
    """Let all lanes share in each replica."""
    for several in (True, False):
        for place in range(len(order)):
            expert = np.int64(order[place])
            if (outlook.counts[expert] > 1) == several:
                for rank in range(outlook.counts[expert]):
                    if not put_replica(expert, rank, count, copies, outlook):
                        return False
    return True


@inlined_word
def put_replica(expert: int, rank: int, count: int, copies: int, outlook: Outlook) -> bool:
    """Put a replica onto the GPU with room for it where the powers grow least; tell whether there is one."""
    value = outlook.means.dtype.type
    num_gpus, num_experts, slots = len(outlook.burdens), len(outlook.means), outlook.slots
    replicas = np.int64(outlook.counts[expert])
    costs = outlook.burdens  # not needed yet
    for gpu in mine(num_gpus):
        costs[gpu] = 0
    for scenario in range(count):
        share = outlook.loads[scenario * num_experts + expert] / value(replicas)
        size = outlook.sizes[scenario]
        for gpu in mine(num_gpus):
            place = scenario * num_gpus + gpu
            costs[gpu] += times(eighth(outlook.gpu_loads[place] + share) - outlook.powers[place], size)
    least, cheapest = value(np.inf), -1
    for gpu in mine(num_gpus):
        if costs[gpu] < least and has_room(gpu, expert, copies, outlook):
            least = costs[gpu]
            cheapest = gpu
    least, cheapest = best_lane(-least, cheapest)
    if -least == value(np.inf):
        return False
    for scenario in mine(count):
        place = scenario * num_gpus + cheapest
        outlook.gpu_loads[place] += outlook.loads[scenario * num_experts + expert] / value(replicas)
        outlook.powers[place] = eighth(outlook.gpu_loads[place])
    if lane() == 0:
        slot = cheapest * slots + outlook.fill[cheapest]
        outlook.experts[slot] = expert
        outlook.ranks[slot] = rank
        outlook.fill[cheapest] += 1
    barrier()
    return True


@rule
def has_room(gpu: int, expert: int, copies: int, outlook: Outlook) -> bool:
    """Tell whether a GPU has room for a further replica of an expert."""
    first = gpu * outlook.slots
    last = first + outlook.fill[gpu]
    if last == first + outlook.slots:
        return False
    held = 0
    if outlook.counts[expert] > copies:
        for slot in range(first, last):
            held += np.int64(outlook.experts[slot] == expert)
    return held < copies
