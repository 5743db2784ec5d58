"""How are all scenarios looked at in one line of a loop?  Vector units are fastest at that: nothing waits for memory.

There are always as many as there may be; those that there are not must hold zeros.
"""

from __future__ import annotations

from typing import Any

from .outlook import MOST_SCENARIOS, Outlook, recall_outlook
from .words import barrier, inlined_word, mine_from, rule

__all__ = ["clear_rest", "column_of", "rows_of", "totals_of"]


@rule
def clear_rest(count: int, outlook: Outlook) -> None:
    """Let the scenarios that there are not have no load: they are read as well."""
    outlook = recall_outlook(outlook)
    num_slots, num_gpus = len(outlook.costs), len(outlook.burdens)
    for place in mine_from(count * num_slots, MOST_SCENARIOS * num_slots):
        outlook.slot_loads[place] = 0
    for place in mine_from(count * num_gpus, MOST_SCENARIOS * num_gpus):
        outlook.gpu_loads[place] = outlook.powers[place] = 0
    for scenario in mine_from(count, MOST_SCENARIOS):
        outlook.slopes[scenario] = 0
    barrier()


@inlined_word
def rows_of(values: Any, first: int, size: int, stride: int) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Give some neighbours in each scenario; rows are as long as a stride."""
    return (
        values[first : first + size],
        values[stride + first : stride + first + size],
        values[2 * stride + first : 2 * stride + first + size],
        values[3 * stride + first : 3 * stride + first + size],
        values[4 * stride + first : 4 * stride + first + size],
        values[5 * stride + first : 5 * stride + first + size],
        values[6 * stride + first : 6 * stride + first + size],
        values[7 * stride + first : 7 * stride + first + size],
    )


@inlined_word
def column_of(values: Any, place: int, stride: int) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Give what stands at one place in each scenario."""
    return (
        values[place],
        values[stride + place],
        values[2 * stride + place],
        values[3 * stride + place],
        values[4 * stride + place],
        values[5 * stride + place],
        values[6 * stride + place],
        values[7 * stride + place],
    )


@inlined_word
def totals_of(values: Any, first: int, size: int, stride: int) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Add up these neighbours in each scenario, one after the other."""
    one, two, three, four, five, six, seven, eight = rows_of(values, first, size, stride)
    nothing = values.dtype.type(0)
    totals = nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing
    for place in range(size):
        totals = (
            totals[0] + one[place],
            totals[1] + two[place],
            totals[2] + three[place],
            totals[3] + four[place],
            totals[4] + five[place],
            totals[5] + six[place],
            totals[6] + seven[place],
            totals[7] + eight[place],
        )
    return totals
