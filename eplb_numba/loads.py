"""Which loads are planned for: of what type, over which window, and are they loads at all?"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import REAL_NUMBERS, Guest, receive

__all__ = ["most_of", "planned_dtype", "planned_loads", "planned_steps", "receive_weight"]

AXES = "(layers, experts) or (steps, layers, experts)"


def receive_weight(weight: Any, *, may_lack_layers: bool = False) -> Guest:
    """Take a weight of two axes, or of three with the steps first."""
    return receive("weight", weight, (2, 3), AXES, may_be_empty=-2 if may_lack_layers else None)


def planned_dtype(guest: Guest) -> np.dtype[Any]:
    """Give the type that a weight is planned in: float64 stays what it is, all others become float32."""
    planned = _planned_for(guest.dtype)
    if planned is None:
        raise TypeError(f"{guest.name} must hold {REAL_NUMBERS}, got {guest.description}")
    return planned


@lru_cache(maxsize=64)
def _planned_for(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    if _is_bfloat16(dtype):
        return np.dtype(np.float32)
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or (dtype.kind == "f" and dtype.itemsize == 1):
        return None
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize == 8 else np.float32)


def planned_loads(guest: Guest, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Check that a weight holds loads, sum its steps if there are any, and bring it to the type that is planned in.

    That is the weight's own (`planned_dtype`), or a wider one.

    Returns
    -------
    numpy.ndarray
        Contiguous, (layers, experts): the weight's own memory where it is that already.  Integers are summed as integers.
    """
    own = planned_dtype(guest)
    value = own if dtype is None else dtype
    view = guest.view
    if _is_bfloat16(view.dtype):
        view = view.astype(np.float32)
    largest = _check(guest.name, view)
    if view.ndim == 3:
        view = _sum_in_order(view, value) if view.dtype.kind == "f" else _sum_exactly(guest.name, view)
    loads = np.require(view, value, ["C", "A"])
    if largest * view.size * len(guest.view) >= most_of(value):
        _check_totals(guest.name, loads)
    return loads if loads.flags.writeable else _as_writeable(loads)


def planned_steps(guest: Guest, is_lasting: int, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Give the steps of a weight whose plan is to last, in the type that is planned in; none where there are no two.

    Returns
    -------
    numpy.ndarray
        Contiguous, (steps, layers, experts).
    """
    value, view = planned_dtype(guest) if dtype is None else dtype, guest.view
    if not is_lasting or view.ndim != 3 or len(view) == 1:
        return np.empty((0, 1, 1), value)
    steps = np.require(view.astype(np.float32) if _is_bfloat16(view.dtype) else view, value, ["C", "A"])
    return steps if steps.flags.writeable else _as_writeable(steps)


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "V" and dtype.name == "bfloat16"  # NumPy makes up the name each time


@lru_cache(maxsize=4)
def most_of(dtype: np.dtype[Any]) -> float:
    """Give what the loads of a layer must add up to less than: then no sum of them, in whatever order, overflows."""
    return float(np.finfo(dtype).max) / 4


def _check(name: str, view: NDArray[Any]) -> float:
    """Refuse what is negative, infinite or not a number, and say where it stands; give the largest load."""
    largest = float(view.max())
    if view.min() >= 0 and largest < np.inf:
        return largest
    where = tuple(int(index) for index in np.argwhere(~((view >= 0) & (view < np.inf)))[0])
    raise ValueError(f"{name} must not be negative, infinite or NaN, got {view[where]} at {where}")


def _check_totals(name: str, loads: NDArray[Any]) -> None:
    """Refuse layers whose loads add up to too much."""
    most = most_of(loads.dtype)
    with np.errstate(over="ignore"):
        totals = loads.sum(axis=1, dtype=np.float64)
    if not totals.max() < most:
        layer = int(np.argmax(totals))
        raise ValueError(f"{name} must add up to less than {most:.3g} in each layer, got {totals[layer]} in layer {layer}")


def _sum_in_order(view: NDArray[Any], value: np.dtype[Any]) -> NDArray[Any]:
    """Add up the steps one after the other: NumPy's own sum may choose another order for another memory layout."""
    with np.errstate(over="ignore"):  # found out by _check_totals
        total: NDArray[Any] = view[0].astype(value)
        for step in view[1:]:
            np.add(total, step, out=total)
    return total


def _sum_exactly(name: str, view: NDArray[Any]) -> NDArray[Any]:
    """Add up the steps as integers of 64 bits."""
    wide = np.dtype(np.uint64 if view.dtype.kind == "u" else np.int64)
    most = np.iinfo(wide).max // len(view)
    if int(view.max()) > most:
        raise ValueError(f"{name} must be at most {most} where {len(view)} steps are added as {wide}, got {view.max()}")
    summed: NDArray[Any] = view.sum(axis=0, dtype=wide)
    return summed


def _as_writeable(loads: NDArray[Any]) -> NDArray[Any]:
    """View read-only memory as what compiled code takes; nothing writes there, and a copy would cost more than a plan."""
    alias = SimpleNamespace(
        __array_interface__={**loads.__array_interface__, "data": (loads.ctypes.data, False)},
        owner=loads,  # keeps the memory alive
    )
    return np.asarray(alias)
