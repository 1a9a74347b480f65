"""The stages of the laboratory: resolved, checked against each other and built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlvr import config
from rlvr.advantage.compose import compose

STAGES = {
    "budget": "uniform",
    "filter": "none",
    "advantage": "grpo",
    "select": "all",
    "correct": "none",
    "clip": "ppo",
    "aggregate": "token",
}


@dataclass(frozen=True)
class Stages:
    """Built stages by name, and what the user should know of their combination."""

    built: Mapping[str, Any]
    resolved: config.Resolved
    warnings: tuple[str, ...]

    def __getitem__(self, stage: str) -> Any:
        return self.built[stage]


def choose(flags: Mapping[str, Any], recipe: Mapping[str, Any] | None = None) -> Stages:
    """Defaults, recipe, flags; raises UserError for a combination that contradicts itself."""
    resolved = config.resolve(STAGES, {}, recipe=recipe, flags=flags)
    composition = compose(resolved.stages)
    if composition.derived:
        resolved = config.resolve(
            STAGES, {}, recipe=recipe, flags=flags, derived=composition.derived
        )
    built = {name: stage.build() for name, stage in resolved.stages.items()}
    return Stages(built, resolved, composition.warnings)
