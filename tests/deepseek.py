"""What does DeepSeek's algorithm do?  A plain NumPy version, written from its description, to check and to time against."""

from __future__ import annotations

import numpy as np


def balanced_packing(weight, num_packs):
    """Pack each row's items, heaviest first, each onto the lightest pack with room."""
    rows, num_items = weight.shape
    slots = num_items // num_packs
    if slots == 1:
        return np.broadcast_to(np.arange(num_items), weight.shape), np.zeros(weight.shape, np.int64)
    order = np.argsort(-weight, axis=1, kind="stable")
    pack_index = np.empty(weight.shape, np.int64)
    rank_in_pack = np.empty(weight.shape, np.int64)
    for row in range(rows):
        loads = np.zeros(num_packs, weight.dtype)
        fill = np.zeros(num_packs, np.int64)
        for item in order[row]:
            pack = np.argmin(np.where(fill < slots, loads, np.inf))
            pack_index[row, item] = pack
            rank_in_pack[row, item] = fill[pack]
            loads[pack] += weight[row, item]
            fill[pack] += 1
    return pack_index, rank_in_pack


def replicate_experts(weight, num_slots):
    """Give every further slot to the expert with the largest load per replica."""
    rows, num_experts = weight.shape
    phy2log = np.tile(np.arange(num_slots), (rows, 1))
    rank = np.zeros((rows, num_slots), np.int64)
    logcnt = np.ones(weight.shape, np.int64)
    every_row = np.arange(rows)
    for slot in range(num_experts, num_slots):
        hottest = np.argmax(weight / logcnt.astype(weight.dtype), axis=1)
        phy2log[:, slot] = hottest
        rank[:, slot] = logcnt[every_row, hottest]
        logcnt[every_row, hottest] += 1
    return phy2log, rank, logcnt


def rebalance_experts(weight, num_replicas, num_groups, num_nodes, num_gpus):
    """Pack groups onto nodes, replicate inside each node, pack the replicas onto its GPUs."""
    weight = np.asarray(weight, np.float32)
    num_layers, num_logical = weight.shape
    if num_groups % num_nodes:
        num_groups = num_nodes = 1
    group_size = num_logical // num_groups
    experts_per_node = num_logical // num_nodes
    slots_per_node = num_replicas // num_nodes
    slots_per_gpu = num_replicas // num_gpus

    group_loads = np.zeros((num_layers, num_groups), np.float32)
    for index in range(group_size):
        group_loads += weight.reshape(num_layers, num_groups, group_size)[:, :, index]
    node, place = balanced_packing(group_loads, num_nodes)
    groups = np.argsort(node * num_groups + place, axis=1)
    members = (groups[:, :, None] * group_size + np.arange(group_size)).reshape(num_layers * num_nodes, experts_per_node)

    rows = np.repeat(np.arange(num_layers), num_nodes)[:, None]
    node_weight = weight[rows, members]
    slot_experts, slot_ranks, counts = replicate_experts(node_weight, slots_per_node)
    shares = np.take_along_axis(node_weight / counts.astype(np.float32), slot_experts, axis=1)
    gpu, place = balanced_packing(shares, num_gpus // num_nodes)
    order = np.argsort(gpu * slots_per_gpu + place, axis=1)

    phy2log = np.take_along_axis(members, np.take_along_axis(slot_experts, order, axis=1), axis=1)
    phy2log = phy2log.reshape(num_layers, num_replicas)
    ranks = np.take_along_axis(slot_ranks, order, axis=1).reshape(num_layers, num_replicas)
    logcnt = np.empty(weight.shape, np.int64)
    logcnt[rows, members] = counts
    log2phy = np.full((num_layers, num_logical, logcnt.max()), -1)
    log2phy[np.arange(num_layers)[:, None], phy2log, ranks] = np.arange(num_replicas)
    return phy2log, log2phy, logcnt
