"""What can be tried from a command line?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .planner import Plan, plan_experts
from .policy import POLICIES
from .topology import Topology, integer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give the exit status."""
    parser = argparse.ArgumentParser(prog="eplb-numba", description="Balance the experts of a Mixture-of-Experts model.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo_parser = commands.add_parser(
        "demo",
        help="plan a made-up skewed load with each policy and print a table",
        description="Plan a made-up, seeded, skewed load with each policy and print a table. The default shape is "
        "DeepSeek-V3's on 32 GPUs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, default, text in (
        ("layers", 58, "MoE layers"),
        ("experts", 256, "experts per layer"),
        ("slots", 288, "slots per layer"),
        ("groups", 8, "groups of experts; 1 for a global placement"),
        ("nodes", 4, "nodes"),
        ("gpus", 32, "GPUs"),
        ("seed", 0, "seed of the load"),
        ("repeats", 9, "timed runs of each policy, of which the median is printed"),
    ):
        demo_parser.add_argument(f"--{name}", type=int, default=default, help=text)
    demo_parser.add_argument("--policy", action="append", choices=list(POLICIES), help="a policy to run (default: all)")
    options = parser.parse_args(arguments)
    try:
        topology = Topology(options.experts, options.slots, options.groups, options.nodes, options.gpus)
        for name in ("layers", "repeats"):
            if integer(name, getattr(options, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
        if options.seed < 0:
            raise ValueError(f"seed must not be negative, got {options.seed}")
    except ValueError as error:
        parser.error(str(error))
    demo(topology, options.layers, options.seed, options.repeats, options.policy or list(POLICIES))
    return 0


def demo(topology: Topology, num_layers: int, seed: int, repeats: int, policies: Sequence[str]) -> None:
    """Plan a skewed load with each policy and print what it took and how good it is."""
    weight = skewed_load(num_layers, topology.num_logical, seed)
    placing = "hierarchical" if topology.is_hierarchical else "global"
    print(
        f"{num_layers} layers, {topology.num_logical} experts in {topology.num_groups} groups -> {topology.num_replicas} "
        f"slots on {topology.num_gpus} GPUs in {topology.num_nodes} nodes, {placing}"
    )
    print("Balancedness is the mean over layers of mean GPU load / largest GPU load.")
    print(f"Before, each expert in one place and the spare slots in turn: {_before(weight, topology):.4f}")
    print()
    print(f"{'policy':<40} {'ms':>9} {'balancedness':>13} {'above the bound':>16}")
    for policy in policies:
        seconds, plan = _time(weight, topology, policy, repeats)
        above = float(np.mean(plan.gpu_loads.max(axis=1) / plan.bound - 1))
        balanced = float(np.mean(plan.balancedness))
        print(f"{policy:<40} {seconds * 1e3:>9.2f} {balanced:>13.4f} {above:>15.4%}")


def skewed_load(num_layers: int, num_experts: int, seed: int) -> NDArray[np.float32]:
    """Make up loads as routers produce them: a few experts get most of the tokens."""
    return np.random.default_rng(seed).lognormal(6.0, 1.0, (num_layers, num_experts)).astype(np.float32)


def _before(weight: NDArray[np.float32], topology: Topology) -> float:
    """Measure the placement of a model that was just loaded."""
    from .metrics import balancedness

    slots = np.arange(topology.num_replicas) % topology.num_logical
    placement = np.broadcast_to(slots, (len(weight), topology.num_replicas))
    return float(np.mean(balancedness(weight, placement, topology.num_gpus)))


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
