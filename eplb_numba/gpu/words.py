"""What do the words of the rules mean on a GPU?  There a problem is one block, and a lane is a thread of it.

Importing this gives them that meaning.  The simulator needs none of it: it runs the rules as plain Python, where the words ask
the running thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import libdevice, types
from numba.cuda.extending import intrinsic, overload, register_jitable

from ..rules import bracket, refine, scratch, sort, sums, words
from ..rules.scratch import cut_stage, cut_tools
from ..rules.sort import COUNTERS
from ..rules.sums import every_eighth, largest_of, smallest_of
from ..rules.terms import Bench, Layout
from ..rules.words import barrier, best_lane, lane, lanes, strip
from .block import WARP, WARPS
from .strips import rest

__all__: list[str] = []

ALL = 0xFFFFFFFF  # lanes of a warp
FEW = 256  # so few that counting in one go beats counting digits
DIGIT_BITS = 4
DIGITS = 2**DIGIT_BITS
NONE = np.int32(2**31 - 1)  # no lane's choice
SIGN, WIDE_SIGN = np.uint32(2**31), np.uint64(2**63)
jit = register_jitable


def _lane() -> Any:
    return lambda: cuda.threadIdx.x


def _lanes() -> Any:
    return lambda: _lanes_here()


@intrinsic
def _lanes_here(context):  # type: ignore[no-untyped-def]
    """Ask for the number of lanes anew each time: what the compiler takes for constant it writes every loop twice for."""
    return types.int32(), _assembly("mov.u32 $0, %ntid.x;", ir.IntType(32), [])


def _barrier() -> Any:
    return lambda: _meet()


@intrinsic
def _meet(context):  # type: ignore[no-untyped-def]
    """Wait for the lanes of the warp alone where it is the whole block: that costs a fraction."""
    code = (
        "{ .reg .pred several; .reg .u32 size; mov.u32 size, %ntid.x; setp.gt.u32 several, size, 32; "
        "@several bar.sync 0; @!several bar.warp.sync 0xffffffff; }"
    )
    return types.none(), _assembly(code, ir.VoidType(), [])


def _assembly(code: str, result: Any, operands: list[Any]) -> Any:
    """Give what writes an instruction that no lane may skip and no compiler may move."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        registers = ["=r"] * (not isinstance(result, ir.VoidType)) + ["r"] * len(operands) + ["~{memory}"]
        lines = ir.InlineAsm(ir.FunctionType(result, operands), code, ",".join(registers), side_effect=True)
        given = builder.call(lines, arguments, attrs=("convergent",))
        return context.get_dummy_value() if isinstance(result, ir.VoidType) else given

    return make


def _reduction(instruction: str, of: str) -> Any:
    """Give an intrinsic that reduces a number over the lanes of a warp in one instruction, which came with capability 8.0."""
    kind = getattr(types, of)

    @intrinsic
    def reduce(context, number):  # type: ignore[no-untyped-def]
        word = ir.IntType(32)
        return kind(kind), _assembly(f"redux.sync.{instruction} $0, $1, 0xffffffff;", word, [word])

    return reduce


_largest = _reduction("max.u32", "uint32")
_lowest = _reduction("min.s32", "int32")


@intrinsic
def _bits(context, number):  # type: ignore[no-untyped-def]
    """Give the bits of a float."""
    kind = types.uint32 if number == types.float32 else types.uint64

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(kind))

    return kind(number), make


