"""What can be tried from a command line?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from . import __version__
from .arrays import receive
from .loads import planned_loads
from .policy import POLICIES
from .topology import Topology, integer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give the exit status."""
    parser = argparse.ArgumentParser(prog="eplb-numba", description="Balance the experts of a Mixture-of-Experts model.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_demo(commands)
    _add_replay(commands)
    _add_info(commands)
    _add_warm(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
        if sys.stdout is not None:  # as it is where the caller has closed it
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # what a shell gives for it
    except BrokenPipeError:  # whoever reads has read enough; nothing must be written at the end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError as error:
        options.parser.error(f"there is not enough memory for that: {error}")
    except (ValueError, TypeError, OSError) as error:
        options.parser.error(str(error))
    return 0


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="plan a made-up skewed load with each policy and print a table",
        description="Plan a made-up, seeded, skewed load with each policy and print a table. The default shape is "
        "DeepSeek-V3's on 32 GPUs.",
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=_demo, parser=parser)
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
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="a policy to run (default: all)")


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    topology = Topology(options.experts, options.slots, options.groups, options.nodes, options.gpus)
    for name in ("layers", "repeats"):
        if integer(name, getattr(options, name)) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(options, name)}")
    if options.seed < 0:
        raise ValueError(f"seed must not be negative, got {options.seed}")
    demo(topology, options.layers, options.seed, options.repeats, options.policy or list(POLICIES))


def _add_replay(commands: Any) -> None:
    parser = commands.add_parser(
        "replay",
        help="walk a recorded trace with each policy and print how balanced the next steps were",
        description="Plan on the last steps of a recorded trace, score each plan on the steps that follow, and print a table.",
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=_replay, parser=parser)
    parser.add_argument("file", help="a .npy file of loads (steps, layers, experts), or an .npz file with an array 'load'")
    parser.add_argument("--slots", type=int, required=True, help="slots per layer")
    parser.add_argument("--gpus", type=int, required=True, help="GPUs")
    parser.add_argument("--groups", type=int, default=1, help="groups of experts; 1 for a global placement")
    parser.add_argument("--nodes", type=int, default=1, help="nodes")
    parser.add_argument("--every", type=int, default=1, help="steps that a plan is in force")
    parser.add_argument("--history", type=int, default=8, help="past steps that each plan is made from")
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="shuffle the steps first")
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="a policy to run (default: all)")
    parser.add_argument("--sum", action="store_true", help="plan for the sum of the past steps, whatever the policy does")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _replay(options: argparse.Namespace) -> None:
    from .scores import print_scores, score
    from .traces import read_trace

    trace = read_trace(options.file)
    if options.shuffle is not None:
        if options.shuffle < 0:
            raise ValueError(f"shuffle must not be negative, got {options.shuffle}")
        # What is wrong with the trace is told before its steps have other places.
        planned_loads(receive("trace", trace, (3,), "(steps, layers, experts)"))
        trace = trace[np.random.default_rng(options.shuffle).permutation(len(trace))]
    topology = Topology(trace.shape[-1], options.slots, options.groups, options.nodes, options.gpus)
    policies = {name: POLICIES[name] for name in options.policy or POLICIES}
    if options.sum:
        policies = {name: replace(policy, objective="sum") for name, policy in policies.items()}
    scores = score(trace, topology, policies, every=options.every, history=options.history, quiet=options.json)
    if options.json:
        print(json.dumps(scores, indent=2))
    else:
        print_scores(scores, trace.shape, topology, every=options.every, history=options.history)


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="tell what can be planned with here",
        description="Print versions, backends and why one is missing, the threading layer, the cache folder and the GPU.",
    )
    parser.set_defaults(run=_info, parser=parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _info(options: argparse.Namespace) -> None:
    from .info import gather_info

    found = gather_info()
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for topic, facts in found.items():
        for name, fact in facts.items() if isinstance(facts, dict) else [("", facts)]:
            print(f"{f'{topic} {name}'.replace('_', ' ').strip():<24} {'-' if fact is None else fact}")


def _add_warm(commands: Any) -> None:
    parser = commands.add_parser(
        "warm",
        help="compile all that plans",
        description="Compile all that plans on a CPU or on a GPU and keep it for processes to come: in an image, or before "
        "many ranks start. What is compiled for a CPU serves that kind of CPU, and several threads where this may use them.",
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=_warm, parser=parser)
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu", help="what it is compiled for")
    parser.add_argument(
        "--capability",
        type=_capability,
        metavar="X.Y",
        help="compile for GPUs of this compute capability, with `--backend cuda` (default: that of the current GPU)",
    )
    cluster = parser.add_argument_group("a topology", "with `--backend cuda`: compile only what plans for it")
    for name, text in (("experts", "experts per layer"), ("slots", "slots per layer"), ("gpus", "GPUs")):
        cluster.add_argument(f"--{name}", type=int, help=text)
    cluster.add_argument("--groups", type=int, default=1, help="groups of experts; 1 for a global placement")
    cluster.add_argument("--nodes", type=int, default=1, help="nodes")


def _capability(text: str) -> tuple[int, int]:
    """Read a compute capability."""
    major, point, minor = text.partition(".")
    if not (point and major.isdecimal() and minor.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be like 9.0, got {text!r}")
    return int(major), int(minor)


def _warm(options: argparse.Namespace) -> None:
    from .warm import warm, warm_for_gpu

    numbers = options.experts, options.slots, options.groups, options.nodes, options.gpus
    has_topology = numbers != (None, None, 1, 1, None)
    for name, given in (("--capability", options.capability), ("a topology", has_topology)):
        if given and options.backend == "cpu":
            raise ValueError(f"{name} must go with --backend cuda, got --backend cpu")
    if has_topology and None in numbers:
        raise ValueError("a topology must have --experts, --slots and --gpus, got not all of them")
    topology = Topology(*numbers) if has_topology else None
    for what, seconds in warm() if options.backend == "cpu" else warm_for_gpu(options.capability, topology):
        print(f"{what:<32} {seconds:>6.1f} s", flush=True)
