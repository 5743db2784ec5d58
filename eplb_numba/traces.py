"""How is a recorded trace read from a file?"""

from __future__ import annotations

import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np

__all__ = ["read_trace"]


def read_trace(name: str) -> Any:
    """Read the loads of a trace from a file."""
    try:
        with Path(name).open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.ndarray):
                if "load" not in found:
                    raise ValueError(f"it holds no array 'load' but {', '.join(found)}")
                found = found["load"]
            if not isinstance(found, np.ndarray):
                raise TypeError(f"its 'load' is no array but {type(found).__name__}")
    # What NumPy and its zip files raise for damaged ones.
    except (EOFError, ValueError, TypeError, BadZipFile, NotImplementedError, RuntimeError, TokenError, zlib.error) as error:
        raise ValueError(f"{name} must be a .npy file, or an .npz file with an array 'load': {error}") from error
    if found.ndim != 3:
        raise ValueError(f"{name} must hold loads (steps, layers, experts), got shape {found.shape}")
    return found
