"""May this call share its work among threads, and among how many?

Numba's OpenMP layer ends the process when a parallel region follows a fork; its workqueue layer does when two threads enter
at once.  Planning serially is always safe, so whoever is in doubt plans serially.
"""

from __future__ import annotations

import multiprocessing.process
import os

import numba

__all__ = ["threads_at_hand"]

THREAD_SAFE_LAYERS = ("omp", "tbb")


def _has_threads() -> bool:
    """Tell whether Numba has started its threads, in this process or before a fork."""
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


class _Process:
    """Whether this process was forked off one with threads: it has the memory of them, but not the threads."""

    # A process that imports this only after the fork cannot tell; it is safe as long as no threads were started before.
    was_forked = multiprocessing.process.parent_process() is not None and _has_threads()


def _after_fork() -> None:
    _Process.was_forked = _Process.was_forked or _has_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_at_hand() -> int:
    """Give the number of threads that may share a problem now: one where a parallel region is not safe."""
    if _Process.was_forked:
        return 1
    threads = numba.get_num_threads()  # starts them, so that the layer is known
    if threads == 1 or numba.threading_layer() not in THREAD_SAFE_LAYERS:
        return 1
    return int(threads)
