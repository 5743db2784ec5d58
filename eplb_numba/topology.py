"""What does the cluster look like, and can a model's experts be spread over it?"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import SupportsIndex

__all__ = ["MOST_SIZE", "Topology"]

MOST_SIZE = 2**31  # what each number must be less than


@dataclass(frozen=True, init=False)
class Topology:
    """The five numbers of a placement problem, checked once.

    Parameters
    ----------
    num_logical : int
        Experts of the model, per layer.
    num_replicas : int
        Slots, per layer: physical copies of experts.
    num_groups : int or None
        Groups of consecutive experts that the router limits together; None and 0 mean one group.
    num_nodes : int
        Nodes: GPUs with a fast network among them.
    num_gpus : int
        GPUs in all.

    Notes
    -----
    Where ``num_groups`` is a multiple of ``num_nodes`` the placement is hierarchical: groups stay within a node.
    Otherwise it is global, and nodes and groups do not matter.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If the numbers do not fit together.

    Examples
    --------
    >>> Topology(256, 288, 8, 4, 32).slots_per_gpu
    9
    >>> Topology(256, 288, 1, 4, 32).is_hierarchical
    False
    """

    num_logical: int
    num_replicas: int
    num_groups: int
    num_nodes: int
    num_gpus: int

    def __init__(
        self,
        num_logical: SupportsIndex,
        num_replicas: SupportsIndex,
        num_groups: SupportsIndex | None,
        num_nodes: SupportsIndex,
        num_gpus: SupportsIndex,
    ) -> None:
        # Frameworks say None or 0 where a model has no groups.
        groups = 1 if num_groups is None else integer("num_groups", num_groups) or 1
        numbers = {
            "num_logical": num_logical,
            "num_replicas": num_replicas,
            "num_groups": groups,
            "num_nodes": num_nodes,
            "num_gpus": num_gpus,
        }
        for name, number in numbers.items():
            object.__setattr__(self, name, integer(name, number))
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
            if getattr(self, name) >= MOST_SIZE:
                raise ValueError(f"{name} must be less than {MOST_SIZE}, got {getattr(self, name)}")
        self._must_divide("num_replicas", "num_gpus")
        if self.is_hierarchical:
            self._must_divide("num_logical", "num_groups")
            self._must_divide("num_gpus", "num_nodes")
        if self.num_replicas < self.num_logical:
            raise ValueError(
                f"num_replicas ({self.num_replicas}) must be at least the number of experts ({self.num_logical}): "
                "each expert needs a slot"
            )

    def _must_divide(self, whole: str, part: str) -> None:
        if getattr(self, whole) % getattr(self, part):
            said = "the number of experts" if whole == "num_logical" else whole
            raise ValueError(f"{said} ({getattr(self, whole)}) must be a multiple of {part} ({getattr(self, part)})")

    @property
    def is_hierarchical(self) -> bool:
        """Whether groups of experts are kept within a node."""
        return self.num_groups % self.num_nodes == 0

    @property
    def planned_groups(self) -> int:
        """The groups that are placed as a whole: one where the placement is global."""
        return self.num_groups if self.is_hierarchical else 1

    @property
    def planned_nodes(self) -> int:
        """The nodes that are planned apart: one where the placement is global."""
        return self.num_nodes if self.is_hierarchical else 1

    @property
    def slots_per_gpu(self) -> int:
        """Slots on each GPU."""
        return self.num_replicas // self.num_gpus

    @property
    def max_replicas(self) -> int:
        """The most replicas that one expert can get: all the spare slots of its node, and its own."""
        return (self.num_replicas - self.num_logical) // self.planned_nodes + 1


def integer(name: str, value: SupportsIndex | None) -> int:
    """Take anything that is an integer by nature, but no bool; name what came otherwise."""
    if type(value) is int:
        return value
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    if is_bool or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}") from error
