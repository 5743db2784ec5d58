"""How are the elements of a strip read and written: one, several at once, at the same time as others, or as others see it?"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import intrinsic, overload

from ..rules import words
from .strips import LINE, SHARED, Strip, as_index, moved, part

__all__ = ["add_to", "four_of", "mark"]

# Of what blocks tell each other: its type in PTX, and the letter of such registers.
SCALARS = {types.float32: ("f32", "f"), types.float64: ("f64", "d"), types.int32: ("u32", "r")}


@intrinsic
def _get(context, strip, index):  # type: ignore[no-untyped-def]
    """Read an element; small integers are numbers of things, of which none is negative, and widened at no cost as such."""
    is_small = strip.dtype == types.int16

    def get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        element = context.unpack_value(builder, strip.dtype, _pointer(context, builder, signature, arguments))
        return builder.zext(element, ir.IntType(32)) if is_small else element

    return (types.int32 if is_small else strip.dtype)(strip, index), get


@intrinsic
def _get_now(context, strip, index):  # type: ignore[no-untyped-def]
    """Read an element of global memory where all blocks see it: what a multiprocessor keeps for itself may be out of date."""
    kind, register = SCALARS[strip.dtype]

    def get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = builder.ptrtoint(_pointer(context, builder, signature, arguments), ir.IntType(64))
        read = ir.FunctionType(context.get_data_type(strip.dtype), [ir.IntType(64)])
        line = ir.InlineAsm(read, f"ld.relaxed.gpu.{kind} $0, [$1];", f"={register},l,~{{memory}}", side_effect=True)
        return builder.call(line, [place])

    return strip.dtype(strip, index), get


@intrinsic
def _set_now(context, strip, index, value):  # type: ignore[no-untyped-def]
    """Write an element of global memory while others may read it: an access that says so is seen whole."""
    kind, register = SCALARS[strip.dtype]

    def put(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = builder.ptrtoint(_pointer(context, builder, signature, arguments), ir.IntType(64))
        element = context.cast(builder, arguments[2], signature.args[2], strip.dtype)
        write = ir.FunctionType(ir.VoidType(), [ir.IntType(64), element.type])
        line = ir.InlineAsm(write, f"st.relaxed.gpu.{kind} [$0], $1;", f"l,{register},~{{memory}}", side_effect=True)
        builder.call(line, [place, element])
        return context.get_dummy_value()

    return types.none(strip, index, value), put


@intrinsic
def _set(context, strip, index, value):  # type: ignore[no-untyped-def]
    def put(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _pointer(context, builder, signature, arguments)
        context.pack_value(builder, strip.dtype, context.cast(builder, arguments[2], signature.args[2], strip.dtype), pointer)
        return context.get_dummy_value()

    return types.none(strip, index, value), put


@intrinsic
def four_of(context, strip, index):  # type: ignore[no-untyped-def]
    """Read four elements at once, from a multiple of four on; the strip must begin `on_line`."""

    def get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _pointer(context, builder, signature, arguments)
        four = ir.VectorType(context.get_data_type(strip.dtype), 4)
        read = builder.load(builder.bitcast(place, ir.PointerType(four, place.type.addrspace)), align=LINE)
        each = [builder.extract_element(read, ir.Constant(ir.IntType(32), element)) for element in range(4)]
        return cgutils.pack_array(builder, each)

    return types.UniTuple(strip.dtype, 4)(strip, index), get


def _at_once(operation: str) -> Any:
    """Give an intrinsic that changes a word of a strip, whatever other lanes do to it at the same time."""

    @intrinsic
    def change(context, strip, index, word):  # type: ignore[no-untyped-def]
        def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            builder.atomic_rmw(operation, _pointer(context, builder, signature, arguments), arguments[2], "monotonic")
            return context.get_dummy_value()

        return types.none(strip, index, strip.dtype), make

    return change


add_to, mark = _at_once("add"), _at_once("or")


def _pointer(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    """Point at an element."""
    strip, index = signature.args[:2]
    whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
    place = moved(context, builder, strip, whole.start, as_index(context, builder, strip, index, arguments[1]))
    if strip.is_shared:
        return builder.inttoptr(place, ir.PointerType(context.get_data_type(strip.dtype), SHARED))
    return place


@overload(words.fresh, target="cuda")
def _fresh(array, index):  # type: ignore[no-untyped-def]
    return lambda array, index: _get_now(array, index)


@overload(words.tell, target="cuda")
def _tell(array, index, number):  # type: ignore[no-untyped-def]
    return lambda array, index, number: _set_now(array, index, number)


@overload(operator.getitem, target="cuda")
def _get_item(strip, index):  # type: ignore[no-untyped-def]
    if not isinstance(strip, Strip):
        return None
    if isinstance(index, types.SliceType):
        return lambda strip, index: part(strip, index.start, index.stop)
    return lambda strip, index: _get(strip, index)


@overload(operator.setitem, target="cuda")
def _set_item(strip, index, value):  # type: ignore[no-untyped-def]
    return (lambda strip, index, value: _set(strip, index, value)) if isinstance(strip, Strip) else None
