"""How does a kernel look at scratch?  Through a strip: a pointer and a size.

An array of Numba's carries its strides and its owner along, and each access asks whether the index counts from the end.  With
dozens of arrays at hand, that is most of what a kernel would do.  A strip is contiguous, and its indices are not negative.

A strip of shared memory is two numbers of 32 bits, the address within that memory and the size: a GPU reckons with 32 bits at
half the cost, and is told that it need not find out which memory is meant.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.cuda import cgutils, types
from numba.cuda.extending import (
    core_models,
    infer_getattr,
    intrinsic,
    lower_getattr,
    overload,
    register_model,
)
from numba.cuda.typing.templates import AttributeTemplate

from ..rules import words
from .instructions import narrow

__all__ = ["add_to", "four_of", "mark", "on_line", "rest", "seen_as_words", "strip_of_shared"]

SHARED = 3  # the number of that memory
LINE = 16  # bytes that a lane can read at once, if they begin at a multiple of so many


class Strip(types.Type):
    """The type of strips of one element type, in shared memory or anywhere."""

    def __init__(self, dtype: Any, is_shared: bool = False) -> None:
        self.dtype, self.is_shared = dtype, is_shared
        super().__init__(name=f"Strip({dtype}{', shared' if is_shared else ''})")


@register_model(Strip)
class _StripModel(core_models.StructModel):
    def __init__(self, manager: Any, strip: Any) -> None:
        start, size = (types.int32, types.int32) if strip.is_shared else (types.CPointer(strip.dtype), types.intp)
        super().__init__(manager, strip, [("start", start), ("size", size)])


@infer_getattr
class _StripAttributes(AttributeTemplate):
    key = Strip

    def resolve_dtype(self, strip: Any) -> Any:
        return types.DType(strip.dtype)


@lower_getattr(Strip, "dtype")
def _dtype(context, builder, strip, value):  # type: ignore[no-untyped-def]
    return context.get_dummy_value()


@intrinsic
def _strip_of(context, array):  # type: ignore[no-untyped-def]
    """Look at the memory of a contiguous array."""
    if array.ndim != 1 or array.layout != "C":
        raise TypeError(f"a strip is cut from contiguous memory, not from {array}")
    strip = Strip(array.dtype)

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = context.make_array(array)(context, builder, arguments[0])
        made = cgutils.create_struct_proxy(strip)(context, builder)
        made.start, made.size = whole.data, whole.nitems
        return made._getvalue()

    return strip(array), make


@intrinsic
def strip_of_shared(context, array, first_byte, size):  # type: ignore[no-untyped-def]
    """Look at a part of shared memory, of which an array shows where it begins."""
    strip = Strip(array.dtype, True)

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = context.make_array(array)(context, builder, arguments[0])
        begin = builder.ptrtoint(
            builder.addrspacecast(whole.data, ir.PointerType(whole.data.type.pointee, SHARED)), ir.IntType(32)
        )
        first_byte, size = narrow(context, builder, signature.args[1:], arguments[1:])
        made = cgutils.create_struct_proxy(strip)(context, builder)
        made.start, made.size = builder.add(begin, first_byte), size
        return made._getvalue()

    return strip(array, first_byte, size), make


@intrinsic
def seen_as_words(context, strip):  # type: ignore[no-untyped-def]
    """Look at the front of a strip of floats as so many numbers of 32 bits."""
    words = Strip(types.int32, strip.is_shared)

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        made = cgutils.create_struct_proxy(words)(context, builder)
        made.start, made.size = builder.bitcast(whole.start, made.start.type), whole.size
        return made._getvalue()

    return words(strip), make


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


@intrinsic
def _size(context, strip):  # type: ignore[no-untyped-def]
    def give(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        size = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0]).size
        return builder.sext(size, ir.IntType(64)) if strip.is_shared else size

    return types.intp(strip), give


@intrinsic
def _part(context, strip, start, stop):  # type: ignore[no-untyped-def]
    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        start, stop = (
            _as_index(context, builder, strip, kind, argument)
            for argument, kind in zip(arguments[1:], signature.args[1:], strict=True)
        )
        part = cgutils.create_struct_proxy(strip)(context, builder)
        part.start = _moved(context, builder, strip, whole.start, start)
        part.size = builder.sub(stop, start)
        return part._getvalue()

    return strip(strip, start, stop), cut


@intrinsic
def rest(context, strip, start):  # type: ignore[no-untyped-def]
    """Leave out the front; nobody asks how much is left."""

    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        rest = cgutils.create_struct_proxy(strip)(context, builder)
        index = _as_index(context, builder, strip, start, arguments[1])
        rest.start = _moved(context, builder, strip, whole.start, index)
        rest.size = ir.Constant(rest.size.type, 0)
        return rest._getvalue()

    return strip(strip, start), cut


@intrinsic
def on_line(context, strip):  # type: ignore[no-untyped-def]
    """Leave out the front as far as `four_of` wants it; nobody asks how much is left."""

    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        rest = cgutils.create_struct_proxy(strip)(context, builder)
        place = whole.start if strip.is_shared else builder.ptrtoint(whole.start, ir.IntType(64))
        place = builder.and_(builder.add(place, ir.Constant(place.type, LINE - 1)), ir.Constant(place.type, -LINE))
        rest.start = place if strip.is_shared else builder.inttoptr(place, whole.start.type)
        rest.size = ir.Constant(rest.size.type, 0)
        return rest._getvalue()

    return strip(strip), cut


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
    """Read an element of global memory where all blocks see it: what a multiprocessor keeps for itself may be out of date.

    The others write it as they write all: what has 4 or 8 bytes is seen whole.
    """
    kind, register = {types.float32: ("f32", "=f"), types.float64: ("f64", "=d"), types.int32: ("u32", "=r")}[strip.dtype]

    def get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = builder.ptrtoint(_pointer(context, builder, signature, arguments), ir.IntType(64))
        read = ir.FunctionType(context.get_data_type(strip.dtype), [ir.IntType(64)])
        line = ir.InlineAsm(read, f"ld.relaxed.gpu.{kind} $0, [$1];", f"{register},l,~{{memory}}", side_effect=True)
        return builder.call(line, [place])

    return strip.dtype(strip, index), get


@intrinsic
def _set(context, strip, index, value):  # type: ignore[no-untyped-def]
    def put(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _pointer(context, builder, signature, arguments)
        context.pack_value(builder, strip.dtype, context.cast(builder, arguments[2], signature.args[2], strip.dtype), pointer)
        return context.get_dummy_value()

    return types.none(strip, index, value), put


def _as_index(context, builder, strip, kind, index):  # type: ignore[no-untyped-def]
    """Cast an index to what a strip's places are reckoned in."""
    return context.cast(builder, index, kind, types.int32 if strip.is_shared else types.intp)


