"""Does the comparison on a GPU do what it says?  Here the CPU stands in for the GPU, and made-up rows for measured ones."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from asv_bench import compare_gpu, gpu_table, gpu_timing
from asv_bench.benchmarks.shapes import Shape
from asv_bench.gpu_table import LASTING, MANY, TURNS, Row

pytestmark = pytest.mark.usefixtures("one_torch_thread")
ROOT = Path(__file__).parent.parent
SMALL = Shape(2, 16, 24, 1, 1, 4)
ROW = Row(
    shape="deepseek_v3_ep32_global",
    policy="deepseek",
    device_ms=0.05,
    planner_ms=0.1,
    call_ms=0.2,
    torch_ms=20.0,
    torch_strategy="deepseek",
    torch_runs=TURNS,
    balancedness=0.99501,
    torch_balancedness=0.99502,
    same_as_cpu=True,
)


class CpuCard:
    """A card that plans on the CPU, and replays a plan by making it again."""

    gpu = None

    def put(self, array):
        return torch.from_numpy(array)

    def finish(self):
        pass

    def clock_of(self, run):
        def replay():
            begin = time.perf_counter()
            run()
            return time.perf_counter() - begin

        return replay


def test_every_case_is_measured():
    """Every named policy, MANY and LASTING get a row with all that can be measured, and the CPU's plan."""
    rows = gpu_timing.compare("small", SMALL, list(compare_gpu.EVERYTHING), CpuCard(), 0.01)
    assert [row.policy for row in rows] == list(compare_gpu.EVERYTHING)
    for row in rows:
        assert (row.error, row.same_as_cpu) == ("", True)
        assert min(row.device_ms, row.planner_ms, row.call_ms) > 0
        assert 0.5 < row.balancedness <= 1
        assert gpu_table.format_row(row).count("|") == gpu_table.HEADING.splitlines()[0].count("|")
        if row.policy == LASTING:
            assert (row.torch_ms, row.torch_strategy, row.torch_balancedness, row.times_faster) == (None, None, None, None)
        else:
            assert row.torch_ms > 0
            assert row.torch_runs >= 1
            assert row.torch_strategy == ("deepseek" if row.policy == "balanced" else row.policy)


def test_another_plan_is_noticed(monkeypatch):
    """Where the drop-in's plan is not the CPU's, the row says so."""
    honest = gpu_timing.rebalance_experts
    monkeypatch.setattr(
        gpu_timing, "rebalance_experts", lambda *given, **options: honest(*given, **options | {"policy": "balanced"})
    )
    (row,) = gpu_timing.compare("small", SMALL, ["deepseek"], CpuCard(), 0.01)
    assert not row.same_as_cpu


def test_a_replay_that_does_nothing_is_noticed():
    """Where a replay leaves the results as they were, the row says so."""

    class Idle(CpuCard):
        def clock_of(self, run):
            return lambda: 1e-3

    (row,) = gpu_timing.compare("small", SMALL, ["deepseek"], Idle(), 0.01)
    assert not row.same_as_cpu


@pytest.mark.parametrize("method", ["warm_up", "take_turn", "report"])
def test_a_failure_costs_one_row(monkeypatch, method):
    """Whatever goes wrong with one policy, the others are measured, and the row says what went wrong."""
    honest = getattr(gpu_timing.Contender, method)

    def fail(contender, *arguments):
        if contender.case.name == "deepseek":
            raise RuntimeError("the GPU\nfell off the bus")
        return honest(contender, *arguments)

    monkeypatch.setattr(gpu_timing.Contender, method, fail)
    failed, good = gpu_timing.compare("small", SMALL, ["deepseek", "balanced"], CpuCard(), 0.01)
    assert failed == Row(shape="small", policy="deepseek", error="RuntimeError: the GPU fell off the bus")
    assert good.same_as_cpu


def test_a_slow_run_is_run_once():
    """What takes longer than its share of the seconds is timed once, and what is quick in every turn."""
    contender = gpu_timing.Contender(gpu_timing.find_case("deepseek", SMALL), SMALL, CpuCard())
    contender.warm_up(1e-9)
    assert set(contender.runs.values()) == {1}
    contender.warm_up(10.0)
    assert min(contender.runs.values()) >= TURNS
    contender.runs = dict.fromkeys(contender.runs, TURNS + 2)
    for turn in range(TURNS):
        contender.take_turn(turn)
    assert {len(seconds) for seconds in contender.seconds.values()} == {TURNS + 2}


def test_many_starts_are_many_starts():
    """MANY has 128 starts and one run of the pipeline on both sides."""
    case = gpu_timing.find_case(MANY, SMALL)
    assert (case.policy.starts, case.policy.restarts) == (case.strategy.starts, case.strategy.restarts) == (128, 1)


def test_a_row_reads_well():
    """A row has its figures, and how many times faster the call is than plain torch."""
    assert (
        gpu_table.format_row(ROW)
        == "| deepseek_v3_ep32_global | deepseek | 0.050 | 0.100 | 0.200 | 20.00 | 100 | 0.9950 | 0.9950 | yes |"
    )
    assert gpu_table.list_notes([ROW]) == ["Times faster: plain torch against the call."]