@intrinsic
def _bits_in(context, number):  # type: ignore[no-untyped-def]
    """Give the number of bits that a number has."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(zeros.type, number.bitwidth), zeros)

    return types.int64(number), make


@intrinsic
def _float(context, bits):  # type: ignore[no-untyped-def]
    """Give the float of some bits."""
    kind = types.float32 if bits == types.uint32 else types.float64

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(kind))

    return kind(bits), make


@intrinsic
def _unknown_zero(typingctx):  # type: ignore[no-untyped-def]
    """Have the GPU itself make a zero, so that the compiler cannot reckon with it."""

    def make(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.call(ir.InlineAsm(ir.FunctionType(ir.IntType(64), []), "mov.b64 $0, 0;", "=l", side_effect=True), [])

    return types.int64(), make


@jit
def _anew(bench):  # type: ignore[no-untyped-def]
    """Give the same bench, so that the compiler cannot know it: else it keeps every place and size in a register, always."""
    values, integers, layout, of_groups = bench
    zero = _unknown_zero()
    layout = Layout(
        layout.num_logical + zero,
        layout.num_replicas + zero,
        layout.num_groups + zero,
        layout.num_nodes + zero,
        layout.num_gpus + zero,
        layout.group_experts + zero,
        layout.node_groups + zero,
        layout.node_experts + zero,
        layout.node_slots + zero,
        layout.node_gpus + zero,
        layout.gpu_slots + zero,
        layout.leaves + zero,
    )
    return Bench(rest(values, zero), rest(integers, zero), layout, of_groups)


def _recall(tools):  # type: ignore[no-untyped-def]
    return lambda tools: cut_tools(_anew(tools.bench))


def _recall_stage(stage):  # type: ignore[no-untyped-def]
    return lambda stage: cut_stage(_anew(stage.bench))


def _times(left, right):  # type: ignore[no-untyped-def]  # numba compares the two signatures
    # Compiled to mul.rn, which is never fused with a sum that follows, as a plain product is.
    if left == types.float32:
        return lambda left, right: libdevice.fmul_rn(left, right)
    return lambda left, right: libdevice.dmul_rn(left, right)


def _root(number):  # type: ignore[no-untyped-def]
    if number == types.float32:
        return lambda number: libdevice.fsqrt_rn(number)
    return lambda number: libdevice.dsqrt_rn(number)


@jit
def _rank_of(gain):  # type: ignore[no-untyped-def]
    """Give a number that sorts like a float of 32 bits; 0 is added because the zero below zero is no less than the other."""
    bits = _bits(gain + np.float32(0))
    if bits & SIGN:
        return np.uint32(~bits)
    return np.uint32(bits | SIGN)


@jit
def _unrank(rank):  # type: ignore[no-untyped-def]
    """Give the float that a rank stands for."""
    if rank & SIGN:
        return _float(np.uint32(rank ^ SIGN))
    return _float(np.uint32(~rank))


@jit
def _rank_wide(gain):  # type: ignore[no-untyped-def]
    """Do the same for a float of 64 bits."""
    bits = _bits(gain + np.float64(0))
    if bits & WIDE_SIGN:
        return ~bits
    return bits | WIDE_SIGN


@jit
def _unrank_wide(rank):  # type: ignore[no-untyped-def]
    if rank & WIDE_SIGN:
        return _float(rank ^ WIDE_SIGN)
    return _float(~rank)


@jit
def _largest_wide(rank):  # type: ignore[no-untyped-def]
    """Give the largest rank of the lanes of a warp: its upper half first."""
    upper = np.uint32(rank >> np.uint64(32))
    best = _largest(upper)
    lower = _largest(np.uint32(rank) if upper == best else np.uint32(0))
    return (np.uint64(best) << np.uint64(32)) | np.uint64(lower)


def _best_lane(gain, choice):  # type: ignore[no-untyped-def]
    narrow = gain == types.float32
    rank_of, unrank, largest = (_rank_of, _unrank, _largest) if narrow else (_rank_wide, _unrank_wide, _largest_wide)
    ranks_type = types.uint32 if narrow else types.uint64

    def best_lane(gain, choice):  # type: ignore[no-untyped-def]
        """Let the lanes of a warp agree, then the warps where there are several."""
        rank = rank_of(gain)
        best = largest(rank)
        chosen = _lowest(np.int32(choice) if rank == best else NONE)
        if lanes() > WARP:
            # Of a size that the launch tells: Numba links one of a fixed size twice where two rules reduce, and that fails.
            ranks = strip(cuda.shared.array(0, ranks_type))
            choices = strip(cuda.shared.array(0, types.int32))
            if lane() & (WARP - 1) == 0:
                ranks[lane() // WARP] = best
                choices[2 * WARPS + lane() // WARP] = chosen
            barrier()
            warp = lane() & (lanes() // WARP - 1)
            rank = ranks[warp]
            choice = choices[2 * WARPS + warp]
            best = largest(rank)
            chosen = _lowest(choice if rank == best else NONE)
        barrier()
        return unrank(best), np.int64(chosen)

    return best_lane


def _open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
    def open_bracket(bracket, size, players):  # type: ignore[no-untyped-def]
        """Let each lane know the lowest of its own players; where each has one at most, there is nothing to know."""
        values, winners = bracket.values, bracket.winners
        for player in range(players + lane(), size, lanes()):
            values[size + player] = np.inf
        barrier()
        if size > lanes():
            lowest, winner = values[size + lane()], lane()
            for player in range(lane() + lanes(), size, lanes()):
                if values[size + player] < lowest:
                    lowest, winner = values[size + player], player
            values[lane()], winners[lane()] = lowest, winner
        barrier()

    return open_bracket


def _champion(bracket, size):  # type: ignore[no-untyped-def]
    def champion(bracket, size):  # type: ignore[no-untyped-def]
        player = np.int32(lane())
        lowest = bracket.values.dtype.type(np.inf)
        if size > lanes():
            lowest, player = bracket.values[lane()], np.int32(bracket.winners[lane()])
        elif lane() < size:
            lowest = bracket.values[size + lane()]
        lowest, winner = best_lane(-lowest, player)
        return -lowest, winner

    return champion


def _replay(bracket, size, player, value):  # type: ignore[no-untyped-def]
    def replay(bracket, size, player, value):  # type: ignore[no-untyped-def]
        """Find the lowest of those who share a lane with the player: all lanes help with that."""
        values, winners = bracket.values, bracket.winners
        owner = player & (lanes() - 1)  # a block has 32, 64 or 128 lanes
        if lane() == owner:
            values[size + player] = value
        barrier()
        if size > lanes():
            lowest, winner = values.dtype.type(np.inf), np.int64(owner)
            for rival in range(owner + lane() * lanes(), size, lanes() * lanes()):
                if values[size + rival] < lowest:
                    lowest, winner = values[size + rival], rival
            lowest, winner = best_lane(-lowest, winner)
            if lane() == owner:
                values[lane()], winners[lane()] = -lowest, winner
            barrier()

    return replay


def _sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
    def sort_descending(keys, order, spare):  # type: ignore[no-untyped-def]
        """Count how many stand before each item or, where that takes too long, place by one digit after the other.

        By digits, each lane of a warp takes a run of items, and other warps only wait.  Bits of floats that are not negative
        sort like their values; only those that differ count.
        """
        count = len(keys)
        if count <= FEW:
            _count_and_place(keys, order)
            return
        for item in range(lane(), count, lanes()):
            order[item] = item
        high = _bits(largest_of(keys))
        width = _bits_in(np.uint64(high - _bits(smallest_of(keys))))
        counters, source, target = spare[:COUNTERS], order, spare[COUNTERS : COUNTERS + count]
        run = (count + WARP - 1) // WARP
        first = min(lane() * run, count)
        last = min(first + run, count) if lane() < WARP else first
        for shift in range(0, width, DIGIT_BITS):
            if lane() < WARP:
                for digit in range(DIGITS):
                    counters[_counter(digit, lane())] = 0
            for place in range(first, last):
                counters[_counter(_digit(high, keys[source[place]], shift), lane())] += 1
            barrier()
            if lane() < WARP:
                _add_up_counters(counters)
            barrier()
            for place in range(first, last):
                item = source[place]
                counter = _counter(_digit(high, keys[item], shift), lane())
                target[counters[counter]] = item
                counters[counter] += 1
            barrier()
            source, target = target, source
        if ((width + DIGIT_BITS - 1) // DIGIT_BITS) & 1:
            for place in range(lane(), count, lanes()):
                target[place] = source[place]
        barrier()

    return sort_descending


@jit
def _digit(high, key, shift):  # type: ignore[no-untyped-def]
    """Give a digit of how far a key is below the highest."""
    return np.int64((np.uint64(high - _bits(key)) >> np.uint64(shift)) & np.uint64(DIGITS - 1))


@jit
def _counter(digit, lane):  # type: ignore[no-untyped-def]
    """Say where a lane counts a digit; the gaps keep lanes that add up whole rows out of each other's memory banks."""
    index = digit * WARP + lane
    return index + (index >> DIGIT_BITS)


