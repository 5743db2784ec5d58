"""How does a kernel look at scratch?  Through a strip: a pointer and a size.

An array of Numba's carries its strides and its owner along, and each access asks whether the index counts from the end.  With
dozens of arrays at hand, that is most of what a kernel would do.  A strip is contiguous, and its indices are not negative.
"""

from __future__ import annotations

import operator
from typing import Any

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

__all__ = ["rest"]


class Strip(types.Type):
    """The type of strips of one element type."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Strip({dtype})")


@register_model(Strip)
class _StripModel(core_models.StructModel):
    def __init__(self, manager: Any, strip: Any) -> None:
        super().__init__(manager, strip, [("start", types.CPointer(strip.dtype)), ("size", types.intp)])


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
def _size(context, strip):  # type: ignore[no-untyped-def]
    def give(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0]).size

    return types.intp(strip), give


@intrinsic
def _part(context, strip, start, stop):  # type: ignore[no-untyped-def]
    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        start, stop = (
            context.cast(builder, argument, kind, types.intp)
            for argument, kind in zip(arguments[1:], signature.args[1:], strict=True)
        )
        part = cgutils.create_struct_proxy(strip)(context, builder)
        part.start = builder.gep(whole.start, [start])
        part.size = builder.sub(stop, start)
        return part._getvalue()

    return strip(strip, start, stop), cut


@intrinsic
def rest(context, strip, start):  # type: ignore[no-untyped-def]
    """Leave out the front; nobody asks how much is left."""

    def cut(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
        rest = cgutils.create_struct_proxy(strip)(context, builder)
        rest.start = builder.gep(whole.start, [context.cast(builder, arguments[1], start, types.intp)])
        rest.size = context.get_constant(types.intp, 0)
        return rest._getvalue()

    return strip(strip, start), cut


@intrinsic
def _get(context, strip, index):  # type: ignore[no-untyped-def]
    def get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _pointer(context, builder, signature, arguments)
        return context.unpack_value(builder, strip.dtype, pointer)

    return strip.dtype(strip, index), get


@intrinsic
def _set(context, strip, index, value):  # type: ignore[no-untyped-def]
    def put(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = _pointer(context, builder, signature, arguments)
        context.pack_value(builder, strip.dtype, context.cast(builder, arguments[2], signature.args[2], strip.dtype), pointer)
        return context.get_dummy_value()

    return types.none(strip, index, value), put


def _pointer(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    """Point at an element."""
    strip, index = signature.args[:2]
    whole = cgutils.create_struct_proxy(strip)(context, builder, value=arguments[0])
    return builder.gep(whole.start, [context.cast(builder, arguments[1], index, types.intp)])


@overload(words.strip, target="cuda")
def _strip(array):  # type: ignore[no-untyped-def]
    if isinstance(array, Strip):
        return lambda array: array
    return lambda array: _strip_of(array)


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
