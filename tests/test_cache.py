"""Are compiled kernels kept, and never those of other rules?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import eplb_numba

REPLICATE = """
import numpy as np
import eplb_numba
from eplb_numba import cpu
print(eplb_numba.replicate_experts(np.array([[9.0, 4.0, 1.0]]), 5)[1].tolist())
print(sum(cpu._replicate_rows.stats.cache_hits.values()))
"""


def run(program, folder, **environment):
    """Run a program with the package that lies in a folder, and give the lines that it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


def test_other_rules_are_compiled_anew(tmp_path):
    """A kernel is taken from disk, but not once a file of the rules is another, though its size and time are the same."""
    shutil.copytree(Path(eplb_numba.__file__).parent, tmp_path / "eplb_numba", ignore=shutil.ignore_patterns("__pycache__"))
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(REPLICATE, tmp_path, **cache) == ["[[0, 0, 0, 1, 2]]", "0"]
    assert run(REPLICATE, tmp_path, **cache) == ["[[0, 0, 0, 1, 2]]", "1"]

    rule = tmp_path / "eplb_numba" / "rules" / "replicate.py"
    before, times = rule.read_text(), rule.stat()
    after = before.replace("node.slot_ranks[slot] = count - 1", "node.slot_ranks[slot] = count - 2")
    assert len(after) == len(before)
    assert after != before
    rule.write_text(after)
    os.utime(rule, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(REPLICATE, tmp_path, **cache) == ["[[0, 0, 0, 0, 1]]", "0"]


def test_what_is_compiled_in_two_ways_is_kept_apart(tmp_path):
    """Where slots were listed by several threads before, a process that has few to list still starts no threads."""
    listed = "import numba, numpy as np, eplb_numba; from eplb_numba import cpu; cpu.WORTH_FILLING = {}; " + (
        "print(eplb_numba.rebalance_experts(np.ones((1, 8), np.float32), 12, 1, 1, 4)[1].shape)"
    )
    folder, cache = Path(eplb_numba.__file__).parent.parent, {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(listed.format(0), folder, **cache) == ["(1, 8, 2)"]
    started = "\ntry:\n    print(numba.threading_layer())\nexcept ValueError:\n    print('none')"
    assert run(listed.format(2**20) + started, folder, **cache) == ["(1, 8, 2)", "none"]


def test_without_a_place_for_the_cache():
    """Where Numba finds no folder that it may write to, kernels are compiled for this process alone."""
    program = "from numba.core import caching; caching.CacheImpl._locator_classes = []" + REPLICATE
    folder = Path(eplb_numba.__file__).parent.parent
    assert run(program, folder)[0] == "[[0, 0, 0, 1, 2]]"
    nowhere = "from numba.core import caching; caching.CacheImpl._locator_classes = []\n"
    assert (
        "none can be written to"
        in run(nowhere + "from eplb_numba.info import gather_info; print(gather_info()['cache'])", folder)[0]
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(nowhere + "from eplb_numba.warm import warm; next(warm())", folder)
    assert "name one in NUMBA_CACHE_DIR" in failed.value.stderr


def test_info_names_the_folder(tmp_path):
    """Info tells where compiled code is kept: in the folder that was asked for, if that can be written to."""
    shutil.copytree(Path(eplb_numba.__file__).parent, tmp_path / "eplb_numba", ignore=shutil.ignore_patterns("__pycache__"))
    program = "from eplb_numba.info import gather_info; print(gather_info()['cache'])"
    assert run(program, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == [str(tmp_path / "cache")]
    beside = f"__pycache__ in the folders of {tmp_path / 'eplb_numba'}"
    for nowhere in ("", "/proc/nowhere"):
        assert run(program, tmp_path, NUMBA_CACHE_DIR=nowhere) == [beside]


def test_a_full_disk_after_an_upgrade(tmp_path):
    """What could not be written is not taken for what older rules became, which has the same name."""
    shutil.copytree(Path(eplb_numba.__file__).parent, tmp_path / "eplb_numba", ignore=shutil.ignore_patterns("__pycache__"))
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(REPLICATE, tmp_path, **cache) == ["[[0, 0, 0, 1, 2]]", "0"]
    rows = tmp_path / "eplb_numba" / "rules" / "rows.py"
    before = rows.read_text()
    after = before.replace("replicas.rank[row, slot] = ", "replicas.rank[row, slot] = 100 + ")
    assert after != before
    rows.write_text(after)
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, -1))\n"
    assert run(full + REPLICATE, tmp_path, **cache) == ["[[100, 100, 100, 101, 102]]", "0"]
    assert run(REPLICATE, tmp_path, **cache) == ["[[100, 100, 100, 101, 102]]", "0"]


def test_a_full_disk(tmp_path):
    """Where what was compiled cannot be written, plans are made all the same, and only warm says so."""
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, -1))\n"
    folder, cache = Path(eplb_numba.__file__).parent.parent, {"NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        assert run(full + REPLICATE, folder, **cache) == ["[[0, 0, 0, 1, 2]]", "0"]
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(full + "from eplb_numba.warm import warm; next(warm())", folder, **cache)
    assert "OSError: [Errno 27] File too large" in failed.value.stderr
