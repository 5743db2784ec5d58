"""Do rules get into kernels on a CPU, and leave no machine code of their own behind?"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.core.codegen import JITCodeLibrary

from eplb_numba.rules.words import rule


@rule
def _twice_the_first(loads):
    return loads[0] + loads[0]


def test_a_rule_is_linked_and_not_made_machine_code_of(monkeypatch):
    """Calls would be bound to that code, which is not optimized: every plan would be right, and many times as slow."""
    made = []
    finalize = JITCodeLibrary._finalize_specific
    monkeypatch.setattr(JITCodeLibrary, "_finalize_specific", lambda library: (made.append(library.name), finalize(library)))

    @njit
    def kernel(loads):
        return _twice_the_first(loads)

    assert kernel(np.ones(3)) == 2
    assert any("kernel" in name for name in made)
    assert not any("_twice_the_first" in name for name in made)
