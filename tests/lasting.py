"""What is a lasting plan?  Windows, scenarios, the objective and the swaps again, slowly and obviously, from description."""

from __future__ import annotations

import math

from .reference import add, disturb, mix


def root(number):
    """Take the square root in the number's own type."""
    return type(number)(math.sqrt(number))


def eighth(number):
    """Multiply four squares."""
    square = number * number
    return (square * square) * (square * square)


def eighth_root(number):
    """Take three roots."""
    return root(root(root(number)))


def scenarios_of(steps, num_gpus):
    """Scale each step with load to a mean GPU load of 1; merge the two most alike while there are more than 8, or twins.

    A step that has no more than a 64th of the mean step's load counts for nothing.
    """
    value = type(steps[0][0])
    whole = add([add([abs(load) for load in loads], value) for loads in zip(*steps, strict=True)], value)
    least = whole / value(len(steps)) / value(64)
    found = []
    for step in steps:
        total = add([abs(load) for load in step], value)
        if total > least:
            if len(found) == 32:
                found = merge(found)
            found.append(([abs(load) / total * value(num_gpus) for load in step], value(1)))
    while len(found) > 8 or (len(found) > 1 and closest(found)[0] == 0):
        found = merge(found)
    return found


def distance(one, other):
    """Give Ward's distance."""
    value = type(one[1])
    squares = add([(a - b) * (a - b) for a, b in zip(one[0], other[0], strict=True)], value)
    return squares * (one[1] * other[1] / (one[1] + other[1]))


def closest(found):
    """Give the least distance and the first pair that has it."""
    pairs = [(a, b) for a in range(len(found)) for b in range(a + 1, len(found))]
    # A pair is measured by the one that came, or changed, last; the order of the squares does not depend on it.
    return min((distance(found[b], found[a]), a, b) for a, b in pairs)


def merge(found):
    """Merge the closest pair into its first; the last takes the place of its second."""
    nearest, one, other = closest(found)
    (loads, size), (others, other_size) = found[one], found[other]
    whole = size + other_size
    if nearest > 0:
        loads = [(a * size + b * other_size) / whole for a, b in zip(loads, others, strict=True)]
    found = list(found)
    found[other] = found[-1]
    found[one] = (loads, whole)
    return found[:-1]


class Placed:
    """Slots filled with (expert, rank), and what that means in each scenario."""

    def __init__(self, slots, counts, num_gpus, scenarios):
        self.slots, self.counts, self.num_gpus, self.scenarios = list(slots), counts, num_gpus, scenarios
        self.value = type(scenarios[0][1])

    def share(self, expert, loads):
        """Give the load of a replica."""
        return loads[expert] / self.value(self.counts[expert])

    def gpu(self, gpu):
        """Give the slots of a GPU."""
        size = len(self.slots) // self.num_gpus
        return self.slots[gpu * size : (gpu + 1) * size]

    def powers(self, loads):
        """Give the eighth power of each GPU's load in a scenario."""
        sums = [add([self.share(expert, loads) for expert, _ in self.gpu(gpu)], self.value) for gpu in range(self.num_gpus)]
        return sums, [eighth(total) for total in sums]

    def norm(self):
        """Give the objective: the sum over all steps of the 8-norm of the GPUs' loads."""
        return add([eighth_root(add(self.powers(loads)[1], self.value)) * size for loads, size in self.scenarios], self.value)

    def allowed(self, copies):
        """Tell whether no GPU holds more replicas of an expert than it may."""
        held = [[expert for expert, _ in self.gpu(gpu)] for gpu in range(self.num_gpus)]
        return all(experts.count(expert) <= copies for experts in held for expert in experts)


def best_swap(placed, heavy, slopes, burdens, copies):
    """Give the first of the swaps that lower the heavy GPU's burden and its partner's most, or None."""
    size = len(placed.slots) // placed.num_gpus
    powers = [placed.powers(loads) for loads, _ in placed.scenarios]
    gain, best = placed.value(2.0**-13) * burdens[heavy], None
    for leaving in range(heavy * size, (heavy + 1) * size):
        for coming in range(len(placed.slots)):
            light = coming // size
            one, other = placed.slots[leaving], placed.slots[coming]
            if light == heavy or one[0] == other[0]:
                continue
            cost = placed.value(0)
            for (loads, _), (sums, _), slope in zip(placed.scenarios, powers, slopes, strict=True):
                goes, comes = placed.share(one[0], loads), placed.share(other[0], loads)
                cost = cost + (eighth(sums[heavy] - goes + comes) + eighth(sums[light] - comes + goes)) * slope
            better = burdens[heavy] + burdens[light] - cost
            if better > gain and exchange(placed, leaving, coming).allowed(copies):
                gain, best = better, (leaving, coming)
    return best


def exchange(placed, one, other):
    """Give the placement with the contents of two slots exchanged."""
    slots = list(placed.slots)
    slots[one], slots[other] = slots[other], slots[one]
    return Placed(slots, placed.counts, placed.num_gpus, placed.scenarios)


