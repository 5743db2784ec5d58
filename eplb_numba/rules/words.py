"""Which words mean one thread on a CPU and one block of lanes on a GPU?

A rule is written with these words and reads the same on both sides.  Under ``njit`` and in plain Python a problem is one
lane; in the CUDA simulator the running thread says which lane it is; the CUDA backend gives the words their meaning there.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, register_jitable, type_callable

from .linked import on_cpu

__all__ = [
    "OfGPU",
    "aside",
    "barrier",
    "best_lane",
    "each",
    "each_from",
    "fresh",
    "fused_word",
    "inlined_word",
    "just_below",
    "lane",
    "lanes",
    "mine",
    "mine_from",
    "parts",
    "root",
    "rule",
    "strip",
    "take",
    "tell",
    "times",
    "word",
]


def word(function: Any) -> Any:
    """Let compiled rules on a CPU take a function as it is written; what it means on a GPU is said there."""
    on_cpu(function)(lambda *_: function)
    return function


def rule(function: Any) -> Any:
    """Let compiled rules take a function as it is written, on a CPU and on a GPU."""
    register_jitable(function)
    return word(function)


def inlined_word(function: Any) -> Any:
    """Let compiled rules on a CPU take such a function in where they call it.

    A call hands over each array as seven numbers, and a tuple of arrays as hundreds: for what is called again and again and is
    soon done that takes longer than to do it.
    """
    on_cpu(function, forceinline=True)(lambda *_: function)
    return function


def fused_word(function: Any) -> Any:
    """Let compiled rules on a CPU take such a function in, and fuse its products with sums where the CPU can.

    That is for bounds, which need not be rounded the same everywhere; never for what an answer is made of.  Whatever such a
    function calls is fused as well, ``times`` too.
    """
    on_cpu(function, forceinline=True, fastmath={"contract"})(lambda *_: function)
    return function


def lane() -> int:
    """Tell which of the block's lanes is running."""
    thread: Any = threading.current_thread()
    return int(thread.threadIdx.x) if hasattr(thread, "threadIdx") else 0


def lanes() -> int:
    """Tell how many lanes work on this problem."""
    thread: Any = threading.current_thread()
    return int(thread._manager._block_dim[0]) if hasattr(thread, "threadIdx") else 1


def each(end: int) -> range:
    """Give the places before the end: every lane takes them all.  A GPU counts them with fewer registers than a range."""
    return range(end)


def each_from(first: int, end: int) -> range:
    """Give the places from the first one on; none of them is negative."""
    return range(first, end)


def mine(end: int) -> range:
    """Give the places before the end that are this lane's: every lanes-th."""
    return range(lane(), end, lanes())


def mine_from(first: int, end: int) -> range:
    """Give those of the places from the first one on."""
    return range(first + lane(), end, lanes())


def barrier() -> None:
    """Wait until every lane is here and sees what the others wrote."""
    thread: Any = threading.current_thread()
    if hasattr(thread, "syncthreads"):
        thread.syncthreads()


def best_lane(gain: Any, choice: int) -> tuple[Any, int]:
    """Hand every lane the largest gain of all lanes; equal gains go to the lowest choice.  Ends with a barrier.

    A choice has 31 bits, and a zero may come back with the other sign.
    """
    thread: Any = threading.current_thread()
    if not hasattr(thread, "syncthreads"):
        return gain, choice
    offers = vars(thread._manager).setdefault("offers", {})  # what the lanes of a simulated block share
    offers[lane()] = (-gain, choice)
    barrier()
    least, choice = min(offers.values())
    barrier()
    return -least, choice


def root(number: Any) -> Any:
    """Take the square root, rounded as it must be: everywhere alike."""
    return type(number)(math.sqrt(number))


@word
def just_below(number: Any) -> Any:
    """Give the next lower number of the same type; the one given must be above zero."""
    return np.nextafter(number, type(number)(0))


def strip(array: Any) -> Any:
    """Look at contiguous memory in the way that costs least."""
    return array


@word
def fresh(array: Any, index: int) -> Any:
    """Read what another block may `tell`, or change at once, as it is now and not as it was when somebody looked before."""
    return array[index]


@word
def tell(array: Any, index: int, number: Any) -> None:
    """Write what another block may look at by `fresh` at any moment."""
    array[index] = number


@word
def parts(number: int, divisor: int) -> tuple[int, int]:
    """Give quotient and rest of two numbers without a sign; on a GPU they have 31 bits."""
    return number // divisor, number % divisor


@word
def take(scratch: Any, size: int) -> tuple[Any, Any]:
    """Cut size elements off the front; give them and the rest."""
    return scratch[:size], scratch[size:]


class OfGPU(np.ndarray):
    """What stands for a GPU's scratch while its size is worked out."""


def aside(scratch: Any, size: int) -> int:
    """Give the size of what only plain forms of words want: scratch of a GPU has no room for it."""
    return 0 if isinstance(scratch, OfGPU) else size


def times(left: Any, right: Any) -> Any:
    """Multiply so that no compiler may fuse the product into a following sum."""
    return left * right


@on_cpu(lane)
def _lane_on_cpu() -> Any:
    return lambda: 0


@on_cpu(lanes)
def _lanes_on_cpu() -> Any:
    return lambda: 1


@type_callable(each)
@type_callable(mine)
def _type_of_mine(context: Any) -> Any:
    return lambda end: types.range_state64_type  # noqa: ARG005  # Numba compares the signatures


@type_callable(each_from)
@type_callable(mine_from)
def _type_of_mine_from(context: Any) -> Any:
    return lambda first, end: types.range_state64_type  # noqa: ARG005


@lower_builtin(each, types.Integer)
@lower_builtin(mine, types.Integer)
@lower_builtin(each_from, types.Integer, types.Integer)
@lower_builtin(mine_from, types.Integer, types.Integer)
def _range_on_cpu(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Make a range where it stands: the compiler does not see through a function that gives one."""
    ends = [context.cast(builder, end, kind, types.int64) for end, kind in zip(arguments, signature.args, strict=True)]
    made = cgutils.create_struct_proxy(types.range_state64_type)(context, builder)
    made.start = ends[0] if len(ends) > 1 else context.get_constant(types.int64, 0)
    made.stop, made.step = ends[-1], context.get_constant(types.int64, 1)
    return made._getvalue()


@on_cpu(barrier)
def _barrier_on_cpu() -> Any:
    return lambda: None


@on_cpu(root)
def _root_on_cpu(number):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    return lambda number: math.sqrt(number)


@on_cpu(strip)
def _strip_on_cpu(array):  # type: ignore[no-untyped-def]
    return lambda array: array


@on_cpu(aside)
def _aside_on_cpu(scratch, size):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    return lambda scratch, size: size  # noqa: ARG005


@on_cpu(times)
def _times_on_cpu(left, right):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    return lambda left, right: left * right


@on_cpu(best_lane)
def _best_lane_on_cpu(gain, choice):  # type: ignore[no-untyped-def]
    return lambda gain, choice: (gain, choice)
