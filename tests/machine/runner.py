"""What does a block of lanes do with a program?  Each lane runs up to the next instruction that waits for others.

Memory is the host's own; an access outside what the kernel was given stops the machine, and so does a lane that touches what
another one has written, or reads before another one writes, with no barrier between them.  A block gives way to other blocks
after some accesses to the memory that it shares with them; what it does between those is nobody else's business.

Blocks of a launch may meet in a word in two ways only, for a GPU promises nothing else.  Either each access of theirs says
that others may be there at the same time, or the one who writes hands the word over: that takes a fence and then an atomic of
its own, and later an atomic and then a fence of whoever touches the word.  A lane speaks for the others if a barrier lies
between.  Which words the atomics are about is not looked at.  Where nothing is handed over, some blocks see some words as they
were before the launch, for ever: nobody knows when, nor in which order, he sees what others write.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from .program import CODE, EXTRA, FIRST, GUARD, KINDS, OPERATION, RELAXED, SECOND, TARGET, THIRD, TYPE

(
    ADD, AND, SHL, SELP, MOV, SETP, BRA, SHR, SUB, MAX, MIN, MUL, MAD, LD, ST, OR, XOR, DIV, REM, NEG, ABS, NOT, CLZ, POPC,
    CVT, WIDE, BFI, PACK, LOW, HIGH, SQRT, SHFL, REDUX, VOTE, BAR, WARPSYNC, ATOM, FENCE, RET,
) = range(len(CODE))  # fmt: skip
U8, S8, U16, S16, U32, S32, U64, S64, F32, F64, PRED = range(len(KINDS))
compiled = njit(cache=True, error_model="numpy", nogil=True)
WIDTHS = np.array([1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 1])
WARP = 32
# How a lane stands, and why a block stopped.
DONE, PAUSED, OUTSIDE, RACE, DEADLOCK, ENDLESS = range(1, 7)
FOREVER = 500_000_000
# How far a block has come: the lane that is to run, the instructions since it last waited, the block's epoch, how often its
# lanes have met, how many fences they have passed; one more than the lane of the last fence, how often they had met by then,
# the same of the last atomic in memory that blocks share, and whether a fence has come since.
NEXT, STEPS, EPOCH, MEETINGS, FENCES, FENCER, FENCED, ASKER, ASKED, IS_FENCED = range(10)
GRAIN = 2  # bytes, of which a word is made here: the least that two lanes may write beside each other
# What is noted of a word that blocks share: one more than the block that wrote it last, than the one that read it, and than
# the one that read it as others may write, MANY if several did; whether they got in each other's way there, and whether one
# wrote over what another had written; of the last write whether others may read, its lane, and MEETINGS and FENCES by then.
WRITER, READER, WATCHER, MINGLED, OVERWRITTEN, IS_STRONG, SCRIBE, MET, PASSED = range(9)
# What a block has handed over by its last atomic: what it had written before it passed so many fences, if the lane of the last
# of these wrote it, or any before they met so often.
UP_TO, SPEAKER, FROM = range(3)
MANY = -1

# Cycles until a result can be used: estimates for a current GPU, for comparing one form of a rule with another.
LATENCY = np.full(len(CODE), 5)
for names, cycles in (
    ("ld", 30), ("st", 1), ("div", 40), ("rem", 45), ("sqrt", 40), ("shfl", 25), ("redux", 25), ("vote", 15), ("bar", 20),
    ("warpsync", 5), ("atom", 60), ("fence", 300), ("bra", 8), ("cvt", 8), ("mov", 1), ("pack", 1), ("low", 1), ("high", 1),
):  # fmt: skip
    LATENCY[CODE[names]] = cycles
GLOBAL_LATENCY = 150
WIDE_INTEGER_DIVISION = 120


def _memory(kind, is_load):
    pointee = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}[kind]
    element = getattr(types, f"u{pointee}")

    if is_load:

        @intrinsic
        def load(context, address):
            def generate(context, builder, signature, arguments):
                pointer = builder.inttoptr(arguments[0], context.get_value_type(element).as_pointer())
                return builder.load(pointer)

            return element(types.uint64), generate

        return load

    @intrinsic
    def store(context, address, number):
        def generate(context, builder, signature, arguments):
            pointer = builder.inttoptr(arguments[0], context.get_value_type(element).as_pointer())
            builder.store(builder.trunc(arguments[1], context.get_value_type(element)) if kind < 8 else arguments[1], pointer)
            return context.get_dummy_value()

        return types.none(types.uint64, types.uint64), generate

    return store


load_1, load_2, load_4, load_8 = (_memory(size, True) for size in (1, 2, 4, 8))
store_1, store_2, store_4, store_8 = (_memory(size, False) for size in (1, 2, 4, 8))


@compiled
def _single(bits):
    """Give the float of 32 bits that a register holds."""
    return np.uint32(bits).view(np.float32)


@compiled
def _double(bits):
    """Give the float of 64 bits that a register holds."""
    return np.uint64(bits).view(np.float64)


@compiled
def _bits_of_single(number):
    return np.uint64(np.float32(number).view(np.uint32))


@compiled
def _bits_of_double(number):
    return np.float64(number).view(np.uint64)


@compiled
def _signed(bits, kind):
    """Give the integer that a register holds, as 64 bits with its sign where it has one."""
    if kind == S64 or kind == U64:
        return np.int64(bits)
    if kind == U32:
        return np.int64(np.uint32(bits))
    if kind == S32:
        return np.int64(np.int32(np.uint32(bits)))
    if kind == U8:
        return np.int64(np.uint8(bits))
    if kind == S8:
        return np.int64(np.int8(np.uint8(bits)))
    if kind == U16:
        return np.int64(np.uint16(bits))
    if kind == S16:
        return np.int64(np.int16(np.uint16(bits)))
    return np.int64(bits)


@compiled
def _cut(number, kind):
    """Give what a register of this kind holds of an integer."""
    if kind == U32 or kind == S32:
        return np.uint64(np.uint32(number))
    if kind == U16 or kind == S16:
        return np.uint64(np.uint16(number))
    if kind == U8 or kind == S8:
        return np.uint64(np.uint8(number))
    if kind == PRED:
        return np.uint64(number & 1)
    return np.uint64(number)


@compiled
def _compare(first, second, comparison):
    if comparison == 0:
        return first == second
    if comparison == 1:
        return first != second
    if comparison == 2:
        return first < second
    if comparison == 3:
        return first <= second
    if comparison == 4:
        return first > second
    return first >= second


@compiled
def _compare_floats(first, second, how):
    nan = first != first or second != second
    if how % 8 == 6:
        return nan
    if how % 8 == 7:
        return not nan
    if nan:
        return how >= 8
    return _compare(first, second, how % 8)


@compiled
def _floats(operation, first, second):
    """Do what an instruction says with two floats of one type."""
    if operation == ADD:
        return first + second
    if operation == SUB:
        return first - second
    if operation == MUL:
        return first * second
    if operation == MAX:
        return second if first != first else (first if second != second else max(first, second))
    if operation == MIN:
        return second if first != first else (first if second != second else min(first, second))
    if operation == NEG:
        return -first
    if operation == ABS:
        return abs(first)
    if operation == SQRT:
        return np.sqrt(first)
    return first / second


@compiled
def _integers(operation, first, second, kind):
    """Do what an instruction says with two integers of one type."""
    if operation == ADD:
        return first + second
    if operation == AND:
        return first & second
    if operation == SUB:
        return first - second
    if operation == MUL:
        return first * second
    if operation == OR:
        return first | second
    if operation == XOR:
        return first ^ second
    if operation == SHL:
        return np.int64(0) if second > 63 or second < 0 else first << second
    if operation == SHR:
        if kind == U64:
            return np.int64(0) if second > 63 else np.int64(np.uint64(first) >> np.uint64(second))
        return first >> min(second, np.int64(63))
    if operation == NOT:
        return ~first
    if operation == NEG:
        return -first
    if operation == ABS:
        return abs(first)
    if kind == U64:
        one, other = np.uint64(first), np.uint64(second)
        if operation == MAX:
            return np.int64(max(one, other))
        if operation == MIN:
            return np.int64(min(one, other))
        if operation == DIV:
            return np.int64(one // other)
        return np.int64(one % other)
    if operation == MAX:
        return max(first, second)
    if operation == MIN:
        return min(first, second)
    quotient = abs(first) // abs(second)
    if (first < 0) != (second < 0):
        quotient = -quotient
    return quotient if operation == DIV else first - quotient * second


@compiled
def _convert(bits, source, target, toward_zero):
    """Convert a register from one type to another."""
    if source == F32 or source == F64:
        number = np.float64(_single(bits)) if source == F32 else _double(bits)
        if target == F32:
            return _bits_of_single(number)
        if target == F64:
            return _bits_of_double(number)
        return _cut(np.int64(number) if toward_zero else np.int64(np.rint(number)), target)
    number = _signed(bits, source)
    if target == F32:
        return _bits_of_single(np.uint64(number)) if source == U64 else _bits_of_single(number)
    if target == F64:
        return _bits_of_double(np.uint64(number)) if source == U64 else _bits_of_double(number)
    return _cut(number, target)


@compiled
def _clash(note, word, lane, number, how, block_epoch, warp_epoch):
    """Tell whether another lane touched a word and no barrier has come since.

    To write what is there already is no race, nor are changes by several lanes that nobody can come between.
    """
    other, at_once = abs(note[word, 0]) - 1, note[word, 0] < 0
    if other < 0 or (other == lane and not at_once) or note[word, 1] != block_epoch:
        return False
    if other // WARP == lane // WARP and note[word, 2] != warp_epoch:
        return False
    if at_once:
        return how != ATOM
    return how != ST or note[word, 3] != np.int64(number)


class Regions(NamedTuple):
    """Which memory there is, shared memory first."""

    places: np.ndarray  # (regions)
    ends: np.ndarray  # (regions)
    offsets: np.ndarray  # (regions) where the notes of a region begin
    before: np.ndarray  # (regions) where what was there before the launch lies; not of shared memory


class Notes(NamedTuple):
    """What is known of each word of memory; lanes are counted from one."""

    # (words, 4) the lane that wrote it last, when the block and when the warp had met last, and what; of what lanes change at
    # once the lane is negative
    written: np.ndarray
    read: np.ndarray  # (words, 4) likewise
    earlier: np.ndarray  # (words, 4) of the one who read it before
    blocks: np.ndarray  # (words, 9) how blocks have met there
    handed: np.ndarray  # (blocks, 3) what each has handed over
    late: np.ndarray  # (2) how many in sixteen words a block sees as they were before, and a number that tells which


class Block(NamedTuple):
    """A block of lanes on its way through a program."""

    registers: np.ndarray  # (lanes, registers)
    ready: np.ndarray  # (lanes, registers) the cycle from which on a register can be used
    clocks: np.ndarray  # (lanes)
    at: np.ndarray  # (lanes) the next instruction
    state: np.ndarray  # (lanes)
    warp_epochs: np.ndarray  # (warps) how often the lanes of a warp have met
    progress: np.ndarray  # (10)
    seen: np.ndarray  # (blocks, 3) what others had handed over when this one asked last


@compiled
def run_block(rows, block, number, regions, notes, epochs, patience):
    """Run a block until it ends or has lost patience; give how it stands and the lane and the instruction where it does.

    patience is how many accesses to global memory it may make; epochs (1) counts how often any block has met.
    """
    registers, ready, clocks, at, state, warp_epochs, progress, seen = block
    places, ends, offsets, before = regions
    written, read, earlier, blocks, handed, late = notes
    shared_base = places[0]
    lanes = len(registers)
    block_epoch = progress[EPOCH]
    remaining = 0
    for lane in range(lanes):
        remaining += state[lane] != DONE
    while remaining > 0:
        for lane in range(progress[NEXT], lanes):
            if state[lane] == DONE:
                continue
            own = registers[lane]
            here = at[lane]
            clock = clocks[lane]
            steps = progress[STEPS]
            progress[STEPS] = 0
            while True:
                row = rows[here]
                operation, kind = row[OPERATION], row[TYPE]
                guard = row[GUARD]
                if guard != 0 and (own[abs(guard) - 1] != 0) != (guard > 0):
                    here += 1
                    clock += 1
                    continue
                if SHFL <= operation <= WARPSYNC:
                    break
                steps += 1
                if steps > FOREVER:
                    return ENDLESS, lane, here
                a, b, c = own[row[FIRST]], own[row[SECOND]], own[row[THIRD]]
                latency = LATENCY[operation]
                start = max(clock, ready[lane, row[FIRST]], ready[lane, row[SECOND]])
                here += 1
                result = np.uint64(0)
                if operation == BRA:
                    here = row[EXTRA]
                    clock = start + latency
                    continue
                if operation == RET:
                    state[lane] = DONE
                    remaining -= 1
                    break
                if operation == FENCE:
                    progress[FENCES] += 1
                    progress[FENCER], progress[FENCED] = lane + 1, progress[MEETINGS]
                    progress[IS_FENCED] |= _has_seen(progress, lane, ASKER)
                    clock = start + latency
                    continue
                if operation == LD or operation == ST or operation == ATOM:
                    address = b + np.uint64(row[EXTRA])
                    if row[THIRD] % 2 == 1:
                        address += shared_base
                    width = WIDTHS[kind]
                    region = -1
                    for index in range(len(places)):
                        if places[index] <= address and address + np.uint64(width) <= ends[index]:
                            region = index
                            break
                    together = width if operation == ATOM else width * (row[THIRD] % RELAXED // 2)
                    if region < 0 or address % np.uint64(together) != 0:
                        return OUTSIDE, lane, here - 1
                    if region > 0:
                        if patience == 0:
                            at[lane], clocks[lane] = here - 1, clock
                            progress[NEXT], progress[STEPS] = lane, steps
                            return PAUSED, lane, here - 1
                        patience -= 1
                    latency = LATENCY[operation] if region == 0 else GLOBAL_LATENCY
                    warp = lane // WARP
                    first_word = offsets[region] + np.int64(address - places[region]) // GRAIN
                    if region > 0 and operation == ATOM:
                        _hand_over(progress, lane, handed[number])
                        seen[:] = handed
                    there = _bits_at(address, width)
                    is_strong = operation == ATOM or row[THIRD] >= RELAXED
                    if region > 0 and operation == LD and is_strong:
                        if _is_late(blocks[first_word], number + 1, lane, first_word, late, progress, seen):
                            there = _bits_at(before[region] + (address - places[region]), width)
                    for word in range(first_word, first_word + (width + GRAIN - 1) // GRAIN):
                        if region > 0:
                            _mingle(blocks[word], number + 1, lane, operation, is_strong, progress, seen)
                        if operation == ATOM and region > 0:  # other blocks do so, too
                            continue
                        clash = _clash(written, word, lane, a, operation, block_epoch, warp_epochs[warp])
                        if operation != LD:
                            clash |= _clash(read, word, lane, a, operation, block_epoch, warp_epochs[warp])
                            clash |= _clash(earlier, word, lane, a, operation, block_epoch, warp_epochs[warp])
                        if clash:
                            return RACE, lane, here - 1
                        if operation == LD and read[word, 0] != lane + 1:  # of two readers one is not who writes next
                            earlier[word] = read[word]
                        note = read if operation == LD else written
                        note[word, 0], note[word, 1], note[word, 2] = lane + 1, block_epoch, warp_epochs[warp]
                        note[word, 3] = np.int64(a)
                        if operation == ATOM:
                            note[word, 0] = -note[word, 0]
                    if operation == LD:
                        result = np.uint64(_signed(there, kind)) if kind in (S8, S16, S32) else there
                        for word in range(first_word, first_word + (width + GRAIN - 1) // GRAIN):
                            read[word, 3] = np.int64(result)
                    elif operation == ST:
                        if width == 4:
                            store_4(address, a)
                        elif width == 8:
                            store_8(address, a)
                        elif width == 2:
                            store_2(address, a)
                        else:
                            store_1(address, a)
                        clock = start + 2
                        continue
                    else:
                        result = there
                        how = row[THIRD] // 2
                        changed = result | a if how == 2 else result + a
                        if how == 0:
                            changed = np.uint64(min(_signed(result, kind), _signed(a, kind)))
                        if width == 4:
                            store_4(address, changed)
                        else:
                            store_8(address, changed)
                elif operation == MOV:
                    result = a
                    if row[EXTRA] == 1:
                        result = a + shared_base
                    elif row[EXTRA] == -1:
                        result = a - shared_base
                elif operation == SELP:
                    start = max(start, ready[lane, row[THIRD]])
                    result = a if c != 0 else b
                elif operation == MAD:
                    start = max(start, ready[lane, row[THIRD]])
                    result = _cut(_signed(a, kind) * _signed(b, kind) + _signed(c, kind), kind)
                elif operation == SETP:
                    how = row[EXTRA]
                    if kind == F32:
                        answer = _compare_floats(_single(a), _single(b), how)
                    elif kind == F64:
                        answer = _compare_floats(_double(a), _double(b), how)
                    elif kind == U64:
                        answer = _compare(a, b, how)
                    else:
                        answer = _compare(_signed(a, kind), _signed(b, kind), how)
                    result = np.uint64(answer)
                elif operation == CVT:
                    result = _convert(a, row[EXTRA] % 16, kind, row[EXTRA] >= 16)
                elif operation == CLZ:
                    bits, rest = WIDTHS[kind] * 8, _cut(np.int64(a), kind)
                    while rest > 0:
                        bits -= 1
                        rest >>= np.uint64(1)
                    result = np.uint64(bits)
                elif operation == POPC:
                    rest, result = _cut(np.int64(a), kind), np.uint64(0)
                    while rest > 0:
                        result += rest & np.uint64(1)
                        rest >>= np.uint64(1)
                elif operation == WIDE:
                    result = np.uint64(_signed(a, kind) * _signed(b, kind))
                elif operation == PACK:
                    result = np.uint64(np.uint32(a)) | (b << np.uint64(32))
                elif operation == LOW:
                    result = np.uint64(np.uint32(a))
                elif operation == HIGH:
                    result = a >> np.uint64(32)
                elif operation == BFI:
                    mask = ((np.uint64(1) << np.uint64(row[EXTRA])) - np.uint64(1)) << c
                    result = (b & ~mask) | ((a << c) & mask)
                elif kind == F32:
                    result = _bits_of_single(_floats(operation, _single(a), _single(b)))
                elif kind == F64:
                    result = _bits_of_double(_floats(operation, _double(a), _double(b)))
                else:
                    second = np.int64(np.uint32(b)) if operation == SHL or operation == SHR else _signed(b, kind)
                    result = _cut(_integers(operation, _signed(a, kind), second, kind), kind)
                    if (operation == DIV or operation == REM) and (kind == S64 or kind == U64):
                        latency = WIDE_INTEGER_DIVISION
                if operation == MOV:  # the assembler gives the register another name instead
                    latency = 0
                elif kind == U64 or kind == S64 or kind == F64:
                    clock = start + 2
                else:
                    clock = start + 1
                own[row[TARGET]] = result
                ready[lane, row[TARGET]] = start + latency
            at[lane] = here
            clocks[lane] = clock
        progress[NEXT] = 0
        if remaining == 0:
            break
        # Warps whose lanes all wait for each other go on; a barrier waits for all warps.
        moved = False
        at_barrier = 0
        for first in range(0, lanes, WARP):
            last = min(first + WARP, lanes)
            here = -1
            together = True
            for lane in range(first, last):
                if state[lane] != DONE:
                    together &= here < 0 or at[lane] == here
                    here = at[lane]
            if here < 0:
                continue
            row = rows[here]
            if not together:
                return DEADLOCK, first, here
            if row[OPERATION] == BAR:
                for lane in range(first, last):
                    at_barrier += state[lane] != DONE
                continue
            moved = True
            for lane in range(first, last):
                if state[lane] == DONE:
                    return DEADLOCK, lane, here
            _meet(row, registers, clocks, ready, first, last)
            if row[OPERATION] == WARPSYNC:
                warp_epochs[first // WARP] += 1
                progress[MEETINGS] += lanes <= WARP
            for lane in range(first, last):
                at[lane] += 1
        if not moved:
            if at_barrier < remaining:
                return DEADLOCK, 0, at[0]
            latest = 0
            for lane in range(lanes):
                latest = max(latest, clocks[lane])
            for lane in range(lanes):
                clocks[lane] = latest + LATENCY[BAR]
                at[lane] += state[lane] != DONE
            epochs[0] += 1
            block_epoch = progress[EPOCH] = epochs[0]
            progress[MEETINGS] += 1
    return DONE, 0, 0


@compiled
def _bits_at(address, width):
    """Give the bits that lie at an address."""
    if width == 4:
        return np.uint64(load_4(address))
    if width == 8:
        return load_8(address)
    return np.uint64(load_2(address)) if width == 2 else np.uint64(load_1(address))


@compiled
def _has_seen(progress, lane, who):
    """Tell whether a lane has made the block's last fence or atomic, or has met with the one who did since."""
    return progress[who] == lane + 1 or (progress[who] > 0 and progress[who + 1] < progress[MEETINGS])


