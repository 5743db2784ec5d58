"""Do the benchmarks run?  What is not run rots."""

import importlib
import json
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    """Import the benchmarks as airspeed velocity does."""
    monkeypatch.syspath_prepend(str(ROOT / "asv_bench"))
    yield importlib.import_module
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture
def planning(benchmarks):
    """Import the benchmarks of planning."""
    return benchmarks("benchmarks.planning")


def test_lasting_benchmarks_run(benchmarks):
    """The benchmarks of lasting plans run, and show what they are for."""
    lasting = benchmarks("benchmarks.lasting")
    served = []
    for objective in lasting.OBJECTIVES:
        benchmark = lasting.Lasting()
        arguments = (objective, "qwen3_235b_ep16")
        benchmark.setup(*arguments)
        benchmark.time_plan(*arguments)
        served.append(benchmark.track_next_imbalance(*arguments))
    assert served[0] > served[1] >= 0


@pytest.mark.skipif("NUMBA_ENABLE_CUDASIM" not in os.environ, reason="there is a GPU here: airspeed velocity runs them")
def test_gpu_benchmarks_are_skipped_with_a_reason(benchmarks, monkeypatch):
    """Where there is no GPU the benchmarks say so, as airspeed velocity wants to hear it."""
    on_gpu = benchmarks("benchmarks.on_gpu")
    monkeypatch.setattr(on_gpu, "why_not_cuda", lambda: "there is no GPU")
    with pytest.raises(NotImplementedError, match="there is no GPU"):
        on_gpu.OnGpu().setup("deepseek", "qwen3_235b_ep16")


def test_call_benchmarks_run(planning):
    """The benchmarks of calls time what is a plan."""
    benchmark = planning.Call()
    benchmark.setup()
    benchmark.time_rebalance()
    benchmark.time_planner()
    assert benchmark.planner.plan(benchmark.weight).balancedness[0] > 0.5


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
        assert 0 <= benchmark.track_imbalance(*arguments) < 0.5
        assert 0 <= benchmark.track_above_bound(*arguments) < 5


def test_the_import_is_timed_in_a_fresh_process(planning):
    """The start benchmarks measure a process of their own."""
    benchmark = planning.Start()
    benchmark._run = lambda cache: None  # no compiling here
    benchmark.setup()
    assert benchmark.track_import() > 0
    benchmark.teardown()


def test_each_benchmark_has_a_threshold(benchmarks):
    """The file that airspeed velocity reads names, for each time and each number that is tracked, what is a regression."""
    configuration = json.loads((ROOT / "asv_bench" / "asv.conf.json").read_text())
    assert configuration["benchmark_dir"] == "benchmarks"
    found = {}
    for module in ("lasting", "on_gpu", "planning"):
        for name, kind in vars(benchmarks(f"benchmarks.{module}")).items():
            methods = (
                [method for method in vars(kind) if method.startswith(("time_", "track_"))] if isinstance(kind, type) else []
            )
            for method in methods:
                entry = f"{module}.{name}.{method}"  # whatever its parameters are, they follow
                matching = [key for key in configuration["regressions_thresholds"] if re.match(key, entry)]
                assert len(matching) == 1, entry
                found[entry] = configuration["regressions_thresholds"][matching[0]]
    assert found["planning.Planning.track_imbalance"] == found["lasting.Lasting.track_next_imbalance"] == 0.001
    assert found["planning.Planning.time_planner"] == found["planning.Start.track_import"] == 0.2
