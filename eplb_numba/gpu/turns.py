"""How do lanes take turns?  By counting on from their own number.

A range of Numba's finds out how many turns there will be before the first one: that is a division for each loop, and longer
than most loops are.
"""

from __future__ import annotations

from typing import Any

from numba.cuda import cgutils, types
from numba.cuda.core.imputils import RefType, iternext_impl
from numba.cuda.extending import core_models, intrinsic, lower_builtin, overload, register_model

from ..rules import words
from ..rules.words import lane, lanes

__all__: list[str] = []


class Turns(types.SimpleIteratorType):
    """The type of the turns of a lane."""

    def __init__(self) -> None:
        super().__init__("Turns", types.int64)


TURNS = Turns()


@register_model(Turns)
class _TurnsModel(core_models.StructModel):
    def __init__(self, manager: Any, turns: Any) -> None:
        super().__init__(manager, turns, [("place", types.CPointer(types.int64)), ("end", types.int64), ("step", types.int64)])


@intrinsic
def _turns(context, first, end, step):  # type: ignore[no-untyped-def]
    """Give every step-th place from the first one on."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        first, end, step = (
            context.cast(builder, argument, kind, types.int64)
            for argument, kind in zip(arguments, signature.args, strict=True)
        )
        turns = cgutils.create_struct_proxy(TURNS)(context, builder)
        turns.place = cgutils.alloca_once_value(builder, first)
        builder.store(first, turns.place)  # each time, where loops are nested
        turns.end, turns.step = end, step
        return turns._getvalue()

    return TURNS(first, end, step), make


@lower_builtin("getiter", Turns)
def _start(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    return arguments[0]


@lower_builtin("iternext", Turns)
@iternext_impl(RefType.UNTRACKED)
def _next(context, builder, signature, arguments, result):  # type: ignore[no-untyped-def]
    turns = cgutils.create_struct_proxy(TURNS)(context, builder, value=arguments[0])
    place = builder.load(turns.place)
    result.set_valid(builder.icmp_signed("<", place, turns.end))
    result.yield_(place)
    builder.store(builder.add(place, turns.step, flags=["nsw"]), turns.place)


@overload(words.mine, target="cuda")
def _mine(end):  # type: ignore[no-untyped-def]
    return lambda end: _turns(lane(), end, lanes())


@overload(words.mine_from, target="cuda")
def _mine_from(first, end):  # type: ignore[no-untyped-def]
    return lambda first, end: _turns(first + lane(), end, lanes())
