"""How does the table of GPU timings read?  Rows in, markdown and JSON out; nothing is measured here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["HEADING", "LASTING", "MANY", "TURNS", "Row", "as_json", "format_machine", "format_row", "list_notes"]

MANY = "128 starts with pair swaps"
LASTING = "balanced, 8 steps"
TURNS = 5  # all that is timed is timed in so many turns; with fewer runs than that a median says little
COLUMNS = (
    "shape",
    "policy",
    "device ms",
    "planner ms",
    "call ms",
    "plain torch ms",
    "times faster",
    "balancedness",
    "plain torch's",
    "same as CPU",
)
HEADING = f"| {' | '.join(COLUMNS)} |\n| --- | --- |{' ---: |' * (len(COLUMNS) - 2)}"
OTHER = "\\*"  # marks what plain torch does by another strategy


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one policy on one shape: medians in milliseconds, and None where there is nothing to measure."""

    shape: str
    policy: str
    device_ms: float | None = None  # replays of a CUDA graph, between events
    planner_ms: float | None = None  # Planner.plan, until the results are there
    call_ms: float | None = None  # rebalance_experts with a fixed width, until the results are there
    torch_ms: float | None = None  # plain torch, until the results are there
    torch_strategy: str | None = None  # what plain torch does
    torch_runs: int = 0
    balancedness: float | None = None
    torch_balancedness: float | None = None
    same_as_cpu: bool = False
    error: str = ""  # why there is no more in this row

    @property
    def times_faster(self) -> float | None:
        """How much longer plain torch takes than the call: both give a new triple of results."""
        return self.torch_ms / self.call_ms if self.torch_ms and self.call_ms else None

    @property
    def is_like_for_like(self) -> bool:
        """Whether plain torch does what the policy does."""
        return self.torch_strategy in (None, self.policy)

    @property
    def is_rare(self) -> bool:
        """Whether plain torch is so slow that it ran fewer times than there were turns."""
        return 0 < self.torch_runs < TURNS


def format_machine(machine: dict[str, str]) -> str:
    """Format the line above the table; the card and the date need no name."""
    return ", ".join(value if name in ("card", "date") else f"{name} {value}" for name, value in machine.items())


def format_row(row: Row) -> str:
    """Format a row of the table."""
    mark = "" if row.is_like_for_like else OTHER
    cells = (
        row.shape,
        row.policy,
        _format(row.device_ms, ".3f"),
        _format(row.planner_ms, ".3f"),
        _format(row.call_ms, ".3f"),
        _format(row.torch_ms, ".2f") + mark + (f" ({row.torch_runs} runs)" if row.is_rare else ""),
        _format(row.times_faster, ".3g") + mark,
        _format(row.balancedness, ".4f"),
        _format(row.torch_balancedness, ".4f") + mark,
        "failed" if row.error else "yes" if row.same_as_cpu else "NO",
    )
    return f"| {' | '.join(cells)} |"


def list_notes(rows: list[Row]) -> list[str]:
    """List what a reader of these rows must know."""
    notes = []
    if any(row.times_faster for row in rows):
        notes.append("Times faster: plain torch against the call.")
    for row in rows:
        if not row.is_like_for_like:
            note = f"{OTHER} There is no plain torch version of `{row.policy}`: this is `{row.torch_strategy}`."
            notes += [] if note in notes else [note]
    if any(row.is_rare for row in rows):
        notes.append(f"Plain torch ran fewer than {TURNS} times where the row says so.")
    notes += [f"{row.shape}, {row.policy}: {row.error}" for row in rows if row.error]
    notes += [
        f"{row.shape}, {row.policy}: the GPU's plan is not the CPU's." for row in rows if not row.same_as_cpu and not row.error
    ]
    return notes


def as_json(machine: dict[str, str], rows: list[Row]) -> str:
    """Write the machine and the rows as JSON."""
    found = [asdict(row) | {"times_faster": row.times_faster} for row in rows]
    return json.dumps({"machine": machine, "rows": found}, indent=2)


def _format(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)
