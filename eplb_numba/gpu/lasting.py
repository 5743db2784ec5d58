"""How do blocks make a plan last that was delivered?"""

from __future__ import annotations

from ..rules.outlast import outlast_node
from ..rules.outlook import cut_window
from ..rules.placement import deliver, list_slots, restage
from ..rules.window import note_window, read_window
from ..rules.words import parts, strip
from .own import loads_and_tools, ours, outlook_of, shared_of, stage_of

__all__ = ["deliver_lasting", "outlast_nodes", "read_windows"]


def read_windows(steps, layout, work, placement):  # type: ignore[no-untyped-def]
    """Read the window of each layer; where it stands for several scenarios, put the delivered layer back onto its stage."""
    for layer in ours(len(work.sound)):
        count, noted, loads = 0, cut_window(strip(work.window_values[layer]), layout), strip(work.loads[0, layer])
        if work.sound[layer] == 1:
            if work.window_from > 0:
                window = cut_window(shared_of(work.window_values, work.window_from), layout)
                count = read_window(steps, layer, loads, layout.num_gpus, window)
                note_window(count, layout.num_logical, window, noted)
            else:
                count = read_window(steps, layer, loads, layout.num_gpus, noted)
        if count > 1:
            restage(layer, layout, placement, stage_of(work, layer, 0, layout))
        work.scenarios[layer] = count


def outlast_nodes(layout, tactics, work, scratch, sheet):  # type: ignore[no-untyped-def]
    """Place each node anew, where that is better over the scenarios."""
    _, tools = loads_and_tools(scratch, layout, False)
    outlook = outlook_of(sheet, layout)
    for problem in ours(len(work.sound) * layout.num_nodes):
        layer, node = parts(problem, layout.num_nodes)
        count = work.scenarios[layer]
        if count > 1:
            stage, window = stage_of(work, layer, 0, layout), cut_window(strip(work.window_values[layer]), layout)
            outlast_node(strip(work.loads[0, layer]), layer, node, count, tactics, tools, stage, window, outlook)


def deliver_lasting(layout, work, placement, log2phy, lists):  # type: ignore[no-untyped-def]
    """Deliver the layers that have been placed anew."""
    for layer in ours(len(work.sound)):
        if work.scenarios[layer] > 1:
            deliver(layer, layout, stage_of(work, layer, 0, layout), placement)
        if lists:
            list_slots(layer, placement, log2phy)
