"""Do the README's examples run, those for serving frameworks in stand-ins for these?"""

import enum
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from eplb_numba import metrics, rebalance_experts

README = (Path(__file__).parent.parent / "README.md").read_text()
LOADS = np.random.default_rng(0).integers(0, 1000, (3, 4, 32))  # steps, layers, experts


def example(with_word):
    """Run the README's only example that has a word in it, and give its names."""
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if with_word in code]
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


def stand_in(monkeypatch, name, **names):
    """Put a module where a framework's would be."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:length]), ModuleType(".".join(parts[:length])))
    module = ModuleType(name)
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, name, module)


def test_use_it():
    """The first example gives plans of the size that it asks for."""
    names = example("DeepSeek's call")
    assert names["phy2log"].shape == (58, 288)
    assert (names["plan"].phy2log == names["phy2log"]).all()


class OwnPolicy:
    """The policy of vLLM's own that the example builds on, where it orders the slots of a GPU as before."""

    @classmethod
    def preserve_intragpu_slots(cls, phy2log, num_ranks, old_phy2log):
        assert isinstance(phy2log, np.ndarray)
        assert isinstance(old_phy2log, np.ndarray)
        assert phy2log.shape == old_phy2log.shape
        assert num_ranks == 8
        return phy2log[:, ::-1].copy()


@pytest.mark.parametrize("num_groups", [0, 1, 8])
def test_in_vllm(monkeypatch, num_groups):
    """What vLLM calls with six arguments gives the map alone, a CPU tensor; what is asked of its own policy is, too."""
    policies = {"default": OwnPolicy}
    stand_in(monkeypatch, "vllm.distributed.eplb.policy", EPLB_POLICIES=policies, DefaultEplbPolicy=OwnPolicy)
    example("register_in_vllm")["register_in_vllm"]()
    weight = torch.from_numpy(LOADS.sum(axis=0))
    expected, _, _ = rebalance_experts(weight.numpy(), 40, num_groups, 4, 8)
    first = policies["default"].rebalance_experts(weight, 40, num_groups, 4, 8)
    assert first.dtype == torch.int64
    assert (first.numpy() == expected).all()
    second = policies["default"].rebalance_experts(weight, 40, num_groups, 4, 8, first)
    assert (second.numpy() == expected[:, ::-1]).all()
    assert policies["default"].rebalance_experts(weight[:0], 40, num_groups, 4, 8, first[:0]).shape == (0, 40)


class Algorithm(enum.Enum):
    """The names of SGLang's."""

    deepseek = enum.auto()
    deepseek_hierarchical = enum.auto()
    elasticity_aware = enum.auto()


def test_in_sglang(monkeypatch):
    """What SGLang calls by keyword sees the steps, and keeps groups within nodes only where that is asked for."""
    hooks = {}

    class HookRegistry:
        @staticmethod
        def register(target, hook, kind):
            hooks[target] = hook, kind

    kinds = enum.Enum("HookType", ["AROUND", "REPLACE"])
    stand_in(monkeypatch, "sglang.srt.plugins.hook_registry", HookRegistry=HookRegistry, HookType=kinds)
    example("register_in_sglang")["register_in_sglang"]()
    (hook, kind) = hooks["sglang.srt.eplb.eplb_algorithms.rebalance_experts"]
    assert kind is kinds.AROUND

    def call(**others):
        arguments = {"tokens_per_expert": torch.from_numpy(LOADS.astype(np.int32)), "num_physical_experts": 40}
        arguments |= {"num_local_physical_experts": 5, "num_groups": 8, "num_nodes": 4} | others
        return hook(lambda **arguments: ("SGLang's own", arguments), **arguments)

    found = call(algorithm=Algorithm.deepseek_hierarchical)
    for array, expected in zip(found, rebalance_experts(LOADS, 40, 8, 4, 8), strict=True):
        assert (array.numpy() == expected).all()
    placement, _, _ = call(algorithm=Algorithm.deepseek)
    assert (placement.numpy() == rebalance_experts(LOADS, 40, 1, 1, 8)[0]).all()
    with pytest.raises(ValueError, match="must keep each expert on one of the 4 nodes"):
        metrics.bound(LOADS, placement.numpy(), 8, 4)
    placement, _, _ = call(algorithm=Algorithm.deepseek, num_groups=None)
    assert placement.shape == (4, 40)
    own, arguments = call(algorithm=Algorithm.elasticity_aware)
    assert own == "SGLang's own"
    assert set(arguments) == {
        *("tokens_per_expert", "num_physical_experts", "num_local_physical_experts"),
        *("num_groups", "num_nodes", "algorithm"),
    }
