"""How good is a placement, whoever made it?  Measured from the weight and the placement alone."""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .arrays import receive
from .loads import planned_loads, receive_weight
from .topology import integer

__all__ = ["balancedness", "bound", "gpu_loads"]


def gpu_loads(weight: Any, phy2log: Any, num_gpus: SupportsIndex) -> Any:
    """Add up the load of each GPU.

    Parameters
    ----------
    weight : array, (layers, experts) or (steps, layers, experts)
        The load of each expert; a replica carries it divided by the number of replicas.  Steps are added up.
    phy2log : array of integers, (layers, slots)
        The expert in each slot.
    num_gpus : int
        GPUs; the number of slots must be a multiple of it.

    Returns
    -------
    array, (layers, num_gpus)
        In the library of the weight and the type that it is planned in, added up in the order of the slots.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be, or an expert with load has no replica.

    Examples
    --------
    >>> import numpy as np
    >>> gpu_loads(np.array([[8.0, 4.0, 2.0, 2.0]]), np.array([[0, 1, 2, 0, 1, 3]]), 2)
    array([[8., 8.]])
    """
    guest = receive_weight(weight)
    loads = planned_loads(guest)
    return guest.hand_back(_gpu_loads(loads, _receive_placement(phy2log, loads), num_gpus))


def balancedness(weight: Any, phy2log: Any, num_gpus: SupportsIndex) -> Any:
    """Divide each layer's mean GPU load by its largest: 1 is perfect, and what a layer without load has.

    Parameters
    ----------
    weight, phy2log, num_gpus
        As for `gpu_loads`.

    Returns
    -------
    array, (layers,)
        In the library of the weight and the type that it is planned in.

    Examples
    --------
    >>> import numpy as np
    >>> balancedness(np.array([[3.0, 1.0]]), np.array([[0, 1]]), 2)
    array([0.66666667])
    """
    guest = receive_weight(weight)
    loads = planned_loads(guest)
    per_gpu = _gpu_loads(loads, _receive_placement(phy2log, loads), num_gpus)
    largest = per_gpu.max(axis=1)
    mean = _total(per_gpu) / loads.dtype.type(per_gpu.shape[1])
    balanced = np.divide(mean, largest, out=np.ones_like(mean), where=largest > 0)
    return guest.hand_back(np.minimum(balanced, loads.dtype.type(1)))


def bound(weight: Any, phy2log: Any, num_gpus: SupportsIndex, num_nodes: SupportsIndex = 1) -> Any:
    """Give a load that no placement can push each layer's heaviest GPU below.

    Parameters
    ----------
    weight, phy2log, num_gpus
        As for `gpu_loads`.
    num_nodes : int
        Nodes that keep their experts; the bound then holds for all placements with the same experts on each node.

    Returns
    -------
    array, (layers,)
        The mean GPU load, or the largest replica of the best replication if that is more; the largest of the nodes'.  Never
        more than the largest load of the placement itself, however sums round.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what it must be, an expert with load has no replica, or one has replicas on two nodes.

    Examples
    --------
    >>> import numpy as np
    >>> bound(np.array([[90.0, 5.0, 5.0]]), np.array([[0, 1, 0, 2]]), 4)
    array([45.])
    """
    guest = receive_weight(weight)
    loads = planned_loads(guest)
    placement = _receive_placement(phy2log, loads)
    num_slots = placement.shape[1]
    reached = _gpu_loads(loads, placement, num_gpus).max(axis=1)
    gpus = integer("num_gpus", num_gpus)
    nodes = _parts("num_nodes", num_nodes, gpus, "GPUs")
    bounds = np.zeros(len(loads), loads.dtype)
    for layer, experts in enumerate(placement.reshape(len(loads), nodes, -1)):
        homes = [np.unique(node) for node in experts]
        if sum(len(home) for home in homes) > len(np.unique(placement[layer])):
            raise ValueError(f"phy2log must keep each expert on one of the {nodes} nodes, but layer {layer} does not")
        of_nodes = [_node_bound(loads[layer, home], num_slots // nodes, gpus // nodes) for home in homes]
        bounds[layer] = min(max(of_nodes), reached[layer])
    return guest.hand_back(bounds)


def _node_bound(loads: NDArray[Any], num_slots: int, num_gpus: int) -> Any:
    from .api import replicate_experts

    _, _, counts = replicate_experts(loads[None], num_slots)
    mean = _total(loads[None])[0] / loads.dtype.type(num_gpus)
    return max(mean, (loads / counts[0].astype(loads.dtype)).max())


def _total(loads: NDArray[Any]) -> NDArray[Any]:
    """Add up each row as a plan does: every eighth load, from each of the first eight on, and those sums in pairs."""
    eighths = np.zeros((8, len(loads)), loads.dtype)
    for place in range(loads.shape[1]):
        eighths[place % 8] += loads[:, place]
    while len(eighths) > 1:
        eighths = eighths[: len(eighths) // 2] + eighths[len(eighths) // 2 :]
    total: NDArray[Any] = eighths[0]
    return total


def _gpu_loads(loads: NDArray[Any], placement: NDArray[np.int64], num_gpus: SupportsIndex) -> NDArray[Any]:
    num_layers, num_slots = placement.shape
    gpus = _parts("num_gpus", num_gpus, num_slots, "slots")
    counts = np.zeros(loads.shape, np.int64)
    np.add.at(counts, (np.arange(num_layers)[:, None], placement), 1)
    homeless = np.argwhere((counts == 0) & (loads > 0))
    if len(homeless):
        layer, expert = homeless[0]
        raise ValueError(f"phy2log must hold every expert that has load, but layer {layer} lacks expert {expert}")
    shares = loads / np.maximum(counts, 1).astype(loads.dtype)
    replicas = np.take_along_axis(shares, placement, axis=1).reshape(num_layers, gpus, -1)
    total = np.zeros((num_layers, gpus), loads.dtype)
    for slot in range(replicas.shape[2]):
        total += replicas[:, :, slot]
    return total


def _receive_placement(phy2log: Any, loads: NDArray[Any]) -> NDArray[np.int64]:
    view = receive("phy2log", phy2log, (2,), "(layers, slots)").view
    if view.dtype.kind not in "iu":
        raise TypeError(f"phy2log must hold integers, got {view.dtype}")
    if len(view) != len(loads):
        raise ValueError(f"phy2log must have as many layers as weight ({len(loads)}), got {len(view)}")
    if view.min() < 0 or view.max() >= loads.shape[1]:
        raise ValueError(f"phy2log must hold experts within [0, {loads.shape[1]}), got {view.min()} to {view.max()}")
    return view.astype(np.int64, copy=False)


def _parts(name: str, parts: SupportsIndex, whole: int, of: str) -> int:
    number = integer(name, parts)
    if number < 1 or whole % number:
        raise ValueError(f"{name} must divide the number of {of} ({whole}), got {number}")
    return number
