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

from ..rules import scratch, sums, words
from ..rules.scratch import cut_outlook, cut_stage, cut_tools
from ..rules.sums import every_eighth
from ..rules.terms import Bench, Layout, Sheet
from ..rules.words import barrier, lane, lanes, strip
from . import contests, greedy, lasting, pairs, swaps, turns  # noqa: F401  # what else they mean
from .block import ALL, WARP, WARPS
from .instructions import NONE, bits_of, float_of, largest, lowest, meet, next_below, size_of_block, unknown_zero
from .strips import rest

__all__: list[str] = []

SIGN, WIDE_SIGN = np.uint32(2**31), np.uint64(2**63)


def _lane() -> Any:
    return lambda: cuda.threadIdx.x


def _lanes() -> Any:
    return lambda: size_of_block()


def _barrier() -> Any:
    return lambda: meet()


def _times(left, right):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    # Compiled to mul.rn, which is never fused with a sum that follows, as a plain product is.
    if left == types.float32:
        return lambda left, right: libdevice.fmul_rn(left, right)
    return lambda left, right: libdevice.dmul_rn(left, right)


def _root(number):  # type: ignore[no-untyped-def]
    if number == types.float32:
        return lambda number: libdevice.fsqrt_rn(number)
    return lambda number: libdevice.dsqrt_rn(number)


def _just_below(number):  # type: ignore[no-untyped-def]
    return lambda number: next_below(number)


def _total_of(loads):  # type: ignore[no-untyped-def]
    def total_of(loads):  # type: ignore[no-untyped-def]
        """Let each lane take one of the eight sums, and add them in the pairs that the rule names."""
        total = every_eighth(loads, lane() & 7)
        total += cuda.shfl_xor_sync(ALL, total, 4)
        total += cuda.shfl_xor_sync(ALL, total, 2)
        return total + cuda.shfl_xor_sync(ALL, total, 1)

    return total_of


@jit
def _rank_of(gain):  # type: ignore[no-untyped-def]
    """Give a number that sorts like a float of 32 bits; 0 is added because the zero below zero is no less than the other."""
    bits = bits_of(gain + np.float32(0))
    if bits & SIGN:
        return np.uint32(~bits)
    return np.uint32(bits | SIGN)


@jit
def _unrank(rank):  # type: ignore[no-untyped-def]
    """Give the float that a rank stands for."""
    if rank & SIGN:
        return float_of(np.uint32(rank ^ SIGN))
    return float_of(np.uint32(~rank))


@jit
def _rank_wide(gain):  # type: ignore[no-untyped-def]
    """Do the same for a float of 64 bits."""
    bits = bits_of(gain + np.float64(0))
    if bits & WIDE_SIGN:
        return ~bits
    return bits | WIDE_SIGN


@jit
def _unrank_wide(rank):  # type: ignore[no-untyped-def]
    if rank & WIDE_SIGN:
        return float_of(rank ^ WIDE_SIGN)
    return float_of(~rank)


@jit
def _largest_wide(rank):  # type: ignore[no-untyped-def]
    """Give the largest rank of the lanes of a warp: its upper half first."""
    upper = np.uint32(rank >> np.uint64(32))
    best = largest(upper)
    lower = largest(np.uint32(rank) if upper == best else np.uint32(0))
    return (np.uint64(best) << np.uint64(32)) | np.uint64(lower)


def _best_lane(gain, choice):  # type: ignore[no-untyped-def]
    narrow = gain == types.float32
    rank_of, unrank, largest_of = (_rank_of, _unrank, largest) if narrow else (_rank_wide, _unrank_wide, _largest_wide)
    ranks_type = types.uint32 if narrow else types.uint64

    def best_lane(gain, choice):  # type: ignore[no-untyped-def]
        """Let the lanes of a warp agree, then the warps where there are several."""
        rank = rank_of(gain)
        best = largest_of(rank)
        chosen = lowest(np.int32(choice) if rank == best else NONE)
        if lanes() > WARP:
            # Of a size that the launch tells: Numba links one of a fixed size twice where two rules reduce, and that fails.
            ranks = strip(cuda.shared.array(0, ranks_type))
            choices = strip(cuda.shared.array(0, types.int32))
            if lane() & (WARP - 1) == 0:
                ranks[lane() // WARP] = best
                choices[2 * WARPS + lane() // WARP] = chosen
            barrier()
            warp = lane() & (lanes() // WARP - 1)
            rank = ranks[warp]
            choice = choices[2 * WARPS + warp]
            best = largest_of(rank)
            chosen = lowest(choice if rank == best else NONE)
        barrier()
        return unrank(best), np.int64(chosen)

    return best_lane


@jit
def _anew(values, integers, layout):  # type: ignore[no-untyped-def]
    """Give the same scratch, so that the compiler cannot know it: else it keeps every place and size in a register, always."""
    zero = unknown_zero()
    layout = Layout(
        layout.num_logical + zero,
        layout.num_replicas + zero,
        layout.num_groups + zero,
        layout.num_nodes + zero,
        layout.num_gpus + zero,
        layout.group_experts + zero,
        layout.node_groups + zero,
        layout.node_experts + zero,
        layout.node_slots + zero,
        layout.node_gpus + zero,
        layout.gpu_slots + zero,
        layout.leaves + zero,
    )
    return rest(values, zero), rest(integers, zero), layout


@jit
def _bench_anew(bench):  # type: ignore[no-untyped-def]
    values, integers, layout = _anew(bench.values, bench.integers, bench.layout)
    return Bench(values, integers, layout, bench.of_groups)


@jit
def _sheet_anew(sheet):  # type: ignore[no-untyped-def]
    values, integers, layout = _anew(sheet.values, sheet.integers, sheet.layout)
    return Sheet(values, integers, layout, sheet.has_around)


def _recall(tools):  # type: ignore[no-untyped-def]
    return lambda tools: cut_tools(_bench_anew(tools.bench))


def _recall_stage(stage):  # type: ignore[no-untyped-def]
    return lambda stage: cut_stage(_bench_anew(stage.bench))


def _recall_outlook(outlook):  # type: ignore[no-untyped-def]
    return lambda outlook: cut_outlook(_sheet_anew(outlook.sheet))


overload(words.lane, target="cuda")(_lane)
overload(words.lanes, target="cuda")(_lanes)
overload(words.barrier, target="cuda")(_barrier)
overload(words.best_lane, target="cuda")(_best_lane)
overload(words.just_below, target="cuda")(_just_below)
overload(words.root, target="cuda")(_root)
overload(words.times, target="cuda")(_times)
overload(sums.total_of, target="cuda")(_total_of)
overload(scratch.recall, target="cuda")(_recall)
overload(scratch.recall_outlook, target="cuda")(_recall_outlook)
overload(scratch.recall_stage, target="cuda")(_recall_stage)