def refine(placed, rounds, copies):
    """Let the most burdened GPU swap as long as that helps; give the result and the number of searches.

    One that has no swap rests until it is part of another one's, or, if there were swaps since then, until all rest.
    """
    value, resting, is_stale = placed.value, set(), False
    for search in range(rounds):
        slopes, burdens = [], [value(0)] * placed.num_gpus
        for loads, size in placed.scenarios:
            _, powers = placed.powers(loads)
            total = add(powers, value)
            slopes.append(size * eighth_root(total) / total if total >= 2.0**-126 else value(0))
            burdens = [burden + power * slopes[-1] for burden, power in zip(burdens, powers, strict=True)]
        if len(resting) == placed.num_gpus:
            if not is_stale:
                return placed, search
            resting, is_stale = set(), False
        ready = [gpu for gpu in range(placed.num_gpus) if gpu not in resting]
        heavy = max(ready, key=lambda gpu: (burdens[gpu], -gpu))
        swap = best_swap(placed, heavy, slopes, burdens, copies)
        if swap is None:
            resting.add(heavy)
        else:
            placed, is_stale = exchange(placed, *swap), True
            resting -= {heavy, swap[1] * placed.num_gpus // len(placed.slots)}
    return placed, rounds


def replicate(scenarios, num_slots, most):
    """Give each expert a slot, and the others by mean and spread."""
    value = type(scenarios[0][1])
    whole = add([size for _, size in scenarios], value)
    means, scores = [], []
    for expert in range(len(scenarios[0][0])):
        mean = add([loads[expert] * size for loads, size in scenarios], value) / whole
        squares = add([(loads[expert] - mean) * (loads[expert] - mean) * size for loads, size in scenarios], value)
        means.append(mean)
        scores.append(mean + value(4) * root(squares / whole))
    counts = [1] * len(means)

    def claim(expert):
        count = value(counts[expert])
        if counts[expert] >= most and counts[expert] > 1:
            return value(-math.inf)
        if scores[expert] == 0:
            return -count
        if means[expert] / count > value(0.75):
            return scores[expert] / count + value(2.0**20) * (means[expert] / count)
        return scores[expert] / count

    for _ in range(num_slots - len(means)):
        chosen = max(range(len(means)), key=lambda expert: (claim(expert), -expert))
        counts[chosen] += 1
    return counts


def pack(scenarios, counts, num_gpus, slots_per_gpu, copies, keys):
    """Put each replica where the powers grow least; give the slots, or None if replicas cannot be kept apart."""
    value = type(scenarios[0][1])
    order = sorted(range(len(keys)), key=lambda expert: -keys[expert])
    order = [expert for expert in order if counts[expert] > 1] + [expert for expert in order if counts[expert] == 1]
    gpus = [[] for _ in range(num_gpus)]
    sums = [[value(0)] * num_gpus for _ in scenarios]
    for expert in order:
        for rank in range(counts[expert]):
            costs = []
            for gpu in range(num_gpus):
                cost = value(0)
                for (loads, size), totals in zip(scenarios, sums, strict=True):
                    share = loads[expert] / value(counts[expert])
                    cost = cost + (eighth(totals[gpu] + share) - eighth(totals[gpu])) * size
                held = [other for other, _ in gpus[gpu]].count(expert)
                if len(gpus[gpu]) < slots_per_gpu and held < copies:
                    costs.append((cost, gpu))
            if not costs:
                return None
            gpu = min(costs)[1]
            gpus[gpu].append((expert, rank))
            for (loads, _), totals in zip(scenarios, sums, strict=True):
                totals[gpu] = totals[gpu] + loads[expert] / value(counts[expert])
    return [slot for gpu in gpus for slot in gpu]


def outlast(slots, counts, num_gpus, scenarios, policy, rounds, stream):
    """Give the slots and the counts of a node's best placement over the scenarios; the given one is the first."""
    num_experts, slots_per_gpu = len(counts), len(slots) // num_gpus
    copies = -(-slots_per_gpu // num_experts)
    best = Placed(slots, counts, num_gpus, scenarios)
    most = min(len(slots), num_gpus * copies, policy.max_replicas or len(slots))
    counts = replicate(scenarios, len(slots), most)
    worsts = [max(loads[expert] for loads, _ in scenarios) for expert in range(num_experts)]
    keys = [worst / best.value(count) for worst, count in zip(worsts, counts, strict=True)]
    for start in range(policy.lasting_starts):
        if start > 0 and rounds == 0:
            break
        disturbed = disturb(keys, mix(stream, start), (0.5, 1.0)) if start > 0 else keys
        packed = pack(scenarios, counts, num_gpus, slots_per_gpu, copies, disturbed)
        if packed is not None:
            placed = Placed(packed, counts, num_gpus, scenarios)
            placed, searches = refine(placed, min(rounds, 3 * num_gpus), copies)
            rounds -= searches
            if placed.norm() < best.norm():
                best = placed
    return best.slots, best.counts
