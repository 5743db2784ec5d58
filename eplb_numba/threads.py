"""May this call share its work among threads, and among how many?

A fork copies the memory of threads, but not the threads: a parallel region in the child waits for them for ever, or ends the
process, and it need not be Numba that ran them, for libraries share OpenMP.  Numba's workqueue layer ends the process when
two threads enter at once.  Planning serially is always safe, so a forked process and whoever is in doubt plan serially.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["threads_at_hand"]

THREAD_SAFE_LAYERS = ("omp", "tbb")
FORKED_WITHOUT_EXEC = 0x40  # Linux calls it PF_FORKNOEXEC


def _is_a_fork() -> bool:
    """Tell whether this process was forked and has not started a program since; where Linux does not know, suspect it."""
    try:
        flags = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6])
    except (OSError, ValueError, IndexError):
        return _numba_has_started()
    return flags & FORKED_WITHOUT_EXEC != 0


def _numba_has_started() -> bool:
    """Tell whether Numba has started its threads, in this process or before a fork."""
    numba = sys.modules.get("numba")
    try:
        return numba is not None and bool(numba.threading_layer())
    except ValueError:  # not yet
        return False


class _Process:
    """What is known of this process."""

    is_a_fork = _is_a_fork()


def _after_fork() -> None:
    _Process.is_a_fork = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_at_hand() -> int:
    """Give the number of threads that may share a problem now: one where a parallel region is not safe."""
    import numba

    if _Process.is_a_fork or numba.config.DISABLE_JIT:  # type: ignore[attr-defined]  # it is set when it is read
        return 1
    try:
        threads = int(numba.get_num_threads())  # starts them, so that the layer is known
    except ValueError:  # the layer that was asked for cannot be loaded
        return 1
    layer = numba.threading_layer()  # type: ignore[attr-defined]  # it is documented, though
    return threads if layer in THREAD_SAFE_LAYERS else 1
