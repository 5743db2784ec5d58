"""How do rules become machine code on a CPU?  As parts of the kernels that call them, and never by themselves.

Numba gives each function machine code of its own, ready to be called from anywhere, and optimizes it to the end together with
all that it calls: on each level of calls everything below once more.  Of rules nothing calls that code: kernels are made of
copies.  So a rule is left as it is translated; what is linked into a kernel is optimized there, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import overload

__all__ = ["on_cpu"]


def on_cpu(function: Any, **options: Any) -> Callable[[Any], Any]:
    """Let a function that gives implementations say what another one means in kernels on a CPU."""
    jit_options: Any = {"pipeline_class": _Compiler, **options}
    return overload(function, target="cpu", strict=False, jit_options=jit_options)


class _Library(JITCodeLibrary):
    """Code that is linked into other code, and never run where it lies."""

    def _optimize_final_module(self) -> None:
        """Leave that to what this is linked into."""

    def _finalize_final_module(self) -> None:
        """Leave it at that: Numba would make machine code now."""
        self._finalized = True


class _Compiler(Compiler):
    """Compiles a function that only compiled code calls."""

    def define_pipelines(self) -> Any:
        state = self.state
        state.flags.no_compile = True
        state.flags.no_cfunc_wrapper = True
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        return super().define_pipelines()

    def compile_extra(self, func: Any) -> Any:
        """Let callers find the code by what stands for its entry: any built-in function that is no other's."""
        result = super().compile_extra(func)._replace(entry_point=object().__sizeof__)
        self.state.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
        return result
