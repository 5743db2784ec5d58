"""What does planning a made-up load look like: how long does it take, and how good is it?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .metrics import balancedness
from .plan import Plan, plan_experts
from .scores import as_loaded
from .topology import Topology

__all__ = ["demo"]


def demo(topology: Topology, num_layers: int, seed: int, repeats: int, policies: Sequence[str]) -> None:
    """Plan a skewed load with each policy and print what it took and how good it is."""
    weight = skewed_load(num_layers, topology.num_logical, seed)
    placing = "hierarchical" if topology.planned_nodes > 1 else "global"
    print(
        f"{num_layers} layers, {topology.num_logical} experts in {topology.num_groups} groups -> {topology.num_replicas} "
        f"slots on {topology.num_gpus} GPUs in {topology.num_nodes} nodes, {placing}"
    )
    print("Balancedness is the mean over layers of mean GPU load / largest GPU load.")
    print("As loaded: each expert in a slot, one after the other, and then again in the spare ones.")
    print()
    print(f"{'policy':<40} {'ms':>9} {'balancedness':>13} {'above the bound':>16}")
    before = balancedness(weight, as_loaded(topology, num_layers), topology.num_gpus)
    print(f"{'(as loaded)':<40} {'-':>9} {float(np.mean(before)):>13.4f} {'-':>16}")
    for policy in policies:
        seconds, plan = _time(weight, topology, policy, repeats)
        above = float(np.mean(plan.gpu_loads.max(axis=1) / plan.bound - 1))
        balanced = float(np.mean(plan.balancedness))
        print(f"{policy:<40} {seconds * 1e3:>9.2f} {balanced:>13.4f} {above:>15.4%}")


def skewed_load(num_layers: int, num_experts: int, seed: int) -> NDArray[np.float32]:
    """Make up loads as routers produce them: a few experts get most of the tokens."""
    return np.random.default_rng(seed).lognormal(6.0, 1.0, (num_layers, num_experts)).astype(np.float32)


def _time(weight: NDArray[np.float32], topology: Topology, policy: str, repeats: int) -> tuple[float, Plan]:
    """Plan once to compile, then time the median of some more plans."""
    durations = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        plan = plan_experts(
            weight, topology.num_replicas, topology.num_groups, topology.num_nodes, topology.num_gpus, policy=policy
        )
        durations.append(time.perf_counter() - begin)
    return float(np.median(durations[1:])), plan
