from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch

from rlvr.advantage.estimate import Estimate
from rlvr.advantage.risk import value
from rlvr.advantage.risk.bundles import draw
from rlvr.advantage.risk.credit import Credit, split
from rlvr.advantage.risk.quantiles import LEVELS, Tracker, nearest
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class RiskPO:
    """The weak end of the scores counts most, over bundles of questions (arXiv:2510.00911).

    Responses to `bundle` questions form virtual exams; an exam's summed reward R gives A = -(1 +
    omega) max(qa - R, 0) + clip(R, qa, qb) - qb, with qa, qb the tracked quantiles at `alpha`,
    `beta`. All responses of an exam share it, so all-wrong questions keep a signal. Not covered:
    the script's habit of taking each bundle's own quantiles.

    `baseline`: "natural" (mastered exams 0, the rest negative), "none" (raised by qb - qa),
    "batch_mean" (mean over the step's exams). `variant = "released"` divides each range by its
    probability and the result by the bundle's spread. `quantiles` fixes qa, qb; otherwise they
    follow the scores at rate `gamma` and are part of the checkpoint. Leftover responses of unequal
    groups get 0; a smaller last bundle is rescaled.
    """

    alpha: float = 0.2
    beta: float = 0.8
    omega: float = 0.5
    bundle: int = 5
    baseline: Literal["natural", "none", "batch_mean"] = "natural"
    variant: Literal["paper", "released"] = "paper"
    credit: Credit = "uniform"
    quantiles: tuple[float, float] | None = None
    gamma: float = 0.1
    permute: bool = True
    seed: int = 0
    tracker: Tracker = field(default_factory=Tracker, init=False, compare=False, repr=False)

    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not 0 < self.alpha < self.beta < 1:
            raise ValueError(f"alpha and beta must be 0 < {self.alpha} < {self.beta} < 1")
        if nearest(self.alpha) == nearest(self.beta):
            raise ValueError("alpha and beta must be at least 0.05 apart")
        if self.bundle < 1:
            raise ValueError(f"bundle must be at least 1, not {self.bundle}")
        if self.quantiles is not None and self.quantiles[0] > self.quantiles[1]:
            raise ValueError(f"quantiles must be in order, not {self.quantiles}")

    def __call__(self, scores: Scores) -> Estimate:
        seed = self.seed * 1_000_003 + self.tracker.steps if self.permute else None
        exams = draw(scores, self.bundle, seed)
        if not len(exams.score):
            self.tracker.steps += 1
            return Estimate(torch.zeros_like(scores.reward), {"exams": 0}, exams.exam)
        at = self._levels(exams.score)
        form = value.released if self.variant == "released" else value.paper
        advantage = form(exams.score, at, self.omega, natural=self.baseline != "none")
        if self.variant == "released":
            advantage = value.over_spread(advantage, exams.score, exams.bundle)
        if self.baseline == "batch_mean":
            advantage = advantage - advantage.mean()
        values = split(self.credit, advantage, scores, exams)
        report = {
            "quantiles": [at.low, at.high],
            "levels": [at.alpha, at.beta],
            "exams": len(exams.score),
            "score_mean": float(exams.score.mean()),
            "leftover": int((scores.valid & (exams.exam < 0)).sum()),
        }
        return Estimate(values, report, exams.exam)

    def _levels(self, score: torch.Tensor) -> value.Levels:
        """The quantiles to use now; the tracker learns from these scores afterwards."""
        self.tracker.steps += 1
        if self.quantiles is not None:
            return value.Levels(self.alpha, self.beta, *self.quantiles)
        first = not self.tracker.values
        self.tracker.start(score)
        low, high = self.tracker.read(self.alpha, self.beta)
        if not first:
            self.tracker.update(score, self.gamma)
        return value.Levels(LEVELS[nearest(self.alpha)], LEVELS[nearest(self.beta)], low, high)

    def state_dict(self) -> dict[str, Any]:
        return {**self.tracker.state_dict(), "bundle": self.bundle}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Quantiles of another bundle size say nothing here: then tracking starts anew."""
        self.tracker.load_state_dict(state)
        if state["bundle"] != self.bundle:
            self.tracker.values = []