def _moved(context, builder, strip, start, index):  # type: ignore[no-untyped-def]
    """Give the start of what begins some elements further on."""
    if strip.is_shared:
        return builder.add(start, builder.mul(index, ir.Constant(ir.IntType(32), strip.dtype.bitwidth // 8)))
    return builder.gep(start, [index])


def _pointer(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    """Point at an element."""
    strip, index = signature.args[:2]
    whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
    place = _moved(context, builder, strip, whole.start, _as_index(context, builder, strip, index, arguments[1]))
    if strip.is_shared:
        return builder.inttoptr(place, ir.PointerType(context.get_data_type(strip.dtype), SHARED))
    return place


@overload(words.strip, target="cuda")
def _strip(array):  # type: ignore[no-untyped-def]
    if isinstance(array, Strip):
        return lambda array: array
    return lambda array: _strip_of(array)


@overload(words.fresh, target="cuda")
def _fresh(array, index):  # type: ignore[no-untyped-def]
    return lambda array, index: _get_now(array, index)


@overload(words.take, target="cuda")
def _take(scratch, size):  # type: ignore[no-untyped-def]
    return lambda scratch, size: (_part(scratch, 0, size), rest(scratch, size))


@overload(len, target="cuda")
def _length(strip):  # type: ignore[no-untyped-def]
    return (lambda strip: _size(strip)) if isinstance(strip, Strip) else None


@overload(operator.getitem, target="cuda")
def _get_item(strip, index):  # type: ignore[no-untyped-def]
    if not isinstance(strip, Strip):
        return None
    if isinstance(index, types.SliceType):
        return lambda strip, index: _part(strip, index.start, index.stop)
    return lambda strip, index: _get(strip, index)


@overload(operator.setitem, target="cuda")
def _set_item(strip, index, value):  # type: ignore[no-untyped-def]
    return (lambda strip, index, value: _set(strip, index, value)) if isinstance(strip, Strip) else None
