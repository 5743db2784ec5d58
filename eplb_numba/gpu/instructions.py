"""Which instructions of a GPU does Numba not know, or hide from the compiler?"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import intrinsic, overload

from ..rules import words

__all__ = [
    "NONE",
    "added",
    "among",
    "bits_of",
    "either",
    "first_of",
    "float_of",
    "largest",
    "lowest",
    "meet",
    "meet_block",
    "meet_warp",
    "narrow",
    "next_below",
    "own_lane",
    "plus",
    "quotient",
    "size_of_block",
    "unknown_zero",
]


def _assembly(code: str, result: Any, operands: list[Any], *, orders_memory: bool = False) -> Any:
    """Give what writes an instruction that no lane may skip; if it orders memory, no compiler may move accesses past it."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        registers = ["=r"] * (not isinstance(result, ir.VoidType)) + ["r"] * len(operands)
        registers += ["~{memory}"] * orders_memory
        lines = ir.InlineAsm(ir.FunctionType(result, operands), code, ",".join(registers), side_effect=True)
        given = builder.call(lines, arguments, attrs=("convergent",))
        return context.get_dummy_value() if isinstance(result, ir.VoidType) else given

    return make


def narrow(context: Any, builder: Any, kinds: Any, numbers: Any) -> list[Any]:
    """Cast numbers of some kinds to 32 bits."""
    return [context.cast(builder, number, kind, types.int32) for number, kind in zip(numbers, kinds, strict=True)]


@intrinsic
def size_of_block(context):  # type: ignore[no-untyped-def]
    """Ask for the number of lanes anew each time: what the compiler takes for constant it writes every loop twice for."""
    return types.int32(), _assembly("mov.u32 $0, %ntid.x;", ir.IntType(32), [])


@intrinsic
def own_lane(context):  # type: ignore[no-untyped-def]
    """Ask for the lane anew each time: else what follows from it, which is soon worked out, takes registers all the time."""
    return types.int32(), _assembly("mov.u32 $0, %tid.x;", ir.IntType(32), [])


@intrinsic
def meet(context):  # type: ignore[no-untyped-def]
    """Wait for the lanes of the warp alone where it is the whole block: that costs a fraction."""
    code = (
        "{ .reg .pred several; .reg .u32 size; mov.u32 size, %ntid.x; setp.gt.u32 several, size, 32; "
        "@several bar.sync 0; @!several bar.warp.sync 0xffffffff; }"
    )
    return types.none(), _assembly(code, ir.VoidType(), [], orders_memory=True)


@intrinsic
def meet_warp(context):  # type: ignore[no-untyped-def]
    """Wait for the lanes of the warp alone, be there others in the block or not."""
    return types.none(), _assembly("bar.warp.sync 0xffffffff;", ir.VoidType(), [], orders_memory=True)


@intrinsic
def meet_block(context):  # type: ignore[no-untyped-def]
    """Wait for all lanes of a block that is more than one warp."""
    return types.none(), _assembly("bar.sync 0;", ir.VoidType(), [], orders_memory=True)


NONE = np.int32(2**31 - 1)  # the lowest of nothing


def _reduction(instruction: str, of: str) -> Any:
    """Give an intrinsic that reduces a number over the lanes of a warp in one instruction, which came with capability 8.0."""
    kind = getattr(types, of)

    @intrinsic
    def reduce(context, number):  # type: ignore[no-untyped-def]
        word = ir.IntType(32)
        return kind(kind), _assembly(f"redux.sync.{instruction} $0, $1, 0xffffffff;", word, [word])

    return reduce


@intrinsic
def among(context, condition):  # type: ignore[no-untyped-def]
    """Give a bit for each lane of the warp: whether a condition holds there."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        code = "{ .reg .pred holds; setp.ne.u32 holds, $1, 0; vote.sync.ballot.b32 $0, holds, 0xffffffff; }"
        word = builder.zext(arguments[0], ir.IntType(32))
        return _assembly(code, ir.IntType(32), [ir.IntType(32)])(context, builder, signature, [word])

    return types.uint32(types.boolean), make


@intrinsic
def first_of(context, lanes):  # type: ignore[no-untyped-def]
    """Give the lowest lane of some, at least one, each of which is a bit."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        lowest_bit = builder.and_(arguments[0], builder.neg(arguments[0]))
        before = builder.ctlz(lowest_bit, ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(32), 31), before)

    return types.uint32(types.uint32), make


added = _reduction("add.u32", "uint32")
largest = _reduction("max.u32", "uint32")
lowest = _reduction("min.s32", "int32")


@intrinsic
def quotient(context, number, divisor):  # type: ignore[no-untyped-def]
    """Divide what has 31 bits and no sign: that takes a third of what 64 bits take."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number, divisor = narrow(context, builder, signature.args, arguments)
        return builder.zext(builder.udiv(number, divisor), ir.IntType(64))

    return types.int64(number, divisor), make


@overload(words.parts, target="cuda")
def _parts(number, divisor):  # type: ignore[no-untyped-def]
    def parts(number, divisor):  # type: ignore[no-untyped-def]
        whole = quotient(number, divisor)
        return whole, plus(number, np.int32(-np.int32(np.int32(whole) * np.int32(divisor))))

    return parts


@intrinsic
def either(context, condition, one, other):  # type: ignore[no-untyped-def]
    """Choose without a branch: lanes that part before an instruction for the whole warp must first be brought together."""
    if one != other:
        raise TypeError(f"both must be of one type, not {one} and {other}")

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.select(*arguments)

    return one(types.boolean, one, other), make


@intrinsic
def bits_of(context, number):  # type: ignore[no-untyped-def]
    """Give the bits of a float."""
    kind = types.uint32 if number == types.float32 else types.uint64

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(kind))

    return kind(number), make


@intrinsic
def float_of(context, bits):  # type: ignore[no-untyped-def]
    """Give the float of some bits."""
    kind = types.float32 if bits == types.uint32 else types.float64

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(kind))

    return kind(bits), make


@intrinsic
def next_below(context, number):  # type: ignore[no-untyped-def]
    """Give a float that only numbers lower than a given one, which is not negative, are not above."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        bits = ir.IntType(number.bitwidth)
        lower = builder.sub(builder.bitcast(arguments[0], bits), ir.Constant(bits, 1))
        is_zero = builder.fcmp_ordered("==", arguments[0], ir.Constant(arguments[0].type, 0))
        return builder.select(is_zero, ir.Constant(arguments[0].type, -1), builder.bitcast(lower, arguments[0].type))

    return number(number), make


@intrinsic
def unknown_zero(typingctx):  # type: ignore[no-untyped-def]
    """Have the GPU itself make a zero, so that the compiler cannot reckon with it."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.call(ir.InlineAsm(ir.FunctionType(ir.IntType(32), []), "mov.b32 $0, 0;", "=r", side_effect=True), [])

    return types.int32(), make


@intrinsic
def plus(context, number, other):  # type: ignore[no-untyped-def]
    """Add what has 31 bits, and let the compiler know that the sum has no more."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        number, other = narrow(context, builder, signature.args, arguments)
        return builder.zext(builder.add(number, other), ir.IntType(64))

    return types.int64(number, other), make
