"""How did policies do on a recorded trace, beside doing nothing?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .metrics import balancedness
from .policy import Policy
from .replay import Replay, replay
from .topology import Topology

__all__ = ["as_loaded", "print_scores", "score"]


def score(
    trace: NDArray[Any], topology: Topology, policies: Mapping[str, Policy], *, every: int, history: int, quiet: bool
) -> dict[str, Any]:
    """Replay a trace with each policy; give what came of it, ready for JSON.  Layers without load count for nothing."""
    policy_scores: dict[str, dict[str, float]] = {}
    result = None
    for name, policy in policies.items():
        with _Bar(name, quiet) as bar:
            result = replay(trace, topology, policy, every=every, history=history, progress=bar.show)
        if not result.loaded.any():
            raise ValueError(f"the trace must hold a load after the first {history} steps, got none")
        moves = result.moves[1:, result.loaded.any(axis=0)]
        policy_scores[name] = {
            **_means(result.balancedness, result.loaded),
            "replicas_moved": float(moves.mean()) if moves.size else 0.0,
            "ms": float(np.median(result.seconds)) * 1e3,
        }
    return {"as_loaded": {} if result is None else _score_as_loaded(trace, topology, result), "policies": policy_scores}


def as_loaded(topology: Topology, num_layers: int) -> NDArray[np.int64]:
    """Give the placement of a model that was just loaded: experts one after the other, and then again."""
    slots = np.arange(topology.num_replicas) % topology.num_logical
    return np.broadcast_to(slots, (num_layers, topology.num_replicas))


def print_scores(scores: Mapping[str, Any], shape: tuple[int, ...], topology: Topology, *, every: int, history: int) -> None:
    """Print scores as a table."""
    steps, layers, experts = shape
    slots, gpus = topology.num_replicas, topology.num_gpus
    print(f"{steps} steps of {layers} layers of {experts} experts -> {slots} slots on {gpus} GPUs;")
    print(f"planned on the last {history} steps, again after every {every}, and scored on the steps that follow.")
    print(f"Replicas moved: of the {slots} of a layer, those that a new plan puts on a GPU that lacks them.")
    print()
    print(f"{'policy':<40} {'balancedness':>12} {'worst step':>11} {'replicas moved':>15} {'ms a plan':>10}")
    before = scores["as_loaded"]
    print(f"{'(as loaded)':<40} {before['balancedness']:>12.4f} {before['worst_step']:>11.4f} {'-':>15} {'-':>10}")
    for policy, row in scores["policies"].items():
        print(
            f"{policy:<40} {row['balancedness']:>12.4f} {row['worst_step']:>11.4f} {row['replicas_moved']:>15.1f} "
            f"{row['ms']:>10.2f}"
        )


def _score_as_loaded(trace: NDArray[Any], topology: Topology, result: Replay) -> dict[str, float]:
    """Score the placement of a model that was just loaded, on the same steps."""
    placement = as_loaded(topology, trace.shape[1])
    balanced = np.array([balancedness(trace[step], placement, topology.num_gpus) for step in result.steps])
    return _means(balanced, result.loaded)


def _means(balanced: NDArray[Any], loaded: NDArray[np.bool_]) -> dict[str, float]:
    """Give the mean over all steps and layers with load, and that of the worst step."""
    scored = loaded.any(axis=1)
    of_steps = np.mean(balanced[scored], axis=1, where=loaded[scored], dtype=np.float64)
    return {"balancedness": float(np.mean(balanced, where=loaded, dtype=np.float64)), "worst_step": float(of_steps.min())}


class _Bar:
    """A progress bar on a terminal, where tqdm is installed."""

    def __init__(self, name: str, quiet: bool) -> None:
        self._bar: Any = None
        if quiet or sys.stderr is None:
            return
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(desc=name, unit="step", leave=False, disable=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, of: int) -> None:
        """Show how many steps are done."""
        if self._bar is not None:
            self._bar.total = of
            self._bar.update(done - self._bar.n)
