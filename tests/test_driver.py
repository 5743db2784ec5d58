"""Does the host get its kernels onto a GPU through Numba and the driver as they are?  There is a double of a driver for it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from . import driver


@pytest.mark.skipif(find_spec("nvidia") is None, reason="the compiler's wheels are not installed: [cu13]")
@pytest.mark.skipif(driver.COMPILER is None, reason="there is no C compiler here")
def test_plans_go_through_a_driver(tmp_path):
    """The tests of the double pass in a process that finds it where the driver would be."""
    driver.build(tmp_path)
    others = {name: value for name, value in os.environ.items() if name not in ("NUMBA_ENABLE_CUDASIM", "PYTEST_ADDOPTS")}
    libraries = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("LD_LIBRARY_PATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/driver/test_plans.py"],
        cwd=Path(__file__).parent.parent,
        env=others | {"LD_LIBRARY_PATH": libraries},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
