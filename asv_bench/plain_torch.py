"""What do the algorithms cost in plain torch?  DeepSeek's and the five published strategies, batched, on the weight's device.

Written to compare with.  Items and swaps are taken one after the other in Python; layers, nodes, restarts and starts are rows
of a batch, and all that happens to them is a few tensor operations.  The host waits for the device in two places: every few
rounds of swaps, to see whether any row still gains, and at the end, for the width of log2phy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["STRATEGIES", "Strategy", "rebalance_experts"]

LEAST_GAIN = 2.0**-16  # of the mean pack load: by so much a swap must lower the larger of its two packs
PAIR_SLOTS = 16  # two go for two only in packs of at most so many slots, for the tables of pairs grow with their fourth power
CHECK_EVERY = 8  # rounds of swaps: each look costs a synchronisation, and a round without a gain only time


class Swap(NamedTuple):
    """The best swap in each row: what it gains, and which slots change their items."""

    gain: Tensor  # (rows): by how much the larger of the two packs gets lighter
    leaving: Tensor  # (rows, 1 or 2): slots of the heavy pack
    coming: Tensor  # (rows, 1 or 2): slots of the light pack


class Strategy(NamedTuple):
    """What is tried: whole pipelines, greedy starts, and then phases of swaps."""

    restarts: int = 1
    starts: int = 1
    noise: tuple[float, float] = (1.0, 1.0)  # what weights are multiplied by before sorting, but for the first try
    phases: tuple[tuple[int, Callable[[Tensor, Tensor], Swap]], ...] = ()  # the most rounds, and what finds a swap
    narrowest: bool = False  # the start with the smallest difference of largest and smallest pack wins, not the lightest


def rebalance_experts(
    weight: Tensor, num_replicas: int, num_groups: int, num_nodes: int, num_gpus: int, strategy: Strategy | str
) -> tuple[Tensor, Tensor, Tensor]:
    """Pack groups onto nodes, replicate inside each node, pack the replicas onto its GPUs, and keep the best restart.

    Parameters
    ----------
    weight : Tensor, (layers, experts)
        The load of each expert.
    num_replicas, num_groups, num_nodes, num_gpus : int
        As for ``eplb_numba.rebalance_experts``.
    strategy : Strategy or str
        A strategy, or the name of one in `STRATEGIES`.

    Returns
    -------
    phy2log : Tensor, (layers, num_replicas)
        The expert in each slot.
    log2phy : Tensor, (layers, experts, width)
        The slots of each expert, padded with -1; as wide as the largest replica count.
    logcnt : Tensor, (layers, experts)
        How many replicas each expert has.
    """
    if isinstance(strategy, str):
        strategy = STRATEGIES[strategy]
    if num_groups % num_nodes:
        num_groups = num_nodes = 1
    weight = weight.float()
    num_layers, num_logical = weight.shape
    group_size = num_logical // num_groups
    generator = torch.Generator(weight.device).manual_seed(0)

    tries = weight[:, None, None].expand(num_layers, strategy.restarts, num_nodes, num_logical)
    group_loads = tries[:, :, :1].unflatten(-1, (num_groups, group_size)).sum(-1)
    groups = pack(group_loads, num_nodes, strategy, generator)
    members = groups[..., None] * group_size + torch.arange(group_size, device=weight.device)
    members = members.reshape(num_layers, strategy.restarts, num_nodes, num_logical // num_nodes)

    loads = tries.gather(-1, members)
    experts, ranks, replica_loads = replicate(loads.flatten(0, 2), num_replicas // num_nodes)
    experts, ranks, replica_loads = (values.unflatten(0, loads.shape[:3]) for values in (experts, ranks, replica_loads))
    slots = pack(replica_loads, num_gpus // num_nodes, strategy, generator)

    gpu_loads = replica_loads.gather(-1, slots).view(num_layers, strategy.restarts, num_gpus, -1).sum(-1)
    best = gpu_loads.amax(-1).argmin(-1)[:, None, None]
    phy2log = members.gather(-1, experts.gather(-1, slots)).flatten(2).take_along_dim(best, 1).squeeze(1)
    phyrank = ranks.gather(-1, slots).flatten(2).take_along_dim(best, 1).squeeze(1)
    return phy2log, *list_slots(phy2log, phyrank, num_logical)


def list_slots(phy2log: Tensor, phyrank: Tensor, num_logical: int) -> tuple[Tensor, Tensor]:
    """List each expert's slots in the order of their ranks: log2phy (layers, experts, width), logcnt (layers, experts)."""
    num_layers, num_slots = phy2log.shape
    logcnt = phy2log.new_zeros(num_layers, num_logical).scatter_add_(1, phy2log, torch.ones_like(phy2log))
    width = int(logcnt.max())  # the host waits here
    log2phy = phy2log.new_full((num_layers, num_logical * width), -1)
    slots = torch.arange(num_slots, device=phy2log.device).expand_as(phy2log)
    log2phy.scatter_(1, phy2log * width + phyrank, slots)
    return log2phy.view(num_layers, num_logical, width), logcnt


