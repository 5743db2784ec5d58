"""Do the kernels give the CPU's answer as they are compiled?  Their PTX runs on a machine of the tests' own, without a GPU."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("nvidia") is None, reason="the compiler's wheels are not installed: [cu13]")
def test_compiled_kernels_give_the_same_bits():
    """The whole identity suite passes on compiled kernels, blocks of one warp and more, without a race or a stray access."""
    others = {name: value for name, value in os.environ.items() if name not in ("NUMBA_ENABLE_CUDASIM", "PYTEST_ADDOPTS")}
    files = ["tests/test_gpu.py", "tests/test_card.py", "tests/test_watch.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=Path(__file__).parent.parent,
        env=others | {"TESTS_ON_MACHINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
