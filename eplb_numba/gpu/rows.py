"""What do blocks do to rows of loads by themselves: how are they taken in, packed or replicated?"""

from __future__ import annotations

import numpy as np

from ..rules.intake import take_in
from ..rules.rows import pack_row, replicate_row
from ..rules.words import mine, strip
from .own import fetch, loads_and_tools, ours, ours_in

__all__ = ["pack_each", "replicate_each", "take_in_layers"]


def take_in_layers(weight, zero, top, most, work):  # type: ignore[no-untyped-def]
    """Add up the steps of each layer in the type that is planned in."""
    for layer in ours(weight.shape[1]):
        loads = strip(work.loads[0, layer])
        if not take_in(weight, layer, zero, top, most, loads):
            for expert in mine(len(loads)):
                loads[expert] = np.nan  # whoever takes it in again finds that these are no loads


def pack_each(weight, most, layout, tactics, scratch, packs):  # type: ignore[no-untyped-def]
    """Pack the items of each row."""
    loads, tools = loads_and_tools(scratch, layout, False)
    for row in ours_in(scratch, weight.shape[1]):
        fetch(weight, row, most, loads)
        pack_row(loads, row, tactics, tools, packs)


def replicate_each(weight, most, layout, scratch, replicas):  # type: ignore[no-untyped-def]
    """Replicate the experts of each row."""
    loads, tools = loads_and_tools(scratch, layout, False)
    for row in ours_in(scratch, weight.shape[1]):
        fetch(weight, row, most, loads)
        replicate_row(loads, row, tools, replicas)
