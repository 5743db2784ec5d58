"""How do lanes take turns?  By counting on from their own number.

A range of Numba's finds out how many turns there will be before the first one: that is a division for each loop, and longer
than most loops are.  Turns are counted with 32 bits, which costs half of what 64 do.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.core.imputils import RefType, iternext_impl
from numba.cuda.extending import core_models, intrinsic, lower_builtin, overload, register_model

from ..rules import words
from ..rules.words import lane, lanes
from .instructions import narrow

__all__: list[str] = []


class Counter(types.SimpleIteratorType):
    """The type of what counts a lane's turns."""

    def __init__(self) -> None:
        super().__init__("Counter", types.int64)


class Turns(types.SimpleIterableType):
    """The type of the turns of a lane."""

    def __init__(self) -> None:
        super().__init__("Turns", COUNTER)


COUNTER = Counter()
TURNS = Turns()


@register_model(Counter)
class _CounterModel(core_models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("place", types.CPointer(types.int32)), ("end", types.int32), ("step", types.int32)])


@register_model(Turns)
class _TurnsModel(core_models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("first", types.int32), ("end", types.int32), ("step", types.int32)])


@intrinsic
def _turns(context, first, end, step):  # type: ignore[no-untyped-def]
    """Give every step-th place from the first one on."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        turns = cgutils.create_struct_proxy(TURNS)(context, builder)
        turns.first, turns.end, turns.step = narrow(context, builder, signature.args, arguments)
        return turns._getvalue()

    return TURNS(first, end, step), make


@lower_builtin("getiter", Turns)
def _start(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    turns = cgutils.create_struct_proxy(TURNS)(context, builder, value=arguments[0])
    counter = cgutils.create_struct_proxy(COUNTER)(context, builder)
    counter.place = cgutils.alloca_once_value(builder, turns.first)
    counter.end, counter.step = turns.end, turns.step
    return counter._getvalue()


@lower_builtin("iternext", Counter)
@iternext_impl(RefType.UNTRACKED)
def _next(context, builder, signature, arguments, result):  # type: ignore[no-untyped-def]
    counter = cgutils.create_struct_proxy(COUNTER)(context, builder, value=arguments[0])
    place = builder.load(counter.place)
    result.set_valid(builder.icmp_signed("<", place, counter.end))
    result.yield_(builder.zext(place, ir.IntType(64)))
    builder.store(builder.add(place, counter.step), counter.place)


@overload(words.each, target="cuda")
def _each(end):  # type: ignore[no-untyped-def]
    return lambda end: _turns(0, end, 1)


@overload(words.each_from, target="cuda")
def _each_from(first, end):  # type: ignore[no-untyped-def]
    return lambda first, end: _turns(first, end, 1)


@overload(words.mine, target="cuda")
def _mine(end):  # type: ignore[no-untyped-def]
    return lambda end: _turns(lane(), end, lanes())


@overload(words.mine_from, target="cuda")
def _mine_from(first, end):  # type: ignore[no-untyped-def]
    return lambda first, end: _turns(first + lane(), end, lanes())
