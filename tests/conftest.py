"""What do all tests share?  A compile cache that follows the sources, a GPU or its simulator, and the effort of Hypothesis."""

import ctypes
import hashlib
import os
import tempfile
from pathlib import Path


def gpu_is_here():
    """Ask the driver, if there is one, for a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


# All of this must be settled before Numba is imported.
SOURCES = Path(__file__).parent.parent / "eplb_numba"
digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.rglob("*.py")))).hexdigest()[:16]
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"eplb_numba_tests_{os.getuid()}" / digest)
if not gpu_is_here() and "TESTS_ON_MACHINE" not in os.environ:
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "here",
    deadline=None,  # the first example compiles
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("here")
# Programs of the tests' own, without tests: they compile for a GPU, with parts of Numba that its simulator has not.
collect_ignore = ["driver", "machine", "ptx.py"]


@pytest.fixture
def one_torch_thread():
    """Let torch use one thread: on two cores that others use too, its threads wait for each other longer than they work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    if not gpu_is_here():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no GPU here"))
