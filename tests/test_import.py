"""Is the import silent and cheap?"""

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


def test_every_public_name_exists():
    """Each name in __all__ can be imported, and each has a docstring."""
    import eplb_numba

    for name in eplb_numba.__all__:
        assert getattr(eplb_numba, name).__doc__ or name == "POLICIES"
