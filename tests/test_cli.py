"""Does the command line do what the README says?"""

import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest

from eplb_numba import POLICIES, Topology, __version__, metrics, replay
from eplb_numba.cli import main


def test_demo_prints_a_row_for_each_policy(capsys):
    """Demo prints one row with a time, a balancedness and a distance to the bound for each policy."""
    assert (
        main(
            [
                "demo",
                "--layers",
                "2",
                "--experts",
                "16",
                "--slots",
                "24",
                "--gpus",
                "4",
                "--nodes",
                "2",
                "--repeats",
                "1",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "hierarchical" in printed
    assert re.search(r"^\(as loaded\) +- +0\.\d{4} +-$", printed, re.MULTILINE)
    for name in POLICIES:
        assert re.search(rf"^{name} +\d+\.\d\d +[01]\.\d{{4}} +\d+\.\d{{4}}%$", printed, re.MULTILINE)


def test_demo_takes_chosen_policies(capsys):
    """--policy leaves the others out; one group makes it global."""
    main(
        [
            "demo",
            "--policy",
            "deepseek",
            "--layers",
            "1",
            "--experts",
            "8",
            "--slots",
            "8",
            "--gpus",
            "2",
            "--groups",
            "1",
        ]
    )
    printed = capsys.readouterr().out
    assert "global" in printed
    assert "deepseek" in printed
    assert "opt_packing_and_repl" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--slots", "289"], "num_replicas (289) must be a multiple of num_gpus (32)"),
        (["demo", "--layers", "0"], "layers must be at least 1, got 0"),
        (["demo", "--seed", "-1"], "seed must not be negative, got -1"),
        (["demo", "--policy", "best"], "invalid choice: 'best'"),
        ([], "the following arguments are required: command"),
    ],
)
def test_mistakes_end_with_a_usage_line(arguments, message, capsys):
    """A mistake on the command line is explained in one line, after the usage of the command, and the exit status is 2."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith(" ".join(["usage: eplb-numba", *arguments[:1], "[-h]"]))


def test_python_m_runs_the_command(capsys, monkeypatch):
    """Python -m eplb_numba is the same command."""
    monkeypatch.setattr(sys, "argv", ["eplb-numba", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("eplb_numba", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


def test_info_tells_what_is_here(capsys):
    """Info names versions, backends, threads and the cache folder, as text and as JSON."""
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "versions numba" in text
    assert "backends cpu             ready" in text
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["eplb-numba"] == __version__
    assert found["backends"]["cpu"] == "ready"
    assert found["threads"] >= 1
    assert set(found) == {"versions", "backends", "threads", "threading_layer", "cpus", "cache", "gpu"}


@pytest.fixture
def trace_file(tmp_path):
    """Write a small trace."""
    path = tmp_path / "trace.npz"
    np.savez(path, load=np.random.default_rng(0).integers(0, 100, (12, 2, 16)))
    return str(path)


def test_replay_prints_a_row_for_each_policy(trace_file, capsys):
    """Replay walks a trace and prints balancedness, moves and time of each policy, as text and as JSON."""
    command = ["replay", trace_file, "--slots", "24", "--gpus", "4", "--policy", "balanced", "--policy", "deepseek"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "12 steps of 2 layers of 16 experts -> 24 slots on 4 GPUs" in text
    assert re.search(r"^\(as loaded\) +0\.\d{4} +0\.\d{4} +- +-$", text, re.MULTILINE)
    assert re.search(r"^balanced +0\.\d{4} +0\.\d{4} +\d+\.\d +\d+\.\d\d$", text, re.MULTILINE)
    assert main([*command, "--json", "--shuffle", "1", "--every", "2"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores["policies"]) == {"balanced", "deepseek"}
    for row in (scores["as_loaded"], *scores["policies"].values()):
        assert 0 < row["worst_step"] <= row["balancedness"] <= 1


def test_replay_scores_what_it_says(trace_file, capsys):
    """The table has the means of the replay, and those of the placement that a model is loaded with."""
    main(["replay", trace_file, "--slots", "24", "--gpus", "4", "--policy", "balanced", "--json"])
    scores = json.loads(capsys.readouterr().out)
    trace = np.load(trace_file)["load"]
    result = replay(trace, Topology(16, 24, 1, 1, 4), "balanced")
    row = scores["policies"]["balanced"]
    assert row["balancedness"] == result.balancedness.mean()
    assert row["worst_step"] == result.balancedness.mean(axis=1).min()
    assert row["replicas_moved"] == result.moves[1:].mean()
    placement = np.array([[*range(16), *range(8)]] * 2)
    before = np.array([metrics.balancedness(step, placement, 4) for step in trace[8:]], np.float64)
    assert scores["as_loaded"] == {"balancedness": before.mean(), "worst_step": before.mean(axis=1).min()}


def test_replay_plans_for_the_sum_where_asked_to(trace_file, capsys):
    """With --sum policies do as they would with the sum of the past steps."""
    main(["replay", trace_file, "--slots", "24", "--gpus", "4", "--policy", "balanced", "--json", "--sum"])
    row = json.loads(capsys.readouterr().out)["policies"]["balanced"]
    policy = replace(POLICIES["balanced"], objective="sum")
    result = replay(np.load(trace_file)["load"], Topology(16, 24, 1, 1, 4), policy)
    assert row["balancedness"] == result.balancedness.mean()
    assert row["replicas_moved"] == result.moves[1:].mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "5"], "num_replicas (24) must be a multiple of num_gpus (5)"),
        (["--gpus", "4", "--history", "12"], "trace must have more steps than the history (12), got 12"),
        (["--gpus", "4", "--every", "0"], "every must be at least 1, got 0"),
        (["--gpus", "4", "--shuffle", "-1"], "shuffle must not be negative, got -1"),
    ],
)
def test_replay_says_what_is_wrong(trace_file, capsys, arguments, message):
    """What does not fit together is refused with the reason."""
    with pytest.raises(SystemExit):
        main(["replay", trace_file, "--slots", "24", *arguments])
    assert message in capsys.readouterr().err


def test_replay_needs_a_trace(tmp_path, capsys):
    """A file that is not there, or holds something else, is refused with the reason."""
    np.savez(tmp_path / "other.npz", counts=np.ones((9, 1, 4)))
    np.save(tmp_path / "scalar.npy", np.float32(1))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with ZipFile(tmp_path / "raw.npz", "w") as file:
        file.writestr("load", b"hello")
    np.savez_compressed(tmp_path / "damaged.npz", load=np.random.default_rng(0).integers(0, 100, (12, 2, 16)))
    damaged = bytearray((tmp_path / "damaged.npz").read_bytes())
    damaged[120] ^= 255
    (tmp_path / "damaged.npz").write_bytes(damaged)
    np.save(tmp_path / "idle.npy", np.zeros((9, 2, 4)))
    for name, message in (
        ("missing.npy", "missing.npy"),
        ("other.npz", "it holds no array 'load' but counts"),
        ("scalar.npy", "must hold loads (steps, layers, experts), got shape ()"),
        ("empty.npy", "must be a .npy file, or an .npz file with an array 'load'"),
        ("broken.npz", "must be a .npy file, or an .npz file with an array 'load'"),
        ("raw.npz", "its 'load' is no array but bytes"),
        ("damaged.npz", "must be a .npy file, or an .npz file with an array 'load'"),
        ("idle.npy", "must hold a load after the first 8 steps, got none"),
    ):
        with pytest.raises(SystemExit):
            main(["replay", str(tmp_path / name), "--slots", "4", "--gpus", "2"])
        assert message in capsys.readouterr().err


def test_replay_leaves_out_layers_without_load(tmp_path, capsys):
    """The means of the table are those of the layers that had a load."""
    trace = np.random.default_rng(0).integers(1, 100, (12, 2, 16))
    np.save(tmp_path / "all.npy", trace[:, :1])
    trace[:, 1] = 0
    np.save(tmp_path / "dense.npy", trace)
    scores = []
    for name in ("all.npy", "dense.npy"):
        main(["replay", str(tmp_path / name), "--slots", "24", "--gpus", "4", "--policy", "deepseek", "--json"])
        scores.append(json.loads(capsys.readouterr().out))
        del scores[-1]["policies"]["deepseek"]["ms"]
    assert scores[0] == scores[1]


def test_nobody_reads_to_the_end():
    """A reader that goes away ends a command without a word."""
    command = [sys.executable, "-m", "eplb_numba", "info"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_commands_end_well_without_anyone_to_talk_to():
    """Where standard output is closed there is nothing to say, and no error."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m eplb_numba info >&-', sys.executable], stderr=subprocess.PIPE, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupted_command_says_nothing(monkeypatch):
    """Whoever stops a command knows that he has."""

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("eplb_numba.info.gather_info", interrupted)
    assert main(["info"]) == 130


def test_too_large_a_demo_is_refused(capsys):
    """What does not fit into memory is an error like any other."""
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--layers", str(10**12)])
    assert stop.value.code == 2
    assert "there is not enough memory for that: Unable to allocate" in capsys.readouterr().err


def test_warm_compiles_all_that_plans_on_a_cpu(capsys):
    """After warm, a new process compiles nothing, whatever it calls."""
    assert main(["warm"]) == 0
    assert re.findall(r"^(\w+ [a-z ]+?) +\d+\.\d s$", capsys.readouterr().out, re.MULTILINE) == [
        f"{dtype} {what}"
        for dtype in ("float32", "float64")
        for what in ("plans", "lasting plans", "planners", "packing", "replication")
    ]
    program = """
import numpy as np
import eplb_numba
from eplb_numba import cpu
from eplb_numba.threads import threads_at_hand
numbers = 288, 8, 4, 32
for dtype in ("float32", "float64"):
    steps = np.random.default_rng(0).random((3, 64, 256)).astype(dtype)
    for weight in (steps, steps[0], steps[:, :1], steps[0, :1], steps.astype(np.int32)):
        for width in (None, 80):
            eplb_numba.rebalance_experts(weight, *numbers, log2phy_width=width)
    eplb_numba.Planner(64, 256, *numbers, dtype=dtype).plan(steps)
    eplb_numba.balanced_packing(steps[0], 32)
    eplb_numba.replicate_experts(steps[0], 288)
functions = [function for function in vars(cpu).values() if hasattr(function, "stats")]
found = [function.__name__ for function in functions if function.stats.cache_hits]
assert len(found) >= (6 if threads_at_hand() == 1 else 8), found
print([function.__name__ for function in functions if function.stats.cache_misses])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_no_load_is_named_where_it_stands(tmp_path, capsys):
    """Shuffled or not, it is the file's step that is named."""
    trace = np.ones((12, 2, 8), np.float32)
    trace[3, 1, 4] = np.nan
    np.save(tmp_path / "trace.npy", trace)
    for shuffle in ([], ["--shuffle", "0"]):
        with pytest.raises(SystemExit):
            main(["replay", str(tmp_path / "trace.npy"), "--slots", "8", "--gpus", "2", "--history", "2", *shuffle])
        assert "trace must not be negative, infinite or NaN, got nan at (3, 1, 4)" in capsys.readouterr().err


def test_warm_for_a_gpu(monkeypatch, capsys):
    """What is compiled for a GPU is told likewise; `test_driver` has the rest."""
    asked = []
    monkeypatch.setattr("eplb_numba.warm.warm_for_gpu", lambda *given: asked.append(given) or [("all", 1.25)])
    topology = ["--experts", "256", "--slots", "288", "--groups", "8", "--nodes", "4", "--gpus", "32"]
    for options in ([], ["--capability", "12.0"], topology):
        assert main(["warm", "--backend", "cuda", *options]) == 0
    assert capsys.readouterr().out.split() == ["all", "1.2", "s"] * 3
    assert asked == [(None, None), ((12, 0), None), (None, Topology(256, 288, 8, 4, 32))]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ["--backend", "cuda"],
            "there must be numba-cuda and a GPU or its compute capability, but none",
        ),
        (["--backend", "cuda", "--capability", "9"], "--capability: must be like 9.0, got '9'"),
        (["--capability", "9.0"], "--capability must go with --backend cuda, got --backend cpu"),
        (["--nodes", "4"], "a topology must go with --backend cuda, got --backend cpu"),
        (["--backend", "cuda", "--slots", "8"], "a topology must have --experts, --slots and --gpus, got not all of them"),
    ],
)
def test_what_cannot_be_warmed_is_refused(arguments, reason, monkeypatch, capsys):
    """What is missing for a GPU, or does not fit together, is told."""
    monkeypatch.setattr("eplb_numba.warm.why_not_cuda", lambda: "none")
    with pytest.raises(SystemExit) as stop:
        main(["warm", *arguments])
    assert stop.value.code == 2
    assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("variable", "options"),
    [
        ("NUMBA_ENABLE_CUDASIM", ["--backend", "cuda", "--capability", "9.0"]),
        ("NUMBA_DISABLE_JIT", ["--backend", "cuda", "--capability", "9.0"]),
        ("NUMBA_DISABLE_JIT", []),
    ],
)
def test_where_nothing_is_compiled_nothing_is_warmed(variable, options):
    """Where Numba simulates a GPU, or compiles nothing at all, it is told what must not be set, and nothing else happens."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"} | {variable: "1"}
    command = [sys.executable, "-m", "eplb_numba", "warm", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{variable} must not be set" in done.stderr
