"""How does a kernel look at scratch?  Through a strip: a pointer and a size.  ``elements`` reads and writes what lies there.

An array of Numba's carries its strides and its owner along, and each access asks whether the index counts from the end.  With
dozens of arrays at hand, that is most of what a kernel would do.  A strip is contiguous, and its indices are not negative.

A strip of shared memory is two numbers of 32 bits, the address within that memory and the size: a GPU reckons with 32 bits at
half the cost, and is told that it need not find out which memory is meant.
"""

from __future__ import annotations

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

__all__ = ["LINE", "SHARED", "Strip", "as_index", "moved", "on_line", "part", "rest", "seen_as_words", "strip_of_shared"]

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


@intrinsic
def _size(context, strip):  # type: ignore[no-untyped-def]
    def give(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        size = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0]).size
        return builder.zext(size, ir.IntType(64)) if strip.is_shared else size

    return types.intp(strip), give


@intrinsic
def part(context, strip, start, stop):  # type: ignore[no-untyped-def]
    """Give the elements from start on, up to stop."""

    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        start, stop = (
            as_index(context, builder, strip, kind, argument)
            for argument, kind in zip(arguments[1:], signature.args[1:], strict=True)
        )
        part = cgutils.create_struct_proxy(strip)(context, builder)
        part.start = moved(context, builder, strip, whole.start, start)
        part.size = builder.sub(stop, start)
        return part._getvalue()

    return strip(strip, start, stop), cut


@intrinsic
def rest(context, strip, start):  # type: ignore[no-untyped-def]
    """Leave out the front; nobody asks how much is left."""

    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        rest = cgutils.create_struct_proxy(strip)(context, builder)
        index = as_index(context, builder, strip, start, arguments[1])
        rest.start = moved(context, builder, strip, whole.start, index)
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


def as_index(context, builder, strip, kind, index):  # type: ignore[no-untyped-def]
    """Cast an index to what a strip's places are reckoned in."""
    return context.cast(builder, index, kind, types.int32 if strip.is_shared else types.intp)


def moved(context, builder, strip, start, index):  # type: ignore[no-untyped-def]
    """Give the start of what begins some elements further on."""
    if strip.is_shared:
        return builder.add(start, builder.mul(index, ir.Constant(ir.IntType(32), strip.dtype.bitwidth // 8)))
    return builder.gep(start, [index])


@overload(words.strip, target="cuda")
def _strip(array):  # type: ignore[no-untyped-def]
    if isinstance(array, Strip):
        return lambda array: array
    return lambda array: _strip_of(array)


@overload(words.take, target="cuda")
def _take(scratch, size):  # type: ignore[no-untyped-def]
    return lambda scratch, size: (part(scratch, 0, size), rest(scratch, size))


@overload(len, target="cuda")
def _length(strip):  # type: ignore[no-untyped-def]
    return (lambda strip: _size(strip)) if isinstance(strip, Strip) else None
