"""What lies on a GPU beside a weight and its plan?"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numba import config

from ..rules.groups import first_try
from ..rules.outlook import outlook_size, window_size
from ..rules.scratch import bench_size, stage_size
from ..rules.terms import PACKED, Layout, Tactics
from .block import OFFER_BYTES, SHARED_BYTES
from .prepared import Prepared, prepared_size
from .site import Allocator, device

__all__ = [
    "KEPT_APART",
    "MANY_SHARE",
    "NOBODY_ASKS",
    "PUT_TOGETHER",
    "InGlobal",
    "InShared",
    "Room",
    "Starts",
    "Work",
    "allocate",
    "allocate_for_rows",
    "check_items",
    "shared_end",
]

MOST_ITEMS = 46340  # to be packed: the number of a swap of two of them has 31 bits
MOST_START_BYTES = 2**26  # that starts made beside each other may need; else they follow one another
AT_WORK = 2048  # blocks, about as many as a GPU has at a time: where there are more tries, a block assigns groups for several
MANY_SHARE = 16  # blocks that have a prepared node in common
ALIGNMENT = 256  # of an array, in bytes
MOST_BLOCKS = 1024  # with scratch of their own; further problems wait for a block

# How replicas of one expert are packed where the starts of a packing are made beside each other.
KEPT_APART, PUT_TOGETHER = 0, 1
NOBODY_ASKS = -1  # for the starts that pack them together


class InShared(NamedTuple):
    """Scratch of a block that lies in shared memory: kernels are compiled for that, with addresses of 32 bits."""

    values: Any  # (1, ...) a row that tells how much
    integers: Any  # (1, ...)
    first_byte: int


class InGlobal(NamedTuple):
    """Scratch of each block that lies in global memory."""

    values: Any  # (blocks, ...)
    integers: Any  # (blocks, ...)


class Work(NamedTuple):
    """What blocks leave for each other; parts are the nodes of the tries."""

    stage_values: Any  # (layers, tries, ...)
    stage_integers: Any  # (layers, tries, ...)
    ceilings: Any  # (layers, tries) what later tries must come below, once a try is finished; infinite until then
    first_near: Any  # (layers, parts, 2) the first start that came near enough, KEPT_APART and PUT_TOGETHER, or NOBODY_ASKS
    made: Any  # (layers, parts, 2) how many starts are made, or need not be
    # The largest load of each start, once it is made; infinite until then.  There are none where starts follow one another.
    largest: Any  # (layers, parts, 2, starts)
    prepared: Prepared
    sound: Any  # (layers) whether a layer's loads are loads
    fetched: Any  # (layers, experts) as they are planned for, where there are groups to be assigned
    loads: Any  # (1, layers, experts) of a weight that is taken in by a launch of its own
    scenarios: Any  # (layers) how many a layer's window stands for
    window_values: Any  # (layers, ...)
    assigners: int  # blocks of a layer that assign groups, each in some of the tries
    window_from: int  # the byte of shared memory where a window is read that fits there, or 0


class Starts(NamedTuple):
    """What came of each start, where the starts of a packing are made beside each other, beside its largest load."""

    items: Any  # (layers, parts, starts, slots)
    pack_loads: Any  # (layers, parts, starts, gpus)
    spreads: Any  # (layers, parts, starts)


class Room(NamedTuple):
    """All that lies on the GPU beside the weight and the results, in the parts that kernels are handed."""

    work: Work
    scratch: InShared | InGlobal
    outlook: InShared | InGlobal  # that nobody is handed where no plan is to last
    starts: Starts | None


def allocate(
    empty: Allocator, num_layers: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any], is_lasting: bool
) -> Room:
    """Allocate what lies on the GPU beside the weight and the results."""
    check_items(layout)
    num_tries = tactics.restarts - first_try(layout, tactics)
    parts = num_tries * layout.num_nodes
    starts = _arrays_of_starts(num_layers, parts, layout, tactics, dtype)
    stage_values, stage_integers = stage_size(layout)
    prepared_values, prepared_integers = prepared_size(layout)
    prepared = _nodes_in_common(num_tries, tactics.starts if starts else 1, layout)
    of_gpu = not config.ENABLE_CUDASIM  # the simulator runs the plain forms of words
    num_values, num_integers = bench_size(layout, of_gpu)
    # The loads that were taken in lie at the end, and not where they are brought to: tools begin with such places.
    num_values = max(num_values, layout.node_experts + layout.node_slots + layout.num_groups + layout.num_logical)
    integer, narrow = np.dtype(np.int32), _integer_of(layout)
    scratch_end = _end(OFFER_BYTES, num_values, num_integers, dtype, narrow)
    blocks = min(num_layers * parts * (tactics.starts if starts else 1), MOST_BLOCKS)
    outlook_values, outlook_integers = outlook_size(layout, of_gpu)
    outlook_begin = -(-(scratch_end or OFFER_BYTES) // 8) * 8
    outlook_end = _end(outlook_begin, outlook_values, outlook_integers, dtype, narrow)
    outlook_blocks = min(num_layers * layout.num_nodes, MOST_BLOCKS) if is_lasting and not outlook_end else 1
    window_end = _end(OFFER_BYTES, window_size(layout), 0, dtype, narrow)
    arrays = _allocate_all(
        empty,
        stage_values=((num_layers, num_tries, stage_values), dtype),
        stage_integers=((num_layers, num_tries, stage_integers), integer),
        values=((1 if scratch_end else blocks, num_values), dtype),
        integers=((1 if scratch_end else blocks, num_integers), narrow),
        ceilings=((num_layers, num_tries), dtype),
        first_near=((num_layers, parts, 2), integer),
        made=((num_layers, parts, 2), integer),
        largest=((num_layers, parts, 2, tactics.starts if starts else 0), dtype),
        prepared_values=((num_layers, prepared, prepared_values), dtype),
        prepared_integers=((num_layers, prepared, prepared_integers), integer),
        sound=((num_layers,), integer),
        fetched=((num_layers, layout.num_logical), dtype),
        loads=((1, num_layers, layout.num_logical), dtype),
        scenarios=((num_layers,), integer),
        window_values=((num_layers, window_size(layout) if is_lasting else 1), dtype),
        outlook_values=((outlook_blocks, outlook_values), dtype),
        outlook_integers=((outlook_blocks, outlook_integers), narrow),
        **starts,
    )
    prepared_nodes = Prepared(arrays.pop("prepared_values"), arrays.pop("prepared_integers"))
    seen_starts = Starts(*(arrays.pop(name) for name in Starts._fields)) if starts else None
    scratch = arrays.pop("values"), arrays.pop("integers")
    outlook = arrays.pop("outlook_values"), arrays.pop("outlook_integers")
    return Room(
        Work(
            **arrays,
            prepared=prepared_nodes,
            assigners=-(-num_tries // max(1, -(-num_layers * num_tries // AT_WORK))),
            window_from=OFFER_BYTES if window_end else 0,
        ),
        InShared(*scratch, OFFER_BYTES) if scratch_end else InGlobal(*scratch),
        InShared(*outlook, outlook_begin) if outlook_end else InGlobal(*outlook),
        seen_starts,
    )


def allocate_for_rows(empty: Allocator, num_rows: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any]) -> Room:
    """Allocate likewise for rows that are only packed or replicated: they need memory for one try from one start."""
    return allocate(empty, num_rows, layout, tactics._replace(restarts=1, starts=1, groups=PACKED), dtype, False)


def _nodes_in_common(num_tries: int, starts_at_once: int, layout: Layout) -> int:
    """Give how many nodes of a layer to prepare once for all blocks that need them, which is a launch of its own."""
    has_choice = layout.num_groups > layout.num_nodes
    sharing = starts_at_once if has_choice else starts_at_once * num_tries
    if sharing < MANY_SHARE:
        return 0
    return layout.num_nodes * num_tries if has_choice else layout.num_nodes


def shared_end(*spaces: InShared) -> int:
    """Give where shared memory ends that holds the offers and such scratch."""
    return max([OFFER_BYTES, *(space.first_byte + space.values.nbytes + space.integers.nbytes for space in spaces)])


def _integer_of(layout: Layout) -> np.dtype[Any]:
    """Give the type of the integers of scratch, which number slots, experts and GPUs: small ones let more blocks in."""
    return np.dtype(np.int16 if max(layout.num_replicas, layout.num_logical) < 2**15 else np.int32)


def _end(begin: int, values: int, integers: int, dtype: np.dtype[Any], integer: np.dtype[Any]) -> int:
    """Give the byte where scratch ends that begins at one of shared memory, or 0 if it does not fit in there."""
    end = begin + values * dtype.itemsize + integers * integer.itemsize
    return end if end <= OFFER_BYTES + SHARED_BYTES else 0


def check_items(layout: Layout) -> None:
    """Refuse more items than a GPU can pack."""
    if max(layout.node_slots, layout.num_groups) > MOST_ITEMS:
        raise ValueError(f"a GPU packs at most {MOST_ITEMS} items at once, got {max(layout.node_slots, layout.num_groups)}")


def _arrays_of_starts(
    num_layers: int, parts: int, layout: Layout, tactics: Tactics, dtype: np.dtype[Any]
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Give shape and type of what is noted of each start; nothing where a packing has one, or where it would be too much."""
    starts, narrow = (num_layers, parts, tactics.starts), _integer_of(layout)
    size = math.prod(starts) * (narrow.itemsize * layout.node_slots + dtype.itemsize * (layout.node_gpus + 3))
    if tactics.starts == 1 or layout.gpu_slots == 1 or size > MOST_START_BYTES:
        return {}
    return {
        "items": ((*starts, layout.node_slots), narrow),
        "pack_loads": ((*starts, layout.node_gpus), dtype),
        "spreads": (starts, dtype),
    }


def _allocate_all(empty: Allocator, **arrays: tuple[tuple[int, ...], np.dtype[Any]]) -> dict[str, Any]:
    """Allocate arrays of some shapes and types in one piece, for a library takes a while for each.

    There is a gap behind each, so that whoever writes beyond its end does not write to the next one.
    """
    sizes = (math.prod(shape) * dtype.itemsize for shape, dtype in arrays.values())
    ends = list(accumulate((size // ALIGNMENT + 1) * ALIGNMENT for size in sizes))
    memory = device.see(empty((ends[-1],), np.dtype(np.uint8)))
    begins = [0, *ends[:-1]]
    return {name: device.part(memory, begin, *arrays[name]) for name, begin in zip(arrays, begins, strict=True)}
