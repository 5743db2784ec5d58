"""Does a replay score what it says, on a trace that a person can follow?"""

from collections import Counter

import numpy as np
import pytest

from eplb_numba import Topology, metrics, plan_experts, replay

TRACE = np.random.default_rng(0).lognormal(0, 1, (13, 2, 16)).astype(np.float32)
TOPOLOGY = Topology(16, 24, 1, 1, 4)


def fetched(before, after):
    """Count the replicas of a layer that a GPU holds now and did not hold before."""
    gpus = range(0, len(after), TOPOLOGY.slots_per_gpu)
    held, holds = ([Counter(layer[gpu : gpu + TOPOLOGY.slots_per_gpu].tolist()) for gpu in gpus] for layer in (before, after))
    return sum((now - then).total() for now, then in zip(holds, held, strict=True))


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("history", [1, 8])
def test_each_step_is_scored_with_the_plan_in_force(every, history):
    """The plan for the last steps is scored on the steps that follow, until the next plan; moves are what GPUs must fetch."""
    result = replay(TRACE, TOPOLOGY, "balanced", every=every, history=history)
    assert result.steps.tolist() == list(range(history, 13))
    assert result.planned.tolist() == list(range(history, 13, every))
    assert len(result.seconds) == len(result.planned)
    before = None
    for index, step in enumerate(result.planned):
        placement = plan_experts(TRACE[step - history : step], 24, 1, 1, 4).phy2log
        for later in range(step, min(step + every, 13)):
            expected = metrics.balancedness(TRACE[later], placement, 4)
            np.testing.assert_array_equal(result.balancedness[later - history], expected)
        moved = np.zeros(2) if before is None else [fetched(*layers) for layers in zip(before, placement, strict=True)]
        np.testing.assert_array_equal(result.moves[index], moved)
        before = placement


def test_progress_is_told():
    """The caller hears of each step."""
    heard = []
    replay(TRACE, TOPOLOGY, "deepseek", progress=lambda done, of: heard.append((done, of)))
    assert heard == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TRACE[0], TOPOLOGY), {}, "trace must have the axes"),
        ((TRACE[:8], TOPOLOGY), {}, "trace must have more steps than the history"),
        ((TRACE, Topology(8, 24, 1, 1, 4)), {}, "trace must have 8 experts like the topology, got 16"),
        ((TRACE, TOPOLOGY), {"history": 0}, "history must be at least 1, got 0"),
        ((-TRACE, TOPOLOGY), {}, "trace must not be negative"),
    ],
)
def test_mistakes(arguments, options, message):
    """What does not fit together is refused."""
    with pytest.raises(ValueError, match=message):
        replay(*arguments, **options)


def test_layers_without_load_are_told_apart():
    """Where nothing was routed the balancedness is 1 and says nothing."""
    trace = TRACE.copy()
    trace[9:11, 1] = 0
    result = replay(trace, TOPOLOGY, "deepseek")
    assert result.loaded.tolist() == [[True, True], [True, False], [True, False], [True, True], [True, True]]
    assert np.all(result.balancedness[~result.loaded] == 1)
