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
from .sort import sort_descending
from .terms import MOST_STEPS, Outlook, Stage, Tactics, Tools, Window
from .words import barrier, best_lane, lane, lanes, root, rule, times

__all__ = ["pack_over_scenarios", "reckon", "replicate_by_spread"]

SPREAD = 4.0  # how many standard deviations above the mean an expert's load is reckoned with
GUARD = 0.75  # of a mean GPU load: a replica with more on average is split before any that only varies
BEFORE_ALL = 2.0**20  # what puts those before all others


@rule
def reckon(first_expert: int, count: int, stage: Stage, window: Window, outlook: Outlook) -> None:
    """Work out each expert's mean, score and worst load over the scenarios."""
    value = outlook.means.dtype.type
    whole = value(0)
    for scenario in range(count):
        whole += window.sizes[scenario]
    for expert in range(lane(), len(outlook.means), lanes()):
        row = stage.order[first_expert + expert] * MOST_STEPS
        total, worst, squares = value(0), value(0), value(0)
        for scenario in range(count):
            load = window.loads[row + scenario]
            total += times(load, window.sizes[scenario])
            worst = max(worst, load)
        mean = total / whole
        for scenario in range(count):
            gap = window.loads[row + scenario] - mean
            squares += times(times(gap, gap), window.sizes[scenario])
        outlook.means[expert] = mean
        outlook.scores[expert] = mean + times(value(SPREAD), root(squares / whole))
        outlook.worsts[expert] = worst
    barrier()


@rule
def replicate_by_spread(copies: int, tactics: Tactics, bracket: Bracket, outlook: Outlook) -> None:
    """Give each expert one slot and every further slot to the one with the largest score per replica."""
    num_experts, num_slots = len(outlook.means), len(outlook.costs)
    most = min(num_slots, len(outlook.burdens) * copies)
    if tactics.max_replicas > 0:
        most = min(most, tactics.max_replicas)
    size = bracket_size(num_experts)
    for expert in range(lane(), num_experts, lanes()):
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
    """Give an expert's claim to a further replica."""
    value = outlook.means.dtype.type
    claim = outlook.scores[expert] / value(replicas)
    mean = outlook.means[expert] / value(replicas)
    return claim + times(value(BEFORE_ALL), mean) if mean > value(GUARD) else claim


@rule
def pack_over_scenarios(
    first_expert: int,
    count: int,
    copies: int,
    stream: int,
    disturbed: bool,
    tools: Tools,
    stage: Stage,
    window: Window,
    outlook: Outlook,
) -> bool:
    """Pack the replicas greedily, experts with several of them first; tell whether all could be kept apart."""
    value = outlook.means.dtype.type
    num_experts, num_gpus = len(outlook.means), len(outlook.burdens)
    slots = outlook.slots
    keys, order = tools.desk.keys[:num_experts], tools.desk.order[:num_experts]
    shares = outlook.costs[:num_experts]
    for expert in range(lane(), num_experts, lanes()):
        shares[expert] = outlook.worsts[expert] / value(outlook.counts[expert])
        keys[expert] = shares[expert]
    barrier()
    if disturbed:
        perturb(shares, keys, stream, STEPS // 2, STEPS // 2)
    sort_descending(keys, order, tools.desk.spare)
    for place in range(lane(), count * num_gpus, lanes()):
        outlook.gpu_loads[place] = 0
        outlook.powers[place] = 0
    for gpu in range(lane(), num_gpus, lanes()):
        outlook.fill[gpu] = 0
    barrier()
    for several in (True, False):
        for place in range(num_experts):
            expert = np.int64(order[place])
            replicas = np.int64(outlook.counts[expert])
            if (replicas > 1) == several:
                row = stage.order[first_expert + expert] * MOST_STEPS
                for rank in range(replicas):
                    gpu = _cheapest_gpu(expert, row, replicas, count, copies, slots, window, outlook)
                    if gpu < 0:
                        return False
                    _put(expert, rank, row, replicas, gpu, count, slots, window, outlook)
    return True


@rule
def _cheapest_gpu(
    expert: int, row: int, replicas: int, count: int, copies: int, slots: int, window: Window, outlook: Outlook
) -> int:
    """Give the GPU with room for another replica of an expert where the powers grow least, or -1."""
    value = outlook.means.dtype.type
    num_gpus = len(outlook.burdens)
    costs = outlook.burdens  # not needed yet
    for gpu in range(lane(), num_gpus, lanes()):
        costs[gpu] = 0
    for scenario in range(count):
        share = window.loads[row + scenario] / value(replicas)
        size = window.sizes[scenario]
        for gpu in range(lane(), num_gpus, lanes()):
            place = scenario * num_gpus + gpu
            costs[gpu] += times(eighth(outlook.gpu_loads[place] + share) - outlook.powers[place], size)
    least, cheapest = value(np.inf), -1
    for gpu in range(lane(), num_gpus, lanes()):
        fill = outlook.fill[gpu]
        if costs[gpu] < least and fill < slots:
            held = 0
            if replicas > 1:
                for slot in range(gpu * slots, gpu * slots + fill):
                    held += np.int64(outlook.experts[slot] == expert)
            if held < copies:
                least = costs[gpu]
                cheapest = gpu
    least, cheapest = best_lane(-least, cheapest)
    return cheapest if -least < value(np.inf) else -1


@rule
def _put(
    expert: int, rank: int, row: int, replicas: int, gpu: int, count: int, slots: int, window: Window, outlook: Outlook
) -> None:
    """Put a replica onto a GPU."""
    num_gpus = len(outlook.burdens)
    for scenario in range(lane(), count, lanes()):
        place = scenario * num_gpus + gpu
        outlook.gpu_loads[place] += window.loads[row + scenario] / outlook.means.dtype.type(replicas)
        outlook.powers[place] = eighth(outlook.gpu_loads[place])
    if lane() == 0:
        outlook.experts[gpu * slots + outlook.fill[gpu]] = expert
        outlook.ranks[gpu * slots + outlook.fill[gpu]] = rank
        outlook.fill[gpu] += 1
    barrier()
