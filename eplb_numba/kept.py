"""How is compiled code kept on disk, and how does it know that the rules it was made of are still the same?

Numba keeps a function under its own code and closure, and does not look at what it calls.  With a digest of all the rules in
the closure, none that was made of other rules is ever run.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

from .forks import refuse_to_compile

__all__ = ["compiled_and_kept", "not_kept"]

not_kept: list[OSError] = []  # why compiled code could not be written to where it should have been kept


def compiled_and_kept(jit: Any, function: Any, **options: Any) -> Any:
    """Compile a function when it is called, as one of Numba's decorators does it; keep it on disk if there is a place to."""
    function = _stamped(function, options)
    try:
        compiled = jit(cache=True, **options)(function)
    except RuntimeError:  # Numba has found no folder that it may write to
        compiled = jit(**options)(function)
    if not hasattr(compiled, "_cache"):  # NUMBA_DISABLE_JIT leaves functions as they are
        return compiled
    compile_now = compiled.compile

    def compile_unless_stuck(signature: Any) -> Any:
        refuse_to_compile()
        return compile_now(signature)

    compiled.compile = compile_unless_stuck
    save = compiled._cache.save_overload

    def save_if_possible(signature: Any, overload: Any) -> None:
        try:
            save(signature, overload)
        except OSError as error:  # a full disk is no reason not to plan
            not_kept.append(error)
            # The index is written before what it names, where there may still lie what other rules became.
            with suppress(OSError):
                Path(compiled._cache._cache_file._index_path).unlink(missing_ok=True)

    compiled._cache.save_overload = save_if_possible
    return compiled


def _stamped(function: Any, options: dict[str, Any]) -> FunctionType:
    """Give a function without a closure the digest of the rules as one, and the options that it is compiled with.

    Numba does not look at those either, and a function may be compiled in several ways.
    """
    code = function.__code__.replace(co_freevars=("rules",))
    closure = (CellType(_digest_of_rules() + repr(options)),)
    return FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)


@cache
def _digest_of_rules() -> str:
    """Give a digest of the files in ``rules``, and of those in ``gpu``, which say what their words mean there."""
    folders = [resources.files(__package__).joinpath(name) for name in ("gpu", "rules")]
    files = sorted(
        (folder.name, file.name, file.read_bytes())
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".py")
    )
    return hashlib.sha256(repr(files).encode()).hexdigest()
