"""What do the words of the rules mean on a GPU?  There a problem is one block, and a lane is a thread of it.

Importing this gives them that meaning.  The simulator needs none of it: it runs the rules as plain Python, where the words ask
the running thread.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import cuda
from numba.cuda import libdevice, types
from numba.cuda.extending import intrinsic, overload

from ..rules import scratch, sort, words
from ..rules.scratch import cut_stage, cut_tools
from ..rules.terms import Bench
from .block import WARP, WARPS

__all__: list[str] = []

ALL = 0xFFFFFFFF  # lanes of a warp


def _lane() -> Any:
    return lambda: cuda.threadIdx.x


def _lanes() -> Any:
    return lambda: cuda.blockDim.x


def _barrier() -> Any:
    return lambda: cuda.syncthreads()


@intrinsic
def _unknown_zero(typingctx):  # type: ignore[no-untyped-def]
    """Have the GPU itself make a zero, so that the compiler cannot reckon with it."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.call(ir.InlineAsm(ir.FunctionType(ir.IntType(64), []), "mov.b64 $0, 0;", "=l", side_effect=True), [])

    return types.int64(), make


def _recall(tools):  # type: ignore[no-untyped-def]
    def recall(tools):  # type: ignore[no-untyped-def]
        values, integers, layout, of_groups = tools.bench
        return cut_tools(Bench(values[_unknown_zero() :], integers[_unknown_zero() :], layout, of_groups))

    return recall


def _recall_stage(stage):  # type: ignore[no-untyped-def]
    def recall_stage(stage):  # type: ignore[no-untyped-def]
        values, integers, layout, of_groups = stage.bench
        return cut_stage(Bench(values[_unknown_zero() :], integers[_unknown_zero() :], layout, of_groups))

    return recall_stage


def _times(left, right):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    # Compiled to mul.rn, which is never fused with a sum that follows, as a plain product is.
    if left == types.float32:
        return lambda left, right: libdevice.fmul_rn(left, right)
    return lambda left, right: libdevice.dmul_rn(left, right)


def _root(number):  # type: ignore[no-untyped-def]
    if number == types.float32:
        return lambda number: libdevice.fsqrt_rn(number)
    return lambda number: libdevice.dsqrt_rn(number)


def _best_lane(gain, choice):  # type: ignore[no-untyped-def]
    value, number = gain, types.int64

    def best_lane(gain, choice):  # type: ignore[no-untyped-def]
        """Let the lanes of a warp exchange their offers, then the warps."""
        choice = number(choice)
        distance = WARP // 2
        while distance > 0:
            rival_gain = cuda.shfl_xor_sync(ALL, gain, distance)
            rival = cuda.shfl_xor_sync(ALL, choice, distance)
            if rival_gain > gain or (rival_gain == gain and rival < choice):
                gain, choice = rival_gain, rival
            distance //= 2
        # Of a size that the launch tells: Numba links one of a fixed size twice where two rules reduce, and that fails.
        gains = cuda.shared.array(0, value)
        choices = cuda.shared.array(0, number)[WARPS:]
        if cuda.threadIdx.x % WARP == 0:
            gains[cuda.threadIdx.x // WARP] = gain
            choices[cuda.threadIdx.x // WARP] = choice
        cuda.syncthreads()
        for warp in range(WARPS):
            if gains[warp] > gain or (gains[warp] == gain and choices[warp] < choice):
                gain, choice = gains[warp], choices[warp]
        cuda.syncthreads()
        return gain, choice

    return best_lane


def _sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
    def sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
        """Let each lane count how many keys stand before its own: no barrier but the last, and stable by itself."""
        for item in range(cuda.threadIdx.x, len(keys), cuda.blockDim.x):
            key = keys[item]
            place = 0
            for other in range(len(keys)):
                place += keys[other] > key or (keys[other] == key and other < item)
            order[place] = item
        cuda.syncthreads()

    return sort_descending


overload(words.lane, target="cuda")(_lane)
overload(words.lanes, target="cuda")(_lanes)
overload(words.barrier, target="cuda")(_barrier)
overload(scratch.recall, target="cuda")(_recall)
overload(scratch.recall_stage, target="cuda")(_recall_stage)
overload(words.root, target="cuda")(_root)
overload(words.times, target="cuda")(_times)
overload(words.best_lane, target="cuda")(_best_lane)
overload(sort.sort_descending, target="cuda")(_sort_descending)
