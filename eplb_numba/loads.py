"""Which loads are planned for: of what type, over which window, and are they loads at all?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Guest, describe, receive

__all__ = ["planned_loads", "receive_weight"]

AXES = "(layers, experts) or (steps, layers, experts)"


def receive_weight(weight: Any) -> tuple[Guest, NDArray[Any]]:
    """Take a weight of two axes, or of three with the steps first; give it, and the loads to plan for.

    Returns
    -------
    guest : Guest
        The way back to the caller's library.
    loads : numpy.ndarray
        Contiguous float32 or float64, (layers, experts): the weight itself where it is that already.
    """
    guest = receive("weight", weight, (2, 3), AXES)
    return guest, planned_loads(guest.view)


def planned_loads(view: NDArray[Any]) -> NDArray[Any]:
    """Check that these are loads, sum the steps if there are any, and bring them to the type that is planned in.

    float64 and float32 stay what they are; halves and integers become float32, integers only after they were summed.
    """
    if view.dtype.name == "bfloat16":
        view = view.astype(np.float32)
    if view.dtype.kind not in "iuf" or view.dtype.itemsize > 8:
        raise TypeError(f"weight must hold real numbers of at most 64 bits, got {describe(view)}")
    largest = _check(view)
    if view.dtype.kind == "f":
        value = np.float64 if view.dtype.itemsize == 8 else np.float32
        loads = _sum_in_order(view, value) if view.ndim == 3 else view
    else:
        value = np.float32
        loads = _sum_exactly(view) if view.ndim == 3 else view
    loads = np.require(loads, value, ["C", "A"])
    if largest * view.size >= _too_much(np.dtype(value)):
        _check_totals(loads)
    return loads if loads.flags.writeable else _as_writeable(loads)


def _check(view: NDArray[Any]) -> float:
    """Refuse what is negative, infinite or not a number, and say where it stands; give the largest load."""
    largest = float(view.max())
    if view.min() >= 0 and largest < np.inf:
        return largest
    where = tuple(int(index) for index in np.argwhere(~((view >= 0) & (view < np.inf)))[0])
    raise ValueError(f"weight must not be negative, infinite or NaN, got {view[where]} at {where}")


def _check_totals(loads: NDArray[Any]) -> None:
    """Refuse layers whose loads add up to more than may be added up in any order, halves and rounding included."""
    most = _too_much(loads.dtype)
    with np.errstate(over="ignore"):
        totals = loads.sum(axis=1, dtype=np.float64)
    if not totals.max() < most:
        layer = int(np.argmax(totals))
        raise ValueError(f"weight must add up to less than {most:.3g} in each layer, got {totals[layer]} in layer {layer}")


def _too_much(dtype: np.dtype[Any]) -> float:
    """Give a quarter of the largest number: sums of loads stay finite below it."""
    return float(np.finfo(dtype).max) / 4


def _sum_in_order(view: NDArray[Any], value: type[Any]) -> NDArray[Any]:
    """Add up the steps one after the other: NumPy's own sum may choose another order for another memory layout."""
    with np.errstate(over="ignore"):  # found out by _check_totals
        total: NDArray[Any] = view[0].astype(value)
        for step in view[1:]:
            np.add(total, step, out=total)
    return total


def _sum_exactly(view: NDArray[Any]) -> NDArray[Any]:
    """Add up the steps as integers of 64 bits."""
    wide = np.dtype(np.uint64 if view.dtype.kind == "u" else np.int64)
    if int(view.max()) > np.iinfo(wide).max // len(view):
        raise ValueError(f"weight must not overflow {wide} when its {len(view)} steps are added, got {view.max()}")
    summed: NDArray[Any] = view.sum(axis=0, dtype=wide)
    return summed


def _as_writeable(loads: NDArray[Any]) -> NDArray[Any]:
    """View read-only memory as what compiled code takes; nothing writes there, and a copy would cost more than a plan."""
    alias = SimpleNamespace(
        __array_interface__={**loads.__array_interface__, "data": (loads.ctypes.data, False)},
        owner=loads,  # keeps the memory alive
    )
    return np.asarray(alias)
