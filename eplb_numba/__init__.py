"""Decide how often to replicate each expert of a Mixture-of-Experts model, and on which GPU to put each replica."""

from . import threads  # noqa: F401, I001  # first: it watches for forks from now on
from . import metrics
from .api import balanced_packing, rebalance_experts, replicate_experts
from .plan import Plan, plan_experts
from .planner import Planner
from .policy import POLICIES, Policy
from .replay import Replay, replay
from .topology import Topology

__all__ = [
    "POLICIES",
    "Plan",
    "Planner",
    "Policy",
    "Replay",
    "Topology",
    "balanced_packing",
    "metrics",
    "plan_experts",
    "rebalance_experts",
    "replay",
    "replicate_experts",
]
__version__ = "0.1.0"
