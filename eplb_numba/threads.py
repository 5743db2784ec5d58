"""May this call share its work among threads, and among how many?

Numba's OpenMP layer ends the process when a parallel region follows a fork; its workqueue layer does when two threads enter
at once.  Planning serially is always safe, so whoever is in doubt plans serially.

The package imports this first, and it imports Numba only when asked, so that a fork is noticed as early as can be.
"""

from __future__ import annotations

import multiprocessing.process
import os
import sys
from pathlib import Path

__all__ = ["threads_at_hand"]

THREAD_SAFE_LAYERS = ("omp", "tbb")


def _numba_has_started() -> bool:
    """Tell whether Numba has started its threads, in this process or before a fork."""
    numba = sys.modules.get("numba")
    try:
        return numba is not None and bool(numba.threading_layer())
    except ValueError:  # not yet
        return False


def _is_alone() -> bool:
    """Guess whether Numba's threads, though started, are not in this process: it is a fork's child, or has no others."""
    if multiprocessing.process.parent_process() is not None:
        return True
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len(list(tasks.iterdir())) == 1


class _Process:
    """Whether this process was forked off one with threads: then it has the memory of them, but not the threads."""

    was_forked = _numba_has_started() and _is_alone()


def _after_fork() -> None:
    _Process.was_forked = _Process.was_forked or _numba_has_started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_at_hand() -> int:
    """Give the number of threads that may share a problem now: one where a parallel region is not safe."""
    import numba

    if _Process.was_forked:
        return 1
    try:
        threads = int(numba.get_num_threads())  # starts them, so that the layer is known
    except ValueError:  # the layer that was asked for cannot be loaded
        return 1
    layer = numba.threading_layer()  # type: ignore[attr-defined]  # it is documented, though
    return threads if layer in THREAD_SAFE_LAYERS else 1
