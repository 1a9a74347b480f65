"""Reinforcement learning with verifiable rewards. The public names; each is loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlvr.errors import SafetyStop, UserError
    from rlvr.types import Finish, Group, Problem, Request, Rollout, Status, Verdict

__version__ = "0.1.0"

_PUBLIC = {
    **dict.fromkeys(
        ("Finish", "Group", "Problem", "Request", "Rollout", "Status", "Verdict"), "rlvr.types"
    ),
    **dict.fromkeys(("SafetyStop", "UserError"), "rlvr.errors"),
}

__all__ = [
    "Finish",
    "Group",
    "Problem",
    "Request",
    "Rollout",
    "SafetyStop",
    "Status",
    "UserError",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'rlvr' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
