"""Quantiles of the exam scores, followed across steps by stochastic approximation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlvr.errors import UserError

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))  # 0.05 .. 0.95
SCHEMA = 1


@dataclass
class Tracker:
    """q_s <- q_s + gamma (s - share of scores below q_s), warm-started on the first scores."""

    values: list[float] = field(default_factory=list)  # one a level, empty before the first step
    steps: int = 0

    def start(self, score: Tensor) -> None:
        """First use: the empirical quantiles (linear interpolation)."""
        if not self.values:
            levels = torch.tensor(LEVELS, dtype=torch.float64)
            self.values = torch.quantile(score, levels).tolist()

    def read(self, low: float, high: float) -> tuple[float, float]:
        """The nearest tracked levels, in order even where early steps crossed them."""
        ordered = sorted(self.values)
        return ordered[nearest(low)], ordered[nearest(high)]

    def update(self, score: Tensor, gamma: float) -> None:
        q = torch.tensor(self.values, dtype=torch.float64)
        levels = torch.tensor(LEVELS, dtype=torch.float64)
        below = (score[None, :] < q[:, None]).to(torch.float64).mean(1)
        self.values = (q + gamma * (levels - below)).tolist()

    def state_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "levels": [*LEVELS], "values": self.values, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("schema") != SCHEMA:
            raise UserError(f"riskpo: saved state has schema {state.get('schema')}, not {SCHEMA}")
        self.values = [float(value) for value in state["values"]]
        self.steps = int(state["steps"])


def nearest(level: float) -> int:
    """Index of the tracked level nearest to `level`."""
    return min(range(len(LEVELS)), key=lambda i: abs(LEVELS[i] - level))
