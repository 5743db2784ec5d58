"""How fast is a plan on a GPU, beside plain torch on the same GPU, and is it the CPU's plan?

Prints the README's table: ``python asv_bench/compare_gpu.py``.  On a machine with a CUDA GPU that compiles first, then takes
about six seconds for each of 54 rows, more where plain torch is slow; elsewhere it says why not.  All rows of a shape are
timed in turn, in one run.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from asv_bench.benchmarks.shapes import SHAPES
from asv_bench.gpu_table import HEADING, LASTING, MANY, as_json, format_machine, format_row, list_notes
from eplb_numba import POLICIES

EVERYTHING = (*POLICIES, MANY, LASTING)

SECONDS = 6.0  # for each row, shared among its columns and its turns


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; give the exit status: 0 if every plan is the CPU's."""
    options = read_options(arguments)
    reason = why_no_gpu() or why_not_for_libraries()
    if reason is not None:
        print(f"No GPU to compare on: {reason}", file=sys.stderr)
        return 1
    from asv_bench import gpu_timing  # only now: torch and Numba take their time

    machine = describe_machine()
    print(format_machine(machine), HEADING, sep="\n\n", flush=True)
    rows = []
    for shape_name in dict.fromkeys(options.shape or SHAPES):
        policies = list(dict.fromkeys(options.policy or EVERYTHING))
        found = gpu_timing.compare(shape_name, SHAPES[shape_name], policies, gpu_timing.Card(), options.seconds)
        print("\n".join(map(format_row, found)), flush=True)
        rows += found
    print("", *list_notes(rows), sep="\n")
    if options.json is not None:
        options.json.write_text(as_json(machine, rows) + "\n")
    return 0 if all(row.same_as_cpu for row in rows) else 1


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape",
        action="append",
        choices=SHAPES,
        metavar="NAME",
        help=f"only this shape; may be given again: {'; '.join(SHAPES)}",
    )
    parser.add_argument(
        "--policy",
        action="append",
        choices=EVERYTHING,
        metavar="NAME",
        help=f"only this policy; may be given again: {'; '.join(EVERYTHING)}",
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each row, %(default)s by default")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the machine and the rows there")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds < float("inf"):
        parser.error(f"--seconds must be positive and finite, got {options.seconds}")
    return options


def why_no_gpu() -> str | None:
    """Give the reason why there is no GPU to time on, or None, without importing what is large."""
    for package, name in (("torch", "torch"), ("numba_cuda", "numba-cuda")):
        if find_spec(package) is None:
            return f"{name} is not installed"
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0":
        return "NUMBA_ENABLE_CUDASIM is set, and a simulator is not timed"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"the CUDA driver cannot be loaded ({error})"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"the CUDA driver gives error {status}" + (" (no device)" if status == 100 else "")
    return None if count.value else "the CUDA driver finds no device"


def why_not_for_libraries() -> str | None:
    """Give the reason why torch or eplb_numba cannot use the GPU that the driver has, or None."""
    import torch

    from eplb_numba.backend import why_not_cuda

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} cannot use it" + ("" if torch.version.cuda else ": it is built without CUDA")
    return why_not_cuda()


def describe_machine() -> dict[str, str]:
    """Name the card, its driver and the libraries' versions, in the order in which they are printed."""
    import torch

    card = torch.cuda.get_device_properties(0)
    return {
        "card": card.name,
        "compute capability": f"{card.major}.{card.minor}",
        "driver": driver_version(),
        "CUDA": f"{torch.version.cuda} (torch's)",
        **{name: version(name) for name in ("torch", "numba", "numba-cuda")},
        "date": datetime.now(UTC).date().isoformat(),
    }


def driver_version() -> str:
    """Give the driver's version from nvidia-smi, or else from the kernel module."""
    command = shutil.which("nvidia-smi")
    if command is not None:
        query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "unknown"
    found = re.search(r"\d{3,}\.\d+(\.\d+)?", text)
    return found.group() if found else "unknown"


if __name__ == "__main__":
    sys.exit(main())