@compiled
def _hand_over(progress, lane, handed):
    """Let a lane's atomic hand over what the block's last fence stands behind, and ask for what others have handed over."""
    if _has_seen(progress, lane, FENCER):
        handed[UP_TO], handed[SPEAKER], handed[FROM] = progress[FENCES], progress[FENCER] - 1, progress[FENCED]
    progress[ASKER], progress[ASKED], progress[IS_FENCED] = lane + 1, progress[MEETINGS], 0


@compiled
def _is_handed_over(note, lane, progress, seen):
    """Tell whether a word is this lane's to touch though another block has written there."""
    theirs = seen[note[WRITER] - 1]
    is_given = note[PASSED] < theirs[UP_TO] and (note[SCRIBE] == theirs[SPEAKER] or note[MET] < theirs[FROM])
    return is_given and progress[IS_FENCED] == 1 and _has_seen(progress, lane, FENCER)


@compiled
def _is_late(note, block, lane, word, late, progress, seen):
    """Tell whether a block sees a word as it was before the launch, though another one has written there since."""
    if note[WRITER] == 0 or note[WRITER] == block:
        return False
    mixed = np.uint64(block * 0x9E3779B1 + word * 0x85EBCA6B + late[1])
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(0xD6E8FEB86659FD93)
    return np.int64(mixed >> np.uint64(60)) < late[0] and not _is_handed_over(note, lane, progress, seen)