def replicate(loads: Tensor, num_slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give every further slot to the expert with the largest load per replica.

    From loads (rows, experts) to the expert of each slot, which of its replicas that is, and its load: all (rows, num_slots).
    """
    num_rows, num_experts = loads.shape
    counts, one = torch.ones_like(loads), loads.new_ones(num_rows, 1)
    slots = [torch.arange(num_experts, device=loads.device).expand(num_rows, -1)]
    for _ in range(num_slots - num_experts):
        hottest = (loads / counts).argmax(1, keepdim=True)
        counts.scatter_add_(1, hottest, one)
        slots.append(hottest)
    experts = torch.cat(slots, 1)
    further = experts[:, num_experts:]
    earlier = (further[:, :, None] == further[:, None]).tril(-1).sum(-1)
    ranks = torch.cat([torch.zeros_like(slots[0]), earlier + 1], 1)
    return experts, ranks, (loads / counts).gather(1, experts)


def pack(loads: Tensor, num_packs: int, strategy: Strategy, generator: torch.Generator) -> Tensor:
    """Pack items onto packs of equal size: from loads (layers, restarts, problems, items) to each slot's item, likewise."""
    num_items = loads.shape[-1]
    if num_items == num_packs:
        return torch.arange(num_items, device=loads.device).expand(loads.shape)
    tries = loads[..., None, :].expand(*loads.shape[:-1], strategy.starts, num_items)
    noise = torch.ones_like(tries)
    if strategy.restarts * strategy.starts > 1:
        noise.uniform_(*strategy.noise, generator=generator)
        noise[:, 0, :, 0] = 1
    items = pack_greedily(tries.flatten(0, -2), (tries * noise).flatten(0, -2), num_packs)
    packed = tries.flatten(0, -2).gather(1, items)
    swap_items(items, packed, num_packs, strategy)
    pack_loads = packed.view(*tries.shape[:-1], num_packs, -1).sum(-1)
    scores = pack_loads.amax(-1) - pack_loads.amin(-1) if strategy.narrowest else pack_loads.amax(-1)
    return items.view(tries.shape).take_along_dim(scores.argmin(-1)[..., None, None], -2).squeeze(-2)


def pack_greedily(loads: Tensor, keys: Tensor, num_packs: int) -> Tensor:
    """Pack items in the order of their keys, largest first, each onto the lightest pack with room (all are (rows, items))."""
    num_rows, num_items = loads.shape
    slots_per_pack = num_items // num_packs
    order = keys.sort(dim=1, descending=True, stable=True).indices
    arriving = loads.gather(1, order).split(1, dim=1)
    open_loads = loads.new_zeros(num_rows, num_packs)  # infinite where a pack is full
    fill, one = torch.zeros_like(open_loads), loads.new_ones(num_rows, 1)
    packs = []
    for load in arriving:
        lightest = open_loads.argmin(1, keepdim=True)
        open_loads.scatter_add_(1, lightest, load)
        fill.scatter_add_(1, lightest, one)
        open_loads.masked_fill_(fill == slots_per_pack, torch.inf)
        packs.append(lightest)
    return order.gather(1, torch.cat(packs, 1).sort(dim=1, stable=True).indices)


def swap_items(items: Tensor, packed: Tensor, num_packs: int, strategy: Strategy) -> None:
    """Let a strategy's phases swap items, and their loads in the same slots, in place (both are (rows, slots))."""
    slots_per_pack = items.shape[1] // num_packs
    least = packed.mean(1) * slots_per_pack * LEAST_GAIN
    for rounds, find in strategy.phases:
        if find is pairs_with_lightest and not 1 < slots_per_pack <= PAIR_SLOTS:
            continue
        for done in range(rounds):
            swap = find(packed.unflatten(1, (num_packs, slots_per_pack)), least)
            gains = swap.gain > least
            if done % CHECK_EVERY == CHECK_EVERY - 1 and not gains.any():  # the host waits here
                break
            coming = torch.where(gains[:, None], swap.coming, swap.leaving)
            here, there = torch.cat([swap.leaving, coming], 1), torch.cat([coming, swap.leaving], 1)
            items.scatter_(1, here, items.gather(1, there))
            packed.scatter_(1, here, packed.gather(1, there))


def one_with_lightest(loads: Tensor, _least: Tensor) -> Swap:
    """Find the best swap of one item for one between the heaviest and the lightest pack of loads (rows, packs, slots)."""
    slots_per_pack = loads.shape[2]
    pack_loads = loads.sum(2)
    (heavy_load, heavy), (light_load, light) = pack_loads.max(1), pack_loads.min(1)
    leaving = loads.take_along_dim(heavy[:, None, None], 1)[:, 0, :, None]
    coming = loads.take_along_dim(light[:, None, None], 1)
    gain, place = gains_of(leaving - coming, (heavy_load - light_load)[:, None, None]).flatten(1).max(1)
    leaving, coming = heavy * slots_per_pack + place // slots_per_pack, light * slots_per_pack + place % slots_per_pack
    return Swap(gain, leaving[:, None], coming[:, None])


def pairs_with_lightest(loads: Tensor, _least: Tensor) -> Swap:
    """Find the best swap of two items for two between the heaviest and the lightest pack of loads (rows, packs, slots)."""
    slots_per_pack = loads.shape[2]
    pairs = torch.triu_indices(slots_per_pack, slots_per_pack, offset=1, device=loads.device)
    num_pairs = pairs.shape[1]
    pack_loads = loads.sum(2)
    (heavy_load, heavy), (light_load, light) = pack_loads.max(1), pack_loads.min(1)
    leaving = loads.take_along_dim(heavy[:, None, None], 1)[:, 0, pairs].sum(1)[:, :, None]
    coming = loads.take_along_dim(light[:, None, None], 1)[:, 0, pairs].sum(1)[:, None]
    gain, place = gains_of(leaving - coming, (heavy_load - light_load)[:, None, None]).flatten(1).max(1)
    leaving, coming = pairs[:, place // num_pairs].T, pairs[:, place % num_pairs].T
    return Swap(gain, heavy[:, None] * slots_per_pack + leaving, light[:, None] * slots_per_pack + coming)


def one_with_best(loads: Tensor, _least: Tensor) -> Swap:
    """Find the best swap of one item for one between the heaviest and any other pack of loads (rows, packs, slots)."""
    num_slots, slots_per_pack = loads[0].numel(), loads.shape[2]
    pack_loads = loads.sum(2)
    heavy_load, heavy = pack_loads.max(1)
    leaving = loads.take_along_dim(heavy[:, None, None], 1)[:, 0, :, None]
    gaps = (heavy_load[:, None] - pack_loads)[:, None, :, None].expand(-1, 1, -1, slots_per_pack)
    gain, place = gains_of(leaving - loads.flatten(1)[:, None], gaps.flatten(2)).flatten(1).max(1)
    return Swap(gain, (heavy * slots_per_pack + place // num_slots)[:, None], (place % num_slots)[:, None])


def one_with_first(loads: Tensor, least: Tensor) -> Swap:
    """Find the best swap of the heaviest pack with the lightest that has any, or else of the second or third heaviest."""
    num_packs, slots_per_pack = loads.shape[1:]
    pack_loads, ranking = loads.sum(2).sort(dim=1, descending=True)
    heavies, lights = ranking[:, :3], ranking.flip(1)
    leaving = loads.take_along_dim(heavies[:, :, None], 1)[:, :, None, :, None]
    coming = loads.take_along_dim(lights[:, :, None], 1)[:, None, :, None]
    gaps = pack_loads[:, :3, None] - pack_loads.flip(1)[:, None]
    gain, place = gains_of(leaving - coming, gaps[..., None, None]).flatten(3).max(3)
    first = (gain.flatten(1) > least[:, None]).byte().argmax(1, keepdim=True)
    gain, place = gain.flatten(1).gather(1, first), place.flatten(1).gather(1, first)
    heavy, light = heavies.gather(1, first // num_packs), lights.gather(1, first % num_packs)
    leaving, coming = heavy * slots_per_pack + place // slots_per_pack, light * slots_per_pack + place % slots_per_pack
    return Swap(gain[:, 0], leaving, coming)


def one_or_pairs(loads: Tensor, least: Tensor) -> Swap:
    """Find the better of one item for one with any pack, and two for two with the lightest."""
    one = one_with_best(loads, least)
    if not 1 < loads.shape[2] <= PAIR_SLOTS:
        return one
    pairs = pairs_with_lightest(loads, least)
    better = (pairs.gain > one.gain)[:, None]
    leaving, coming = torch.where(better, pairs.leaving, one.leaving), torch.where(better, pairs.coming, one.coming)
    return Swap(torch.maximum(pairs.gain, one.gain), leaving, coming)


def gains_of(deltas: Tensor, gaps: Tensor) -> Tensor:
    """Tell by how much the heavier of two packs with a gap between them gets lighter if it gives a delta to the other."""
    return torch.minimum(deltas, gaps - deltas)


STRATEGIES = {
    "deepseek": Strategy(),
    "optimize_and_2item_swap": Strategy(
        restarts=128, noise=(1.0, 1.25), phases=((50, one_with_lightest), (10, pairs_with_lightest))
    ),
    "opt_packing_and_repl": Strategy(starts=2, noise=(0.925, 1.075), phases=((30, one_with_first),), narrowest=True),
    "parallel_randomized_greedy_with_l2_swap": Strategy(starts=8, noise=(1.0, 1.2), phases=((20, one_with_lightest),)),
    "vectorized_lpt_and_swap": Strategy(phases=((50, one_with_best),)),
    "refine_packing_with_2item_swaps": Strategy(starts=8, noise=(0.8, 1.2), phases=((50, one_or_pairs),)),
}