@jit
def _add_up_counters(counters):  # type: ignore[no-untyped-def]
    """Replace each counter by the sum of those before it."""
    first = lane() << DIGIT_BITS
    own = np.int32(0)
    for index in range(first, first + DIGITS):
        own += counters[index + (index >> DIGIT_BITS)]
    sum_of_all = np.int32(own)
    distance = 1
    while distance < WARP:
        before = cuda.shfl_up_sync(ALL, sum_of_all, distance)
        if lane() >= distance:
            sum_of_all = np.int32(sum_of_all + before)
        distance *= 2
    running = sum_of_all - own
    for index in range(first, first + DIGITS):
        place = index + (index >> DIGIT_BITS)
        counted = counters[place]
        counters[place] = running
        running += counted


@jit
def _count_and_place(keys, order):  # type: ignore[no-untyped-def]
    """Let each lane count how many keys stand before its own, four at a time: stable by itself."""
    last = len(keys) - 1
    for item in range(lane(), len(keys), lanes()):
        key = keys[item]
        place = 0
        for first in range(0, len(keys), 4):
            # Beyond the end the last key stands again and again; it must not be counted twice.
            second, third, fourth = min(first + 1, last), min(first + 2, last), min(first + 3, last)
            one, two, three, four = keys[first], keys[second], keys[third], keys[fourth]
            place += _stands_before(one, first, key, item)
            place += _stands_before(two, second, key, item) & (second > first)
            place += _stands_before(three, third, key, item) & (third > second)
            place += _stands_before(four, fourth, key, item) & (fourth > third)
        order[place] = item
    barrier()


