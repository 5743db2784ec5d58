"""What do the words of the rules mean on a GPU?  There a problem is one block, and a lane is a thread of it.

Importing this gives them that meaning.  The simulator needs none of it: it runs the rules as plain Python, where the words ask
the running thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda
from numba.cuda import libdevice, types
from numba.cuda.extending import overload
from numba.cuda.extending import register_jitable as jit

from ..rules import noise, outlook, scratch, sums, words
from ..rules.outlook import Sheet, cut_outlook
from ..rules.scratch import cut_stage, cut_tools
from ..rules.terms import Bench, Layout
from ..rules.words import lane, lanes
from . import contests, digits, elements, greedy, lists, pairs, replicas, search, spread, swaps, trade, turns, window  # noqa: F401  # what else they mean
from .block import ALL, WARP
from .instructions import meet, meet_block, meet_warp, next_below, own_lane, plus, size_of_block, unknown_zero
from .offers import best_offer, make_offer
from .ranks import best_rank, rank_of, unrank
from .strips import rest

__all__: list[str] = []


def _lane() -> Any:
    return lambda: own_lane()


def _lanes() -> Any:
    return lambda: size_of_block()


def _barrier() -> Any:
    return lambda: meet()


def _times(left, right):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    # Compiled to mul.rn, which is never fused with a sum that follows, as a plain product is.
    if left == types.float32:
        return lambda left, right: libdevice.fmul_rn(left, right)
    return lambda left, right: libdevice.dmul_rn(left, right)


def _aside(scratch, size):  # type: ignore[no-untyped-def]
    return lambda scratch, size: 0  # noqa: ARG005  # numba compares the two signatures


def _root(number):  # type: ignore[no-untyped-def]
    if number == types.float32:
        return lambda number: libdevice.fsqrt_rn(number)
    return lambda number: libdevice.dsqrt_rn(number)


def _just_below(number):  # type: ignore[no-untyped-def]
    return lambda number: next_below(number)


def _total_of(loads):  # type: ignore[no-untyped-def]
    def total_of(loads):  # type: ignore[no-untyped-def]
        """Let each lane take one of the eight sums, and add them in the pairs that the rule names.

        Four loads are read at a time, for reading takes longest; they are added one after the other.
        """
        total, place, count = loads.dtype.type(0), np.int32(lane() & 7), np.int32(len(loads))
        while place + 24 < count:
            four = rest(loads, place)
            one, two, three, last = four[0], four[8], four[16], four[24]
            total = total + one + two + three + last
            place = np.int32(place + 32)
        while place < count:
            total += loads[place]
            place = np.int32(place + 8)
        total += cuda.shfl_xor_sync(ALL, total, 4)
        total += cuda.shfl_xor_sync(ALL, total, 2)
        return total + cuda.shfl_xor_sync(ALL, total, 1)

    return total_of


def _best_lane(gain, choice):  # type: ignore[no-untyped-def]
    def best_lane(gain, choice):  # type: ignore[no-untyped-def]
        """Let the lanes of a warp agree, then the warps where there are several."""
        best, chosen = best_rank(rank_of(gain), choice)
        if lanes() > WARP:
            make_offer(best, chosen)
            meet_block()
            best, chosen = best_offer(best)
            meet_block()
        else:
            meet_warp()
        return unrank(best), np.int64(chosen)

    return best_lane


def _stir(state, number):  # type: ignore[no-untyped-def]
    def stir(state, number):  # type: ignore[no-untyped-def]
        """Mix with 32 bits, which is what the masks of the rule come to."""
        mixed = np.uint32(np.uint32(np.uint32(state) ^ np.uint32(number)) + np.uint32(0x9E3779B9))
        mixed = np.uint32(np.uint32(mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x7FEB352D))
        mixed = np.uint32(np.uint32(mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x846CA68B))
        return np.int64(np.uint32(mixed ^ (mixed >> np.uint32(16))))

    return stir


@jit
def _anew(values, integers, layout):  # type: ignore[no-untyped-def]
    """Give the same scratch, so that the compiler cannot know it: else it keeps every place and size in a register, always.

    That sizes have 31 bits it may know.
    """
    zero = unknown_zero()
    layout = Layout(
        plus(layout.num_logical, zero),
        plus(layout.num_replicas, zero),
        plus(layout.num_groups, zero),
        plus(layout.num_nodes, zero),
        plus(layout.num_gpus, zero),
        plus(layout.group_experts, zero),
        plus(layout.node_groups, zero),
        plus(layout.node_experts, zero),
        plus(layout.node_slots, zero),
        plus(layout.node_gpus, zero),
        plus(layout.gpu_slots, zero),
        plus(layout.leaves, zero),
    )
    return rest(values, zero), rest(integers, zero), layout


@jit
def _bench_anew(bench):  # type: ignore[no-untyped-def]
    values, integers, layout = _anew(bench.values, bench.integers, bench.layout)
    return Bench(values, integers, layout, bench.of_groups)


@jit
def _sheet_anew(sheet):  # type: ignore[no-untyped-def]
    values, integers, layout = _anew(sheet.values, sheet.integers, sheet.layout)
    return Sheet(values, integers, layout)


def _recall(tools):  # type: ignore[no-untyped-def]
    return lambda tools: cut_tools(_bench_anew(tools.bench))


def _recall_stage(stage):  # type: ignore[no-untyped-def]
    return lambda stage: cut_stage(_bench_anew(stage.bench))


def _recall_outlook(outlook):  # type: ignore[no-untyped-def]
    return lambda outlook: cut_outlook(_sheet_anew(outlook.sheet))


overload(words.aside, target="cuda")(_aside)
overload(words.lane, target="cuda")(_lane)
overload(words.lanes, target="cuda")(_lanes)
overload(words.barrier, target="cuda")(_barrier)
overload(words.best_lane, target="cuda")(_best_lane)
overload(words.just_below, target="cuda")(_just_below)
overload(words.root, target="cuda")(_root)
overload(words.times, target="cuda")(_times)
overload(noise.stir, target="cuda")(_stir)
overload(sums.total_of, target="cuda")(_total_of)
overload(scratch.recall, target="cuda")(_recall)
overload(outlook.recall_outlook, target="cuda")(_recall_outlook)
overload(scratch.recall_stage, target="cuda")(_recall_stage)
