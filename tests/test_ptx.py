"""What do the kernels become?  All are compiled to PTX with the compiler that comes as wheels; no GPU is needed for that."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from eplb_numba.gpu.block import COPYING_LANES, LANES, LASTING_LANES, MANY_LANES

CAPABILITIES = {"float32": ["9.0", "8.0", "10.0"], "float64": ["9.0"]}


def assembler():
    """Find the assembler of the same CUDA release as the compiler."""
    places = (find_spec("nvidia.cu13") or find_spec("nvidia")).submodule_search_locations or []
    return next((path for place in places for path in Path(place).glob("**/bin/ptxas")), None)


@pytest.fixture(scope="module")
def reports():
    """Compile all kernels once, in a process where numba.cuda is not the simulator."""
    if find_spec("nvidia") is None or assembler() is None:
        pytest.skip("the compiler's wheels are not installed: pip install 'numba-cuda[cu13]' nvidia-cuda-nvcc")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}

    def compile_all(loads):
        command = [sys.executable, "-m", "tests.ptx", loads, str(assembler()), *CAPABILITIES[loads]]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        printed = list(pool.map(compile_all, CAPABILITIES))
    return [report for lines in printed for report in json.loads(lines)]


def test_kernels_compile_for_every_capability(reports):
    """Every kernel compiles for compute capability 8.0, 9.0 and 10.0, and for loads of both types."""
    kernels = {report["kernel"].split()[0] for report in reports}
    assert " ".join(sorted(kernels)) == (
        "assign deliver deliver_again intake list_slots outlast outlast_by_many pack place place_start place_start_by_few "
        "prepare read_window replicate"
    )
    for kernel in kernels:
        compiled = {(report["capability"], report["loads"]) for report in reports if report["kernel"].split()[0] == kernel}
        types = ["float32"] if kernel in ("outlast_by_many", "place_start_by_few") else CAPABILITIES
        assert compiled == {(capability, loads) for loads in types for capability in CAPABILITIES[loads]}


def test_nothing_is_fused_or_approximate(reports):
    """No product of floats is fused with a sum, and no division, root or power is approximate."""
    for report in reports:
        assert report["fused"] == [], report
        assert report["approximate"] == [], report


def test_registers_do_not_spill(reports, capsys):
    """The assembler spills no register on compute capability 9.0; what it says of each kernel is printed."""
    assembled = [report for report in reports if report["capability"] == "9.0"]
    with capsys.disabled():
        print(f"\n{'kernel':<34} {'loads':<8} {'registers':>9} {'spilled':>8} {'stack':>6} {'shared':>7}")
        for report in assembled:
            print(
                f"{report['kernel']:<34} {report['loads']:<8} {report['registers']:>9} {report['spilled']:>8} "
                f"{report['stack']:>6} {report['shared']:>7}"
            )
    assert len(assembled) >= 24
    assert all(report["spilled"] == 0 for report in assembled)


def test_blocks_fit_into_the_registers(reports):
    """No kernel needs more registers for a block of its lanes than a multiprocessor has."""
    lanes = dict.fromkeys(("deliver", "deliver_again", "intake", "list_slots"), COPYING_LANES)
    lanes |= dict.fromkeys(("read_window", "outlast"), LASTING_LANES) | {"outlast_by_many": MANY_LANES}
    for report in reports:
        in_steps_of_eight = -(-report["registers"] // 8) * 8
        assert in_steps_of_eight * lanes.get(report["kernel"].split()[0], LANES) <= 65536, report
