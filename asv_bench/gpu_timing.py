"""How are policies timed on a GPU, beside plain torch on the same GPU?  All of a shape's in turn."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from asv_bench import plain_torch
from asv_bench.benchmarks.shapes import Shape
from asv_bench.gpu_table import LASTING, MANY, TURNS, Row
from eplb_numba import POLICIES, Planner, Policy, metrics, plan_experts, rebalance_experts

__all__ = ["Card", "compare", "find_case"]

MOST_RUNS = 1000

Clock = Callable[[], float]  # runs once and gives the seconds that it took


class Case(NamedTuple):
    """A policy, what it plans for, and what plain torch does beside it."""

    name: str
    policy: Policy
    weight: np.ndarray
    strategy_name: str | None
    strategy: plain_torch.Strategy | None


class Card:
    """The GPU, as far as a comparison needs it."""

    gpu: int | None = 0

    def put(self, array: np.ndarray) -> torch.Tensor:
        """Put an array onto the GPU."""
        return torch.from_numpy(array).to(f"cuda:{self.gpu}")

    def finish(self) -> None:
        """Wait until the GPU has done all that it was given."""
        torch.cuda.synchronize(self.gpu)

    def clock_of(self, run: Callable[[], Any]) -> Clock:
        """Capture a run in a CUDA graph, and give a clock of its replays: the time between events around the launches."""
        gc.collect()  # nothing may be freed on the GPU during the capture
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def replay() -> float:
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / 1e3

        return replay


class Contender:
    """A case that is ready to be timed: everything is compiled, allocated and captured."""

    def __init__(self, case: Case, shape: Shape, card: Card) -> None:
        self.case, self.shape, self.card = case, shape, card
        self.weight = card.put(case.weight)
        self.planner = Planner(*shape, policy=case.policy, gpu=card.gpu)
        self.width = self.plan().log2phy.shape[2]
        self.clocks = {
            "device": card.clock_of(self.plan),
            "planner": self._until_there(self.plan),
            "call": self._until_there(self.call),
        }
        if case.strategy is not None:
            self.clocks["torch"] = self._until_there(self.call_torch)
        self.seconds: dict[str, list[float]] = {name: [] for name in self.clocks}
        self.runs: dict[str, int] = {}

    def plan(self) -> Any:
        """Plan with a planner that is used again."""
        return self.planner.plan(self.weight)

    def call(self) -> Any:
        """Call the drop-in with a fixed width, so that nothing is read back."""
        return rebalance_experts(self.weight, *self.shape.numbers, policy=self.case.policy, log2phy_width=self.width)

    def call_torch(self) -> Any:
        """Call plain torch."""
        return plain_torch.rebalance_experts(self.weight, *self.shape.numbers, self.case.strategy)

    def warm_up(self, seconds: float) -> None:
        """Run each clock once or twice, and settle how often it runs within its share of the seconds: at least once."""
        share = seconds / len(self.clocks)
        for name, clock in self.clocks.items():
            begin = time.perf_counter()
            clock()
            first = time.perf_counter() - begin
            if first < share:
                begin = time.perf_counter()
                clock()
                first = time.perf_counter() - begin
            self.runs[name] = min(MOST_RUNS, max(1, int(share / first)))

    def take_turn(self, turn: int) -> None:
        """Run each clock as often as is due in this turn."""
        for name, clock in self.clocks.items():
            due = self.runs[name] // TURNS + (turn < self.runs[name] % TURNS)
            self.seconds[name] += [clock() for _ in range(due)]

    def report(self, shape_name: str) -> Row:
        """Give the medians, the balancedness, and whether the plans are the CPU's."""
        medians = {name: median(seconds) * 1e3 for name, seconds in self.seconds.items()}
        row = Row(
            shape=shape_name,
            policy=self.case.name,
            device_ms=medians["device"],
            planner_ms=medians["planner"],
            call_ms=medians["call"],
            balancedness=self._balancedness_of(self.call()[0]),
            same_as_cpu=self._is_same_as_cpu(),
        )
        if self.case.strategy is None:
            return row
        return replace(
            row,
            torch_ms=medians["torch"],
            torch_strategy=self.case.strategy_name,
            torch_runs=len(self.seconds["torch"]),
            torch_balancedness=self._balancedness_of(self.call_torch()[0]),
        )

    def _until_there(self, run: Callable[[], Any]) -> Clock:
        def clock() -> float:
            begin = time.perf_counter()
            run()
            self.card.finish()
            return time.perf_counter() - begin

        return clock

    def _balancedness_of(self, phy2log: torch.Tensor) -> float:
        """Give the mean over the layers and, where there are any, over the steps."""
        steps = self.case.weight.reshape(-1, *self.case.weight.shape[-2:])
        placement = phy2log.cpu().numpy()
        return float(np.mean([metrics.balancedness(step, placement, self.shape.num_gpus) for step in steps]))

    def _is_same_as_cpu(self) -> bool:
        """Compare a replay of the captured plan, and the drop-in's triple, with the CPU's backend."""
        plan = self.plan()
        plan.phy2log.fill_(-1)  # a replay that does nothing must be seen
        self.clocks["device"]()
        numbers, width = self.shape.numbers, self.width
        ours = plan_experts(self.case.weight, *numbers, policy=self.case.policy, log2phy_width=width, backend="cpu")
        pairs = [(getattr(plan, field), getattr(ours, field)) for field in vars(ours)]
        pairs += zip(self.call(), (ours.phy2log, ours.log2phy, ours.logcnt), strict=True)
        return all(np.array_equal(theirs.cpu().numpy(), expected) for theirs, expected in pairs)


def compare(shape_name: str, shape: Shape, policy_names: list[str], card: Card, seconds: float) -> list[Row]:
    """Time policies on a shape, in turn, each for about so many seconds; one that fails has a row that says why."""
    contenders: dict[str, Contender] = {}
    errors: dict[str, str] = {}

    def attempt(name: str, step: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return step(*arguments)
        except Exception as error:  # noqa: BLE001  # the others are to be timed all the same
            errors[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            contenders.pop(name, None)
            return None

    for name in policy_names:
        contender = attempt(name, Contender, find_case(name, shape), shape, card)
        if contender is not None:
            contenders[name] = contender
            attempt(name, contender.warm_up, seconds)
    for turn in range(TURNS):
        for name, contender in list(contenders.items()):
            attempt(name, contender.take_turn, turn)
    rows = {name: attempt(name, contender.report, shape_name) for name, contender in list(contenders.items())}
    return [rows.get(name) or Row(shape=shape_name, policy=name, error=errors[name]) for name in policy_names]


def find_case(name: str, shape: Shape) -> Case:
    """Give the case of that name: a named policy, MANY or LASTING."""
    if name == LASTING:
        return Case(name, POLICIES["balanced"], shape.steps(8), None, None)
    if name == MANY:
        policy = replace(POLICIES["optimize_and_2item_swap"], starts=128, restarts=1)
        strategy = plain_torch.STRATEGIES["optimize_and_2item_swap"]._replace(starts=128, restarts=1)
        return Case(name, policy, shape.weight(), name, strategy)
    strategy_name = name if name in plain_torch.STRATEGIES else "deepseek"
    return Case(name, POLICIES[name], shape.weight(), strategy_name, plain_torch.STRATEGIES[strategy_name])
