"""Who plans for an array: the CPU's backend or the GPU's?"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import Literal, get_args

import numpy as np

from .arrays import LEAST_CAPABILITY, Guest
from .forks import refuse_to_import

__all__ = ["Backend", "find_backend", "open_backend", "why_not_compile", "why_not_cuda"]

Backend = Literal["cpu", "cuda"]


def find_backend(name: Backend | None, guest: Guest) -> ModuleType:
    """Give the backend of that name or, if there is no name, that of the device where the array lies."""
    return open_backend(("cpu" if guest.gpu is None else "cuda") if name is None else name)


def open_backend(name: Backend) -> ModuleType:
    """Give the backend of that name."""
    if name not in get_args(Backend):
        raise ValueError(f"backend must be one of {get_args(Backend)}, got {name!r}")
    if name == "cpu":
        refuse_to_import("cpu")
        from . import cpu

        return cpu
    return _open_cuda()


@cache
def _open_cuda() -> ModuleType:
    """Give the backend of GPUs, which stays where it once was."""
    refuse_to_import("gpu")
    reason = why_not_cuda()
    if reason is not None:
        raise RuntimeError(f'the backend "cuda" needs numba-cuda and a GPU, but {reason}')
    from . import gpu

    return gpu


def why_not_cuda() -> str | None:
    """Give the reason why nothing can be planned on a GPU here, or None."""
    reason = why_not_compile()
    if reason is not None:
        return reason
    from numba import cuda

    if cuda.is_available():
        return _why_too_old()
    try:
        cuda.get_current_device()
    except Exception as error:  # noqa: BLE001  # whatever the driver says is the reason
        return " ".join(str(error).split()).rstrip(" :")
    return "numba-cuda finds no GPU"


def why_not_compile() -> str | None:
    """Give the reason why nothing can be compiled for a GPU here, or None."""
    if find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: pip install 'eplb-numba[cu13]', or [cu12] for a driver of CUDA 12"
    from numba import config

    if not getattr(config, "ENABLE_CUDASIM", False):
        try:
            import_module("numba.cuda.np.arrayobj")  # which is imported, else, only where a first kernel is compiled
        except Exception as error:  # noqa: BLE001  # whatever a NumPy or a Numba lacks that numba-cuda was not made for
            others = f"NumPy {np.__version__} and numba {version('numba')}"
            return f"numba-cuda {version('numba-cuda')} does not work with {others}: {error}"
    return None


def _why_too_old() -> str | None:
    """Give the reason why none of the GPUs that there are can run the kernels, or None; the simulator's can."""
    from numba import config, cuda

    found = [tuple(gpu.compute_capability) for gpu in cuda.gpus]
    if not found:
        return "numba-cuda finds no GPU"
    if config.ENABLE_CUDASIM or max(found) >= LEAST_CAPABILITY:
        return None
    least, most = (".".join(map(str, capability)) for capability in (LEAST_CAPABILITY, max(found)))
    return f"a GPU must have compute capability {least} or more, and the best one here has {most}"
