"""Do the benchmarks run?  What is not run rots."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def planning(monkeypatch):
    """Import the benchmarks as airspeed velocity does."""
    monkeypatch.syspath_prepend(str(ROOT / "asv_bench"))
    yield importlib.import_module("benchmarks.planning")
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_each_benchmark_runs(planning):
    """Every method of the planning benchmarks runs for every policy on the smallest shape, and tracks sensible numbers."""
    assert set(planning.Planning.params[1]) == set(planning.SHAPES)
    for policy in planning.POLICIES:
        benchmark = planning.Planning()
        arguments = (policy, "qwen3_235b_ep16")
        benchmark.setup(*arguments)
        benchmark.time_rebalance(*arguments)
        benchmark.time_planner(*arguments)
        benchmark.peakmem_rebalance(*arguments)
        assert 0.5 < benchmark.track_balancedness(*arguments) <= 1
        assert 0 <= benchmark.track_above_bound(*arguments) < 5


def test_the_import_is_timed_in_a_fresh_process(planning):
    """The start benchmarks measure a process of their own."""
    benchmark = planning.Start()
    benchmark._run = lambda cache: None  # no compiling here
    benchmark.setup()
    assert benchmark.track_import() > 0
    benchmark.teardown()


def test_the_configuration_is_complete():
    """The file that airspeed velocity reads names the folder of the benchmarks and thresholds for regressions."""
    configuration = json.loads((ROOT / "asv_bench" / "asv.conf.json").read_text())
    assert (ROOT / "asv_bench" / configuration["benchmark_dir"]).is_dir()
    assert configuration["regressions_thresholds"]
