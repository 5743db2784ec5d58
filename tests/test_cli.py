"""Does the command line do what the README says?"""

import re
import runpy
import sys

import pytest

from eplb_numba import POLICIES, __version__
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
    """A mistake on the command line is explained in one line, and the exit status is 2."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_python_m_runs_the_command(capsys, monkeypatch):
    """Python -m eplb_numba is the same command."""
    monkeypatch.setattr(sys, "argv", ["eplb-numba", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("eplb_numba", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == __version__
