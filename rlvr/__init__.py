"""Reinforcement learning with verifiable rewards: the public names, loaded when first used."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Before PyTorch loads OpenMP: how often a waiting thread looks again before it sleeps. With the usual 300,000, two
# threads that wait for each other on a busy machine make a small model's step some fifty times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from rlvr.api import Finished, evaluate, train
    from rlvr.errors import SafetyStop, UserError
    from rlvr.types import Finish, Group, Problem, Request, Rollout, Status, Verdict

__version__ = "0.1.0"

_PUBLIC = {
    "rlvr.api": ("Finished", "evaluate", "train"),
    "rlvr.errors": ("SafetyStop", "UserError"),
    "rlvr.types": ("Finish", "Group", "Problem", "Request", "Rollout", "Status", "Verdict"),
}

__all__ = [
    "Finish",
    "Finished",
    "Group",
    "Problem",
    "Request",
    "Rollout",
    "SafetyStop",
    "Status",
    "UserError",
    "Verdict",
    "evaluate",
    "train",
]


def __getattr__(name: str) -> Any:
    for module, names in _PUBLIC.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'rlvr' has no attribute {name!r}")
