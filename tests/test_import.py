"""Is the import silent and cheap?"""

import re
import subprocess
import sys


def run(program):
    """Run a program in a fresh process and give what it printed, on either stream."""
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    return result.stdout + result.stderr


def test_import_loads_nothing_heavy():
    """Importing prints nothing and imports neither Numba nor torch nor anything of CUDA."""
    program = """
import sys, eplb_numba
heavy = [name for name in sys.modules if name.split(".")[0] in ("numba", "torch", "cupy", "jax", "scipy")]
assert not heavy, heavy
"""
    assert run(program) == ""


def test_planning_numpy_loads_neither_torch_nor_cuda():
    """Planning a NumPy array imports neither torch nor numba.cuda's driver."""
    program = """
import sys, numpy, eplb_numba
eplb_numba.rebalance_experts(numpy.ones((1, 4)), 4, 1, 1, 2)
assert "torch" not in sys.modules
assert not [name for name in sys.modules if name.startswith(("numba.cuda.cudadrv", "numba_cuda"))]
"""
    assert run(program) == ""


def test_info_imports_no_kernels():
    """What tells what there is to plan with need not have imported what plans on a GPU."""
    program = """
import sys
from eplb_numba.info import gather_info
gather_info()
assert not [name for name in sys.modules if name.startswith("eplb_numba.gpu")]
"""
    assert run(program) == ""


def test_where_there_is_no_gpu_the_reason_is_told():
    """Asking for CUDA where it is not gives an error that says why, and planning on the CPU goes on."""
    program = """
import numpy, eplb_numba
from eplb_numba import backend
for missing in (True, False):
    if missing:
        backend.find_spec = lambda name: None
    else:
        import importlib.util
        backend.find_spec = importlib.util.find_spec
        from numba import cuda
        cuda.is_available = lambda: False
    try:
        eplb_numba.plan_experts(numpy.ones((1, 4)), 4, 1, 1, 2, backend="cuda")
    except RuntimeError as error:
        print(error)
eplb_numba.plan_experts(numpy.ones((1, 4)), 4, 1, 1, 2)
"""
    missing, no_gpu = run(program).splitlines()
    assert missing.startswith('the backend "cuda" needs numba-cuda and a GPU, but numba-cuda is not installed: pip install')
    assert no_gpu.startswith('the backend "cuda" needs numba-cuda and a GPU, but ')


def test_a_numpy_that_is_too_new_for_numba_cuda_is_named():
    """Where numba-cuda cannot be imported to the end, that is the reason why the backend is missing, and the CPU plans on."""
    program = """
import os, sys
os.environ.pop("NUMBA_ENABLE_CUDASIM", None)
sys.modules["numba.cuda.np.arrayobj"] = None
import numpy, eplb_numba
from eplb_numba.info import gather_info
print(gather_info()["backends"]["cuda"])
eplb_numba.plan_experts(numpy.ones((1, 4)), 4, 1, 1, 2)
"""
    told = run(program)
    assert re.match(
        r"missing: numba-cuda [0-9.]+ does not work with NumPy [0-9.]+ and numba [0-9.]+: import of .* halted",
        told,
    )


def test_every_public_name_exists():
    """Each name in __all__ can be imported, and each has a docstring."""
    import eplb_numba

    for name in eplb_numba.__all__:
        assert getattr(eplb_numba, name).__doc__ or name == "POLICIES"
