"""What do the kernels become?  Compiles all of them without a GPU and prints what PTX and its assembler say, as JSON.

Run as a program of its own: the tests run where numba.cuda is the simulator, which compiles nothing.
"""

import json
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numba.cuda.typing.typeof import Purpose, typeof

from eplb_numba import POLICIES, Topology
from eplb_numba.gpu.kernels import KERNELS
from eplb_numba.gpu.memory import InGlobal, allocate
from eplb_numba.rules.placement import Placement, placement_arrays
from eplb_numba.rules.rows import Packs, Replicas
from eplb_numba.rules.terms import layout_of, tactics_of

from .machine import Memory, compile_kernel

FUSED = re.compile(r"\bfma\.\w+(?:\.\w+)*\.f(?:32|64)")
APPROXIMATE = re.compile(r"\b(?:div\.(?:approx|full)|rcp|ex2|lg2|sqrt\.approx|\w+\.ftz)\b")


def signatures(dtype, kinds):
    """Give each kernel's name and the types of its arguments, for loads of one type and weights of some kinds.

    Scratch lies in shared memory, and for some kernels once more in global memory.
    """

    def empty(axes, kind=dtype):
        return np.empty((1,) * axes, kind)

    layout = layout_of(Topology(4, 4, 1, 1, 1))
    tactics = tactics_of(POLICIES["balanced"], 0, np.dtype(dtype))
    work, scratch, outlook, starts = allocate(
        lambda shape, kind: Memory(np.empty(shape, kind)), 1, layout._replace(gpu_slots=2), tactics, np.dtype(dtype), True
    )
    assert starts is not None
    placement = Placement(*(np.empty(shape, kind) for shape, kind in placement_arrays(1, layout, np.dtype(dtype))))
    indices, listed, intake = empty(2, np.int64), (empty(3, np.int64), True), (empty(3), 1.0)
    arguments = {
        "assign": (*intake, layout, tactics, work, scratch),
        "prepare": (*intake, layout, tactics, work, scratch),
        "place": (*intake, layout, tactics, work, scratch),
        "place_start": (*intake, layout, tactics, work, scratch, starts, 0),
        "place_start_by_few": (*intake, layout, tactics, work, scratch, starts, 0),
        "deliver": (layout, tactics, work, placement, *listed),
        "outlast": (layout, tactics, work, scratch, outlook),
        "outlast_by_many": (layout, tactics, work, scratch, outlook),
        "deliver_again": (layout, work, placement, *listed),
        "list_slots": (placement, listed[0]),
        "pack": (*intake, layout, tactics, scratch, Packs(indices, indices)),
        "replicate": (*intake, layout, scratch, Replicas(indices, indices, indices)),
    }
    for kind, zero in kinds:
        name = np.dtype(kind).name
        arguments[f"intake {name}"] = (empty(3, kind), zero, zero, 1.0, work)
        arguments[f"read_window {name}"] = (empty(3, kind), layout, work, placement)
    if dtype == "float64":
        del arguments["outlast_by_many"], arguments["place_start_by_few"]
    else:
        for name in ("place", "place_start", "outlast_by_many"):
            arguments[f"{name} in global memory"] = tuple(
                InGlobal(*value[:2]) if value is scratch or value is outlook else value for value in arguments[name]
            )
    for name, values in arguments.items():
        yield name, tuple(typeof(value, Purpose.argument) for value in values)


def to_be_fused(ptx):
    """Give the sums that the assembler may fuse with a product: one that does not say how it is rounded."""
    products = set(re.findall(r"\bmul\.f(?:32|64)\s+(%fd?\d+)", ptx))
    sums = re.findall(r"\b(?:add|sub)\.f(?:32|64)\s+%fd?\d+, (%fd?\d+), (%fd?\d+)", ptx)
    return [pair for pair in sums if products & set(pair)]


def assemble(ptx, capability, assembler, most_registers):
    """Give registers, spilled bytes, stack and shared memory that the assembler reports for a compute capability."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        limit = ["-maxrregcount", str(most_registers)] if most_registers else []
        target = ["-arch", "sm_{}{}".format(*capability), *limit]
        said = subprocess.run(
            [assembler, "-v", *target, str(source), "-o", str(Path(folder) / "kernel.cubin")],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    spilled = [int(number) for number in re.findall(r"(\d+) bytes spill", said)]
    return {
        "registers": max(int(number) for number in re.findall(r"Used (\d+) registers", said)),
        "spilled": sum(spilled),
        "stack": max(int(number) for number in re.findall(r"(\d+) bytes stack frame", said)),
        "shared": max([0, *(int(number) for number in re.findall(r"(\d+) bytes smem", said))]),
    }


KINDS = {
    "float32": [(np.float32, np.float32(0)), (np.int64, np.int64(0)), (np.uint64, np.uint64(0))],
    "float64": [(np.float64, np.float64(0))],
}


def main(dtype, assembler, *capabilities):
    """Compile all kernels for loads of one type and some compute capabilities and print a list of what became of them.

    In one process Numba does once what the capabilities have in common: all that comes before PTX.
    """
    reports, ptx_of = [], cache(compile_kernel)  # some are the same but for their registers
    for capability in capabilities:
        numbers = tuple(map(int, capability.split(".")))
        for name, types in signatures(dtype, KINDS[dtype]):
            if name.endswith("in global memory") and capability != "9.0":
                continue
            kernel = getattr(KERNELS, name.split()[0])
            ptx = ptx_of(kernel.py_func, types, numbers)
            report = {
                "kernel": name,
                "loads": dtype,
                "capability": capability,
                "fused": FUSED.findall(ptx) + to_be_fused(ptx),
                "approximate": APPROXIMATE.findall(ptx),
            }
            reports.append(report | assemble(ptx, numbers, assembler, kernel.targetoptions.get("max_registers")))
    json.dump(reports, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
