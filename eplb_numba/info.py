"""What can be planned with on this machine, and why not with the rest?"""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import __version__
from .backend import why_not_cuda
from .threads import threads_at_hand

__all__ = ["gather_info"]


def gather_info() -> dict[str, Any]:
    """Gather versions, backends, the threading layer, the cache folder and the GPU, ready for JSON."""
    reason = why_not_cuda()
    return {
        "versions": {
            "eplb-numba": __version__,
            "python": platform.python_version(),
            **{name: _version_of(name) for name in ("numba", "numba-cuda", "numpy", "torch", "cupy")},
        },
        "backends": {"cpu": "ready", "cuda": "ready" if reason is None else f"missing: {reason}"},
        "threads": threads_at_hand(),
        "threading_layer": _threading_layer(),
        "cpus": os.cpu_count(),
        "cache": _cache(),
        "gpu": _gpu() if reason is None else None,
    }


def _cache() -> str:
    """Tell where compiled code is kept; each folder of the package has one of its own there."""
    from .cpu import cache_folder

    if cache_folder() is None:
        return "none can be written to, or nothing is compiled: each process is on its own"
    folder = Path(cache_folder())
    return f"__pycache__ in the folders of {Path(__file__).parent}" if folder.name == "__pycache__" else str(folder.parent)


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _threading_layer() -> str | None:
    """Name the layer that parallel regions run on, once threads_at_hand has started it."""
    import numba

    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def _gpu() -> dict[str, Any]:
    from numba import config, cuda
    from numba.cuda.cudadrv.driver import driver

    device, simulated = cuda.get_current_device(), bool(config.ENABLE_CUDASIM)
    name = getattr(device, "name", "the simulator")
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "compute_capability": ".".join(map(str, device.compute_capability)),
        "count": len(cuda.gpus),
        # Which of the extras [cu12] and [cu13] fits depends on it.
        "driver": None if simulated else "CUDA " + ".".join(map(str, driver.get_version())),
        "simulated": simulated,
    }