def test_notes_say_what_is_not_as_it_seems():
    """Another strategy, few runs, another plan and a failure are each marked in the row and noted once."""
    other = replace(ROW, policy="balanced")
    rare = replace(ROW, torch_runs=2)
    differs = replace(ROW, same_as_cpu=False)
    failed = Row(shape="large", policy="deepseek", error="RuntimeError: out of memory")
    cells = [gpu_table.format_row(row) for row in (other, rare, differs, failed)]
    assert cells[0].count("\\*") == 3
    assert "20.00 (2 runs)" in cells[1]
    assert cells[2].endswith("| NO |")
    assert cells[3] == "| large | deepseek | - | - | - | - | - | - | - | failed |"
    assert gpu_table.list_notes([other, other, rare, differs, failed]) == [
        "Times faster: plain torch against the call.",
        "\\* There is no plain torch version of `balanced`: this is `deepseek`.",
        "Plain torch ran fewer than 5 times where the row says so.",
        "large, deepseek: RuntimeError: out of memory",
        "deepseek_v3_ep32_global, deepseek: the GPU's plan is not the CPU's.",
    ]


@pytest.fixture
def pretend(monkeypatch):
    """Let the command believe in a GPU, and give it made-up rows."""
    calls = []

    def compare(shape_name, shape, policies, card, seconds):
        calls.append((shape_name, policies, seconds))
        return [replace(ROW, shape=shape_name, policy=name, same_as_cpu=name != MANY) for name in policies]

    for name in ("why_no_gpu", "why_not_for_libraries"):
        monkeypatch.setattr(compare_gpu, name, lambda: None)
    machine = {"card": "NVIDIA H100", "compute capability": "9.0", "date": "2026-11-24"}
    monkeypatch.setattr(compare_gpu, "describe_machine", lambda: machine)
    monkeypatch.setattr(gpu_timing, "compare", compare)
    return calls


def test_the_whole_table(pretend, capsys):
    """Without options every policy is run on every shape; a plan that differs fails the command."""
    assert compare_gpu.main([]) == 1
    assert [len(policies) for _, policies, _ in pretend] == [9] * 6
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NVIDIA H100, compute capability 9.0, 2026-11-24"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert sum(line.startswith("|") for line in lines) == 2 + 54


def test_options(pretend, tmp_path):
    """Shapes and policies are chosen, the seconds are passed on, and rows are written as JSON."""
    path = tmp_path / "rows.json"
    given = "--shape kimi_k2_ep96 --policy deepseek --policy balanced --policy deepseek --seconds 2 --json"
    assert compare_gpu.main([*given.split(), str(path)]) == 0
    assert pretend == [("kimi_k2_ep96", ["deepseek", "balanced"], 2.0)]
    written = json.loads(path.read_text())
    assert written["machine"]["card"] == "NVIDIA H100"
    assert [row["policy"] for row in written["rows"]] == ["deepseek", "balanced"]
    assert written["rows"][0]["times_faster"] == pytest.approx(100)


@pytest.mark.parametrize("given", [["--shape", "nowhere"], ["--policy", "nobody"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_bad_options_are_refused(given, capsys):
    """What is not known is refused before anything is run."""
    with pytest.raises(SystemExit, match="2"):
        compare_gpu.main(given)
    assert given[0] in capsys.readouterr().err


def test_no_gpu_is_a_reason_and_nothing_heavy_is_imported():
    """Where there is no GPU the command says why and ends with status 1, before it imports torch or Numba."""
    program = """
import sys
from asv_bench import compare_gpu
status = compare_gpu.main([])
heavy = [name for name in sys.modules if name.split(".")[0] in ("numba", "numba_cuda", "torch")]
assert not heavy, heavy
sys.exit(status)
"""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("No GPU to compare on: "), done.stderr


@pytest.mark.parametrize(
    ("smi", "module", "expected"),
    [
        ("580.65.06\n580.65.06\n", "", "580.65.06"),
        (None, "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        ("", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023", "535.129.03"),
        (None, "", "unknown"),
    ],
)
def test_the_driver_version_is_found(monkeypatch, smi, module, expected):
    """It comes from nvidia-smi, or where that is missing or silent from the kernel module."""
    done = subprocess.CompletedProcess([], 0 if smi else 9, stdout=smi)
    monkeypatch.setattr(compare_gpu.shutil, "which", lambda name: None if smi is None else name)
    monkeypatch.setattr(compare_gpu.subprocess, "run", lambda *given, **options: done)
    monkeypatch.setattr(compare_gpu.Path, "read_text", lambda path: module)
    assert compare_gpu.driver_version() == expected


def test_the_machine_is_described(monkeypatch):
    """The line above the table names card, compute capability, driver, CUDA, versions and day, in this order."""
    card = SimpleNamespace(name="NVIDIA H200", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(compare_gpu, "driver_version", lambda: "580.65.06")
    line = gpu_table.format_machine(compare_gpu.describe_machine())
    form = r"NVIDIA H200, compute capability 9\.0, driver 580\.65\.06, CUDA 13\.0 \(torch's\), torch \S+, numba \S+, "
    assert re.fullmatch(form + r"numba-cuda \S+, \d{4}-\d\d-\d\d", line)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU here")
def test_torch_must_be_able_to_use_the_gpu():
    """A torch that cannot use the GPU is a reason."""
    assert compare_gpu.why_not_for_libraries().startswith(f"torch {torch.__version__} cannot use it")


@pytest.mark.gpu
def test_a_small_table_on_a_gpu(capsys):
    """On a GPU, a short run measures every case and finds the CPU's plans."""
    given = ["--shape", "qwen3_235b_ep16", "--policy", "deepseek", "--policy", MANY, "--policy", LASTING, "--seconds", "0.1"]
    assert compare_gpu.main(given) == 0, capsys.readouterr().out