@jit
def _stands_before(rival_key, rival, key, item):  # type: ignore[no-untyped-def]
    return (rival_key > key) | ((rival_key == key) & (rival < item))


def _rank(loads, ranking):  # type: ignore[no-untyped-def]
    return lambda loads, ranking: _count_and_place(loads, ranking)


def _total_of(loads):  # type: ignore[no-untyped-def]
    def total_of(loads):  # type: ignore[no-untyped-def]
        """Let each lane take one of the eight sums, and add them in the pairs that the rule names."""
        total = every_eighth(loads, lane() & 7)
        total += cuda.shfl_xor_sync(ALL, total, 4)
        total += cuda.shfl_xor_sync(ALL, total, 2)
        return total + cuda.shfl_xor_sync(ALL, total, 1)

    return total_of


overload(words.lane, target="cuda")(_lane)
overload(words.lanes, target="cuda")(_lanes)
overload(words.barrier, target="cuda")(_barrier)
overload(words.best_lane, target="cuda")(_best_lane)
overload(words.root, target="cuda")(_root)
overload(words.times, target="cuda")(_times)
overload(scratch.recall, target="cuda")(_recall)
overload(scratch.recall_stage, target="cuda")(_recall_stage)
overload(bracket.open_bracket, target="cuda")(_open_bracket)
overload(bracket.champion, target="cuda")(_champion)
overload(bracket.replay, target="cuda")(_replay)
overload(sort.sort_descending, target="cuda")(_sort_descending)
overload(refine.rank, target="cuda")(_rank)
overload(sums.total_of, target="cuda")(_total_of)
