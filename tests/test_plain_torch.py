"""Are the plain torch versions that we compare with sound?"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from asv_bench import plain_torch
from eplb_numba import POLICIES, metrics, rebalance_experts

pytestmark = pytest.mark.usefixtures("one_torch_thread")

# (layers, experts), (num_replicas, num_groups, num_nodes, num_gpus)
HIERARCHICAL = (3, 32), (40, 8, 2, 8)
GLOBAL = (3, 32), (40, 1, 2, 8)
ONE_SLOT = (3, 12), (16, 1, 1, 16)
LARGE_PACKS = (2, 40), (40, 4, 2, 2)
EVERY = [HIERARCHICAL, GLOBAL, ONE_SLOT, LARGE_PACKS]

each_strategy = pytest.mark.parametrize("name", plain_torch.STRATEGIES)


def load(seed, shape):
    """Make a skewed load."""
    return np.random.default_rng(seed).lognormal(3, 1, shape).astype(np.float32)


def random_problem(seed):
    """Draw a topology of any kind, and a load."""
    generator = np.random.default_rng(seed)
    num_layers, num_nodes, gpus_per_node, slots_per_gpu = generator.integers(1, (5, 5, 9, 9))
    num_replicas = num_nodes * gpus_per_node * slots_per_gpu
    num_groups = 1
    if seed % 2:
        num_groups = num_nodes * generator.integers(1, 4)
    sizes = np.arange(num_groups, num_replicas + 1, num_groups)
    if len(sizes) == 0:
        return random_problem(seed + 1000)
    numbers = (num_replicas, num_groups, num_nodes, num_nodes * gpus_per_node)
    return load(seed, (num_layers, generator.choice(sizes))), tuple(map(int, numbers))


def assert_valid(weight, numbers, triple):
    """Check that a triple is a placement."""
    phy2log, log2phy, logcnt = (values.numpy() for values in triple)
    num_layers, num_logical = weight.shape
    num_replicas, num_groups, num_nodes, _ = numbers
    assert phy2log.shape == (num_layers, num_replicas)
    assert logcnt.shape == weight.shape
    assert log2phy.shape == (*weight.shape, logcnt.max())
    for layer in range(num_layers):
        np.testing.assert_array_equal(np.bincount(phy2log[layer], minlength=num_logical), logcnt[layer])
        assert logcnt[layer].min() >= 1
        for expert, slots in enumerate(log2phy[layer]):
            count = logcnt[layer, expert]
            assert sorted(slots[:count]) == list(np.flatnonzero(phy2log[layer] == expert))
            assert (slots[count:] == -1).all()
        if num_groups % num_nodes == 0:
            homes = phy2log[layer].reshape(num_nodes, -1) // (num_logical // num_groups)
            groups = [set(home) for home in homes.tolist()]
            assert {len(home) for home in groups} == {num_groups // num_nodes}
            assert len(set.union(*groups)) == num_groups


@pytest.mark.parametrize("seed", range(100))
def test_deepseek_is_our_deepseek(seed):
    """Plain torch's "deepseek" is the policy "deepseek", hierarchical and global."""
    weight, numbers = random_problem(seed)
    theirs = plain_torch.rebalance_experts(torch.from_numpy(weight), *numbers, "deepseek")
    for one, other in zip(theirs, rebalance_experts(weight, *numbers, policy="deepseek"), strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


@pytest.mark.parametrize("groups", [1, 8])
def test_deepseek_at_full_size(groups):
    """That holds at DeepSeek-V3's size."""
    weight = load(0, (58, 256))
    theirs = plain_torch.rebalance_experts(torch.from_numpy(weight), 288, groups, 4, 32, "deepseek")
    for one, other in zip(theirs, rebalance_experts(weight, 288, groups, 4, 32, policy="deepseek"), strict=True):
        np.testing.assert_array_equal(one.numpy(), other)


@each_strategy
@pytest.mark.parametrize("problem", EVERY)
def test_every_strategy_gives_a_placement(name, problem):
    """Each expert has a slot, counts and lists agree, groups stay inside nodes, and the weight stays as it is."""
    shape, numbers = problem
    weight = load(1, shape)
    weight[0] = 0  # an idle layer
    weight[1, 3:5] = weight[1, 3]  # a tie
    tensor = torch.from_numpy(weight.copy())
    assert_valid(weight, numbers, plain_torch.rebalance_experts(tensor, *numbers, name))
    np.testing.assert_array_equal(tensor.numpy(), weight)


@each_strategy
@pytest.mark.parametrize("groups", [1, 8])
def test_no_strategy_is_worse_than_deepseek(name, groups):
    """A strategy's balance is within 1 % of DeepSeek's in any layer, and in the mean it is what our policy reaches."""
    numbers = (80, groups, 2, 8)
    weight = load(2, (16, 64))
    theirs, _, _ = plain_torch.rebalance_experts(torch.from_numpy(weight), *numbers, name)
    ours, _, _ = rebalance_experts(weight, *numbers, policy=name)
    plain, _, _ = rebalance_experts(weight, *numbers, policy="deepseek")
    theirs, ours, plain = (
        metrics.balancedness(weight, np.asarray(placement), numbers[-1]) for placement in (theirs, ours, plain)
    )
    assert (theirs >= 0.99 * plain).all()
    assert abs(theirs.mean() - ours.mean()) < 2e-3


@each_strategy
def test_the_same_answer_again(name):
    """The noise is seeded: the same call gives the same placement."""
    shape, numbers = HIERARCHICAL
    weight = torch.from_numpy(load(3, shape))
    first, second = (plain_torch.rebalance_experts(weight, *numbers, name)[0] for _ in range(2))
    assert torch.equal(first, second)


@each_strategy
@pytest.mark.parametrize("problem", [HIERARCHICAL, GLOBAL])
def test_the_host_waits_only_where_the_file_says(name, problem, monkeypatch):
    """But for the looks between rounds and the width of log2phy nothing is read: tensors without values do as well."""
    shape, numbers = problem
    weight = torch.ones(shape, device="meta") * 2  # that loads what else would be loaded with the stand-in below
    monkeypatch.setattr(plain_torch, "CHECK_EVERY", 1000)
    monkeypatch.setattr(plain_torch, "list_slots", lambda phy2log, phyrank, num_logical: (phyrank, phyrank))
    monkeypatch.setattr(torch, "Generator", lambda device: SimpleNamespace(manual_seed=lambda seed: None))
    phy2log, phyrank, _ = plain_torch.rebalance_experts(weight, *numbers, name)
    assert phy2log.shape == phyrank.shape == (shape[0], numbers[0])


def test_the_strategies_are_the_policies():
    """Every named policy but our own has its plain torch version."""
    assert set(plain_torch.STRATEGIES) == set(POLICIES) - {"balanced"}


def test_other_strategies_can_be_made():
    """A strategy may be given itself instead of by name."""
    shape, numbers = GLOBAL
    weight = load(4, shape)
    many = plain_torch.STRATEGIES["optimize_and_2item_swap"]._replace(starts=16, restarts=1)
    assert_valid(weight, numbers, plain_torch.rebalance_experts(torch.from_numpy(weight), *numbers, many))