@compiled
def _mingle(note, block, lane, operation, is_strong, progress, seen):
    """Note that a block writes or reads a word, and whether it gets in the way of others there."""
    is_others = note[WRITER] != 0 and note[WRITER] != block
    if is_others and not (is_strong and note[IS_STRONG]):
        note[MINGLED] |= not _is_handed_over(note, lane, progress, seen)
    if operation == LD:
        who = WATCHER if is_strong else READER
        if note[who] != block:
            note[who] = block if note[who] == 0 else MANY
        return
    note[MINGLED] |= note[READER] != 0 and note[READER] != block
    note[MINGLED] |= not is_strong and note[WATCHER] != 0 and note[WATCHER] != block
    note[OVERWRITTEN] |= is_others and operation == ST
    note[WRITER], note[IS_STRONG], note[SCRIBE] = block, is_strong, lane
    note[MET], note[PASSED] = progress[MEETINGS], progress[FENCES]


@compiled
def _meet(row, registers, clocks, ready, first, last):
    """Let the lanes of a warp exchange what an instruction says."""
    operation, kind, target = row[OPERATION], row[TYPE], row[TARGET]
    latest = 0
    for lane in range(first, last):
        latest = max(latest, clocks[lane], ready[lane, row[FIRST]])
    given = np.empty(last - first, np.uint64)
    for lane in range(first, last):
        given[lane - first] = registers[lane, row[FIRST]]
    votes = np.uint64(0)
    if operation == VOTE:
        for lane in range(first, last):
            votes |= np.uint64(given[lane - first] != 0) << np.uint64(lane - first)
    for lane in range(first, last):
        result = votes
        if operation == SHFL:
            distance = np.int64(registers[lane, row[SECOND]])
            own = lane - first
            other = own ^ distance if row[EXTRA] == 0 else distance if row[EXTRA] == 1 else max(own - distance, -1)
            result = given[other if other >= 0 else own]
        elif operation == REDUX:
            best = _signed(given[0], kind)
            for number in given[1:]:
                signed = _signed(number, kind)
                best = min(best, signed) if row[EXTRA] == 0 else max(best, signed) if row[EXTRA] == 1 else best + signed
            result = _cut(best, kind)
        if operation != WARPSYNC:
            registers[lane, target] = result
            ready[lane, target] = latest + LATENCY[operation]
        clocks[lane] = latest + 2
