"""What is the right answer?  The whole planner again, slowly and obviously, from its description.

Lists, loops and ``min``; no tournaments, no sorted searches, no shortcuts.  Scalars are NumPy's, so that each sum rounds in
the type of the weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eplb_numba import Policy


def mix(state: int, number: int) -> int:
    """Stir a number into a 32-bit state."""
    word = 2**32
    state = ((state ^ (number % word)) + 0x9E3779B9) % word
    state = ((state ^ (state >> 16)) * 0x7FEB352D) % word
    state = ((state ^ (state >> 15)) * 0x846CA68B) % word
    return state ^ (state >> 16)


def disturb(loads, stream, noise):
    """Multiply each load by a whole number of 4096ths from the range of the noise."""
    low, high = (round(4096 * end) for end in noise)
    value = type(loads[0])
    return [load * (value(low + mix(stream, item) * (high - low) // 2**32) / value(4096)) for item, load in enumerate(loads)]


def add(loads, value):
    """Add up in the given order."""
    total = value(0)
    for load in loads:
        total = total + load
    return total


def add_by_eighths(loads, value):
    """Add up every eighth load, from each of the first eight on, and those sums in pairs."""
    one, two, three, four, five, six, seven, eight = (add(loads[first::8], value) for first in range(8))
    return ((one + five) + (three + seven)) + ((two + six) + (four + eight))


def replicate(loads, num_slots, most, evenly=False):
    """Give every further slot to the largest load per replica; the first of equals gets it, or of idle ones the rarest."""
    value = type(loads[0])
    counts = [1] * len(loads)
    slots = [(expert, 0) for expert in range(len(loads))]
    while len(slots) < num_slots:
        open_experts = [expert for expert in range(len(loads)) if counts[expert] < most]
        shares = [loads[expert] / value(counts[expert]) for expert in range(len(loads))]
        expert = max(
            open_experts, key=lambda expert: (shares[expert], -counts[expert] * (evenly and shares[expert] == 0), -expert)
        )
        slots.append((expert, counts[expert]))
        counts[expert] += 1
    return slots, counts


@dataclass
class Problem:
    """Items to pack: their loads, whose replicas they are, and how many of one expert a pack may hold (0: any number)."""

    loads: list
    experts: list
    num_packs: int
    copies: int
    bound: object

    @property
    def slots(self):
        return len(self.loads) // self.num_packs

    def sum(self, pack):
        return add([self.loads[item] for item in pack], type(self.loads[0]))

    def may_hold(self, pack):
        held = [self.experts[item] for item in pack]
        return self.copies == 0 or all(held.count(expert) <= self.copies for expert in held)


def pack_greedily(problem, order):
    """Heaviest first onto the lightest pack that has room and may take it."""
    packs = [[] for _ in range(problem.num_packs)]
    for item in order:
        with_room = [pack for pack in packs if len(pack) < problem.slots]
        allowed = [pack for pack in with_room if problem.may_hold([*pack, item])]
        if not allowed:
            lightest = min(with_room, key=problem.sum)
            item = make_way(problem, packs, item, lightest)
            allowed = [lightest]
        min(allowed, key=problem.sum).append(item)
    return packs


def make_way(problem, packs, item, target):
    """Exchange the item for the one nearest in load that may go to the target, in a pack that may take the item."""
    choices = []
    for pack_index, pack in enumerate(packs):
        if not problem.may_hold([*pack, item]):
            continue
        for place, displaced in enumerate(pack):
            if problem.may_hold([*target, displaced]):
                choices.append((abs(problem.loads[displaced] - problem.loads[item]), pack_index, place))
    _, pack_index, place = min(choices)
    displaced, packs[pack_index][place] = packs[pack_index][place], item
    return displaced


def swaps_of(problem, packs, heavy, light, how_many):
    """List what may be swapped between two packs, with the gain of each, in the order in which ties are settled."""
    gap = problem.sum(packs[heavy]) - problem.sum(packs[light])
    choices = []
    if how_many == 1:
        leaving = [(place,) for place in range(problem.slots)]
    else:
        leaving = [(one, two) for one in range(problem.slots) for two in range(one + 1, problem.slots)]
    for out in leaving:
        for back in leaving:
            going = [problem.loads[packs[heavy][place]] for place in out]
            coming = [problem.loads[packs[light][place]] for place in back]
            delta = add(going[1:], type(gap)) + going[0] - (add(coming[1:], type(gap)) + coming[0])
            gain = min(delta, gap - delta)
            if gain > 0:
                choices.append((gain, *exchange(packs[heavy], packs[light], out, back)))
    if how_many == 2:  # only the best, allowed or not
        most = max((gain for gain, *_ in choices), default=0)
        choices = [choice for choice in choices if choice[0] == most]
    return [choice for choice in choices if problem.may_hold(choice[1]) and problem.may_hold(choice[2])]


def exchange(heavy, light, out, back):
    """Swap the items in the given places."""
    heavy, light = list(heavy), list(light)
    for one, other in zip(out, back, strict=True):
        heavy[one], light[other] = light[other], heavy[one]
    return heavy, light


def best_of(choices, least):
    """Give the first of the choices with the largest gain, if that is more than the least."""
    best = None
    for choice in choices:
        if choice[0] > least and (best is None or choice[0] > best[0]):
            best = choice
    return best


def find_single(problem, packs, ranking, policy, most, least):
    """Find the single swap that the policy allows, for one of the most heavily loaded packs."""
    for rank, heavy in enumerate(ranking[: min(most, len(ranking) - 1)]):
        lighter = ranking[:rank:-1]
        if policy.partners == "lightest":
            lighter = lighter[:1]
        best = None
        for light in lighter:
            found = best_of(swaps_of(problem, packs, heavy, light, 1), least)
            if found is not None and (best is None or found[0] > best[0]):
                best = (*found, heavy, light)
                if policy.partners == "first":
                    break
        if best is not None:
            return best
    return None


def find_double(problem, packs, ranking, policy, least):
    """Find the swap of two for two that the policy allows."""
    best = None
    for light in ranking[:0:-1] if policy.pair_partners != "lightest" else ranking[-1:]:
        found = best_of(swaps_of(problem, packs, ranking[0], light, 2), least)
        if found is not None and (best is None or found[0] > best[0]):
            best = (*found, ranking[0], light)
            if policy.pair_partners == "first":
                break
    return best


def refine(problem, packs, policy):
    """Swap until the heaviest pack is near enough to the bound, or nothing is left to swap."""
    value = type(problem.bound)
    packs = [sorted(pack, key=lambda item: -problem.loads[item]) for pack in packs]
    target = problem.bound * value(1 + policy.tolerance)
    least = problem.bound * value(policy.least_gain)
    singles = policy.swaps
    doubles = policy.pair_swaps if problem.slots <= policy.pair_slots else 0
    rounds = max(singles, doubles) if policy.pairs == "together" else singles + doubles
    for _ in range(rounds):
        ranking = sorted(range(len(packs)), key=lambda pack: -problem.sum(packs[pack]))
        before = problem.sum(packs[ranking[0]])
        if before <= target:
            break
        double = None
        if doubles > 0 and policy.pairs == "together":
            double = find_double(problem, packs, ranking, policy, least)
        swap = None
        if singles > 0:
            most = policy.heaviest if double is None else 1
            enough = least if double is None else np.nextafter(double[0], value(0))  # to gain as much is enough
            swap = find_single(problem, packs, ranking, policy, most, enough)
        if doubles > 0 and swap is None and policy.pairs != "together":
            double = find_double(problem, packs, ranking, policy, least)
        if swap is not None:
            singles -= 1
        elif double is not None:
            swap = double
            doubles -= 1
            if policy.pairs == "after":
                singles = 0
        else:
            break
        _, new_heavy, new_light, heavy, light = swap
        new_heavy.sort(key=lambda item: -problem.loads[item])
        new_light.sort(key=lambda item: -problem.loads[item])
        if max(problem.sum(new_heavy), problem.sum(new_light)) >= problem.sum(packs[heavy]):
            break
        packs[heavy], packs[light] = new_heavy, new_light
    return packs


def floor(problem, order):
    """Give what no packing of these items can go below."""
    loads = [problem.loads[item] for item in order]
    value = loads[0]
    for load in loads[len(loads) - problem.slots + 1 :]:
        value = value + load
    if problem.slots == 2:
        value = max(value, *(loads[place] + loads[-1 - place] for place in range(problem.num_packs)))
    return value


def pack(problem, policy, stream, disturbed):
    """Keep the first start that is near enough to the bound, else the best."""
    if problem.slots == 1:
        return [[item] for item in range(problem.num_packs)]
    kept, first = None, None
    for start in range(policy.starts):
        keys = problem.loads
        if disturbed or start > 0:
            keys = disturb(problem.loads, mix(stream, start), policy.noise)
        order = sorted(range(len(keys)), key=lambda item: -keys[item])
        packs = pack_greedily(problem, order)
        if start == 0 and not disturbed:
            problem = replace(problem, bound=max(problem.bound, floor(problem, order)))
        if policy.swaps + policy.pair_swaps > 0:
            packs = refine(problem, packs, policy)
        sums = [problem.sum(pack) for pack in packs]
        largest, spread = max(sums), max(sums) - min(sums)
        near = largest <= problem.bound * type(problem.bound)(1 + policy.tolerance)
        if start == 0:
            first, wins = largest, True
        elif policy.winner == "spread":
            wins = near or (spread < kept[1] and largest <= first)
        else:
            wins = largest < kept[0]
        if wins:
            kept = (largest, spread, packs)
        if near:
            break
    return kept[2]


def plan_node(loads, num_slots, num_gpus, policy, stream, disturbed):
    """Replicate and pack one node's experts; give its slots as (expert, rank), its counts, GPU loads and bound."""
    value = type(loads[0])
    slots_per_gpu = num_slots // num_gpus
    anything = policy.max_replicas or num_slots

    def attempt(copies, packer):
        most = min(anything, num_gpus * copies) if copies else anything
        replicas, counts = replicate(loads, num_slots, most, policy.apart != "freely")
        shares = [loads[expert] / value(counts[expert]) for expert, _ in replicas]
        experts = [expert for expert, _ in replicas]
        bound = max(add_by_eighths(loads, value) / value(num_gpus), max(shares))
        problem = Problem(shares, experts, num_gpus, copies, attempt.bound or bound)
        attempt.bound = problem.bound
        packs = packer(problem)
        slots = [replicas[item] for pack in packs for item in pack]
        return slots, counts, [problem.sum(pack) for pack in packs], problem.bound

    attempt.bound = None
    copies = 0 if policy.apart == "freely" else -(-slots_per_gpu // len(loads))
    result = attempt(copies, lambda problem: pack(problem, policy, stream, disturbed))
    limit = value(1 + policy.tolerance)
    if policy.apart == "where_cheap" and slots_per_gpu > 1 and max(result[2]) > result[3] * limit:
        plain = Policy()
        free = attempt(0, lambda problem: pack(problem, plain, stream, False))
        if max(result[2]) > max(free[2]) * limit:
            result = attempt(0, lambda problem: pack(problem, policy, stream, disturbed))
    return result


def plan_layer(loads, num_replicas, num_groups, num_nodes, num_gpus, policy, layer_stream):
    """Plan one layer; give phy2log, the rank in each slot, the counts and the GPU loads."""
    value = type(loads[0])
    if (num_groups or 1) % num_nodes:
        num_groups = num_nodes = 1
    num_groups = num_groups or 1
    group_size = len(loads) // num_groups
    group_loads = [add(loads[group * group_size : (group + 1) * group_size], value) for group in range(num_groups)]
    group_bound = max(add_by_eighths(group_loads, value) / value(num_nodes), max(group_loads))
    best, seen = None, None
    tries = list(range(policy.restarts))
    if policy.groups == "either" and num_groups > num_nodes:
        tries.insert(0, "plain")
    for restart in tries:
        stream = mix(layer_stream, 0 if restart == "plain" else restart)
        disturbed = restart not in ("plain", 0)
        groups = Problem(group_loads, list(range(num_groups)), num_nodes, 0, group_bound)
        nodes = pack(groups, Policy() if restart == "plain" else policy, mix(stream, 0), disturbed)
        if restart == 0 and nodes == seen:
            continue
        seen = nodes
        slots, counts, gpu_loads, bounds = [], [0] * len(loads), [], []
        for node, node_groups in enumerate(nodes):
            members = [group * group_size + index for group in node_groups for index in range(group_size)]
            planned = plan_node(
                [loads[expert] for expert in members],
                num_replicas // num_nodes,
                num_gpus // num_nodes,
                policy,
                mix(stream, node + 1),
                disturbed,
            )
            slots += [(members[expert], rank) for expert, rank in planned[0]]
            for expert, count in zip(members, planned[1], strict=True):
                counts[expert] = count
            gpu_loads += planned[2]
            bounds.append(planned[3])
        if best is None or max(gpu_loads) < max(best[2]):
            best = (slots, counts, gpu_loads, min(max(bounds), max(gpu_loads)))
        enough = max(bounds) if num_groups == num_nodes else add_by_eighths(group_loads, value) / value(num_gpus)
        if max(gpu_loads) <= enough * value(1 + policy.tolerance):
            break
    return best


def plan(weight, num_replicas, num_groups, num_nodes, num_gpus, policy, seed=0):
    """Plan all layers of a float32 or float64 weight; give phy2log, log2phy, logcnt, GPU loads and bounds."""
    seed_stream = mix(mix(0, seed % 2**32), seed >> 32)
    layers = [
        plan_layer([abs(load) for load in row], num_replicas, num_groups, num_nodes, num_gpus, policy, mix(seed_stream, layer))
        for layer, row in enumerate(weight)
    ]
    phy2log = np.array([[expert for expert, _ in slots] for slots, *_ in layers])
    logcnt = np.array([counts for _, counts, *_ in layers])
    log2phy = np.full((*weight.shape, logcnt.max()), -1)
    for layer, (slots, *_) in enumerate(layers):
        for slot, (expert, rank) in enumerate(slots):
            log2phy[layer, expert, rank] = slot
    gpu_loads = np.array([loads for _, _, loads, _ in layers], weight.dtype)
    bounds = np.array([bound for *_, bound in layers], weight.dtype)
    return phy2log, log2phy, logcnt, gpu_loads, bounds
