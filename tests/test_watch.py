"""Does the machine for PTX notice what a GPU does not promise, where blocks meet, and nothing else?"""

import os

import numpy as np
import pytest

if "TESTS_ON_MACHINE" not in os.environ:
    pytest.skip("the machine for PTX is in the place of a GPU only where test_machine puts it there", allow_module_level=True)

from numba import cuda

from eplb_numba.gpu.block import OFFER_BYTES
from eplb_numba.rules.words import barrier, fresh, lane, strip, tell

from . import machine
from .test_gpu import backend

BLOCKS, LANES = 12, 32
ALL = 0xFFFFFFFF
# What a block may leave out when it hands over what its lanes have written, and the one that ends last takes it up.
NOTHING, MEETING_BEFORE, FENCE_BEFORE, FENCE_BEHIND, MEETING_BEHIND = range(5)
TOLD, PLAINLY = range(2)  # how a word is written, or read, at which blocks look at any moment


def launch(function, *arrays, blocks=BLOCKS):
    """Run a kernel on some arrays; give what is in them afterwards."""
    device = backend.device
    views = [device.carry_over(array) for array in arrays]
    device.Launch(machine.Kernel(function), blocks, LANES, OFFER_BYTES, None, *views).start(0, None)
    return [device.carry_back(view.owner) for view in views]


def add_up(left_out, pieces, made, sums):
    """Let the block that ends last add up what all have written."""
    without = left_out[0]
    pieces[cuda.blockIdx.x, lane()] = lane()
    if without != MEETING_BEFORE:
        barrier()
    count = 0
    if lane() == 0:
        if without != FENCE_BEFORE:
            cuda.threadfence()
        count = cuda.atomic.add(made, 0, 1)
        if without != FENCE_BEHIND:
            cuda.threadfence()
    count = cuda.shfl_sync(ALL, count, 0)
    if without != MEETING_BEHIND:
        barrier()
    if count == BLOCKS - 1:
        total = 0
        for block in range(BLOCKS):
            total += pieces[block, lane()]
        sums[lane()] = total


def hand_over(left_out):
    """Let blocks hand over what they write, but for something left out; give what the last one adds up."""
    shapes = [(1,), (BLOCKS, LANES), (1,), (LANES,)]
    arrays = [np.zeros(shape, np.int32) for shape in shapes]
    arrays[0][0] = left_out
    return launch(add_up, *arrays)[-1]


def test_what_is_handed_over_may_be_read():
    """A fence and an atomic hand over what a block has written, an atomic and a fence take it up."""
    np.testing.assert_array_equal(hand_over(NOTHING), np.arange(LANES) * BLOCKS)


@pytest.mark.parametrize("left_out", [MEETING_BEFORE, FENCE_BEFORE, FENCE_BEHIND, MEETING_BEHIND])
def test_nothing_can_be_left_out(left_out):
    """A fence stands for the lane that makes it, and for others only if they have met; without one nothing is handed over."""
    with pytest.raises(AssertionError, match=r"blocks touch what others write in .'1'."):
        hand_over(left_out)


def look_around(how, words):
    """Let each block write a word of its own, and look at all words."""
    own = strip(words)
    if lane() == 0:
        if how[0] == TOLD:
            tell(own, cuda.blockIdx.x, np.int32(1))
        else:
            own[cuda.blockIdx.x] = 1
    barrier()
    total = 0
    for block in range(BLOCKS):
        total += fresh(own, block) if how[1] == TOLD else own[block]
    if total > BLOCKS:
        words[0] = total


def test_words_that_are_told_may_be_looked_at():
    """Blocks may look at a word at any moment if both sides say so."""
    _, words = launch(look_around, np.array([TOLD, TOLD], np.int32), np.zeros(BLOCKS, np.int32))
    assert words.all()


@pytest.mark.parametrize("how", [(PLAINLY, TOLD), (TOLD, PLAINLY), (PLAINLY, PLAINLY)])
def test_both_sides_must_say_so(how):
    """A word that is written, or read, as if nobody else were there is no good."""
    with pytest.raises(AssertionError, match=r"blocks touch what others write in .'1'."):
        launch(look_around, np.array(how, np.int32), np.zeros(BLOCKS, np.int32))


def count(is_fenced, words, made, missed):
    """Let each block tell that it is here, and count who is missing of those that came before."""
    own, block = strip(words), cuda.blockIdx.x
    if lane() == 0:
        tell(own, block, np.int32(1))
        if is_fenced[0]:
            cuda.threadfence()
        before = cuda.atomic.add(made, 0, 1)
        if is_fenced[0]:
            cuda.threadfence()
        told = 0
        for other in range(len(words)):
            told += fresh(own, other) if other != block else 0
        missed[block] = max(before - told, 0)


@pytest.mark.parametrize("is_fenced", [False, True])
def test_what_others_tell_may_be_seen_late(is_fenced):
    """Whoever looks around may miss what others have told before, but nothing that they have handed over."""
    missed = 0
    for blocks in range(8, 24):
        arrays = [np.array([is_fenced], np.int32), *(np.zeros(size, np.int32) for size in (blocks, 1, blocks))]
        missed += launch(count, *arrays, blocks=blocks)[-1].sum()
    assert (missed == 0) == is_fenced


def write_down(words):
    """Let each block write the same into the first word."""
    if lane() == 0:
        tell(strip(words), 0, np.int32(7))


def test_one_block_writes_a_word():
    """Which of two numbers stays would depend on which block comes last; even if they are the same here."""
    with pytest.raises(AssertionError, match=r"blocks write over what others have written in .'0'."):
        launch(write_down, np.zeros(1, np.int32))
