"""How do GPUs trade items so that a node is balanced in each of its scenarios?

The GPU with the largest burden, its share of the weighted sum of powers, swaps the pair of items that lowers this sum most.
The root is concave: with each scenario weighted by the slope of its root, what lowers the sum lowers the sum of the norms.
"""

from __future__ import annotations

from typing import Any

from .exchange import NONE, best_of_all, best_promised
from .norm import eighth_root, note_total
from .outlook import Outlook, recall_outlook
from .promise import reach_of
from .scenarios import clear_rest, totals_of
from .sums import note_ends
from .terms import LEAST_NORMAL
from .words import barrier, best_lane, inlined_word, lane, mine, parts, rule, times, word

__all__ = ["slope_of", "trade"]

DOUBTS = 4  # searches that try all swaps at once, after one where promises said little


@word
def trade(count: int, copies: int, rounds: int, outlook: Outlook) -> int:
    """Let the GPU with the largest burden swap one item for one of another GPU, as long as that lowers the norms.

    A GPU that has no such swap rests until it is part of another one's; or until all rest, if there were swaps since.  Gives
    the number of searches that this took.
    """
    reach, doubts, is_stale = reach_of(outlook), 0, False
    clear_rest(count, outlook)
    _weigh(count, outlook)
    for search in range(rounds):
        heavy = _most_burdened(outlook)
        if heavy < 0 and is_stale:
            _wake(outlook)
            is_stale = False
            heavy = _most_burdened(outlook)
        if heavy < 0:
            return search
        swap, says_little = NONE, True
        if doubts == 0:
            swap, says_little = best_promised(heavy, count, copies, reach, outlook)
            doubts = DOUBTS if says_little else 0
        else:
            doubts -= 1
        if says_little:
            swap = best_of_all(heavy, count, copies, outlook)
        if swap < 0:
            if lane() == 0:
                outlook.fill[heavy] = 1
            barrier()
        else:
            leaving, coming = parts(swap, len(outlook.costs))
            is_stale = True  # whoever rests may have a swap now
            _carry_out(leaving, coming, count, outlook)
            _weigh(count, outlook)
    return rounds


@inlined_word
def _weigh(count: int, outlook: Outlook) -> None:
    """Work out the slope of each scenario's norm and the burden of each GPU."""
    outlook = recall_outlook(outlook)
    num_gpus = len(outlook.burdens)
    totals = totals_of(outlook.powers, 0, num_gpus, num_gpus)
    for scenario in mine(count):
        outlook.slopes[scenario] = slope_of(outlook.sizes[scenario], totals[scenario])
        gpu_loads = outlook.gpu_loads[scenario * num_gpus : (scenario + 1) * num_gpus]
        note_ends(gpu_loads, scenario, outlook.lightest, outlook.heaviest)
    for gpu in mine(num_gpus):
        outlook.burdens[gpu] = 0
    barrier()
    for scenario in range(count):
        _add_burdens(
            outlook.powers[scenario * num_gpus : (scenario + 1) * num_gpus], outlook.slopes[scenario], outlook.burdens
        )
    barrier()


@rule
def slope_of(size: Any, total: Any) -> Any:
    """Give the slope of the norm of so many steps in which the powers of the GPUs add up to a total.

    A scenario in which the node has next to no load counts for nothing: its slope would be beyond all numbers.
    """
    value = type(total)
    return times(size, eighth_root(total)) / total if total >= value(LEAST_NORMAL) else value(0)


@rule
def _add_burdens(powers: Any, slope: Any, burdens: Any) -> None:
    """Add to the burden of each GPU its share in one scenario."""
    for gpu in mine(len(burdens)):
        burdens[gpu] += times(powers[gpu], slope)


@rule
def _most_burdened(outlook: Outlook) -> int:
    """Give the GPU with the largest burden of those that do not rest, or -1."""
    outlook = recall_outlook(outlook)
    most, heavy = outlook.burdens.dtype.type(-1), -1
    for gpu in mine(len(outlook.burdens)):
        if outlook.fill[gpu] == 0 and outlook.burdens[gpu] > most:
            most = outlook.burdens[gpu]
            heavy = gpu
    most, heavy = best_lane(most, heavy)
    return heavy if most >= 0 else -1


@rule
def _wake(outlook: Outlook) -> None:
    """Let no GPU rest."""
    outlook = recall_outlook(outlook)
    for gpu in mine(len(outlook.burdens)):
        outlook.fill[gpu] = 0
    barrier()


@inlined_word
def _carry_out(leaving: int, coming: int, count: int, outlook: Outlook) -> None:
    """Carry out a swap; neither of the two GPUs rests after it."""
    outlook = recall_outlook(outlook)
    num_slots = len(outlook.costs)
    experts, ranks, loads = outlook.experts, outlook.ranks, outlook.slot_loads
    heavy, _ = parts(leaving, outlook.slots)
    light, _ = parts(coming, outlook.slots)
    if lane() == 0:
        experts[leaving], experts[coming] = experts[coming], experts[leaving]
        ranks[leaving], ranks[coming] = ranks[coming], ranks[leaving]
        outlook.fill[heavy] = outlook.fill[light] = 0
    for scenario in mine(count):
        one, other = scenario * num_slots + leaving, scenario * num_slots + coming
        loads[one], loads[other] = loads[other], loads[one]
    barrier()
    for gpu in (heavy, light):
        totals = totals_of(loads, gpu * outlook.slots, outlook.slots, num_slots)
        for scenario in mine(count):
            note_total(gpu, scenario, totals[scenario], outlook)
    barrier()
