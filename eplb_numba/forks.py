"""Has a fork left locks behind that nobody will release?

The locks of imports and of Numba's compiler are copied as they are.  A child that wants one which another thread of its parent
held at that moment would wait for ever, for it does not have that thread: an error is better.
"""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["refuse_to_compile", "refuse_to_import"]

NEEDED = ("cuda", "eplb_numba", "llvmlite", "numba", "numba_cuda", "numpy")  # packages without which nothing is planned
COMPILERS = ("numba.core.compiler_lock", "numba.cuda.core.compiler_lock")  # which modules hold the locks of Numba's compilers


class _LeftBehind:
    """What other threads were at when this process was forked."""

    importing: tuple[str, ...] = ()
    compiling = False


def _after_fork() -> None:
    _LeftBehind.importing = tuple(name for name in _half_imported() if name.partition(".")[0] in NEEDED)
    _LeftBehind.compiling = any(_is_taken(name) for name in COMPILERS)


def _half_imported() -> list[str]:
    """Give the modules that threads which are not here were importing; Python has no public way to ask."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = {name: getattr(reference(), "owner", None) for name, reference in list(locks.items())}
    return [name for name, owner in owners.items() if owner not in (None, threading.get_ident())]


def _is_taken(module: str) -> bool:
    """Tell whether a thread that is not here has the lock of a compiler."""
    lock = getattr(getattr(sys.modules.get(module), "global_compiler_lock", None), "_lock", None)
    if lock is None:
        return False
    is_free = lock.acquire(blocking=False)
    if is_free:
        lock.release()
    return not is_free


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def refuse_to_import(module: str) -> None:
    """Raise an error if a part of this package is not there yet and its import would wait for ever."""
    if _LeftBehind.importing and not _is_imported(f"{__package__}.{module}"):
        _refuse(f"importing {_LeftBehind.importing[0]}")


def refuse_to_compile() -> None:
    """Raise an error if Numba's compiler would wait for ever."""
    if _LeftBehind.compiling:
        _refuse("compiling")


def _is_imported(module: str) -> bool:
    imported = sys.modules.get(module)
    return imported is not None and not getattr(imported.__spec__, "_initializing", False)


def _refuse(doing: str) -> None:
    raise RuntimeError(
        f"this process was forked while another thread was {doing}, and would wait for that thread for ever: "
        "fork when no thread makes its first plan, or spawn"
    )
