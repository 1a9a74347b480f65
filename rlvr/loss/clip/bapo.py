from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from rlvr.loss.clip.contribution import Contribution, candidates
from rlvr.loss.clip.inputs import Fitted, TokenInputs
from rlvr.loss.clip.ratio import check_bounds, log_ratio
from rlvr.loss.clip.within import TokenRatio, Within


@dataclass(frozen=True)
class BAPO(TokenRatio):
    """Ratio bounds searched a minibatch, so that positives carry a share (arXiv:2510.18927).

    Starting at [low_start, high_start] the bounds are raised in steps until positive tokens carry
    `target` of the surrogate; what is reached when the steps run out is used. `mode = "active"`
    counts tokens that have a gradient, so both moves raise the share; "surrogate" is the paper's
    literal sum, where raising `low` lowers it. `order = "paper"` raises high first, "released" low
    first. The released `adv_ratio_target` t is target = t / (1 + t); its run is surrogate,
    released. Advantages count, not the aggregation's scale.

    Before any update all ratios are 1 and no bound matters: the search is skipped. Not covered: the
    share as the paper writes it over all possible tokens. Sums are over the tokens given: fit on
    the whole minibatch of all ranks.
    """

    target: float = 0.4
    low_start: float = 0.6
    low_max: float = 0.9
    low_step: float = 0.02
    high_start: float = 1.2
    high_max: float = 3.0
    high_step: float = 0.05
    mode: Literal["active", "surrogate"] = "active"
    order: Literal["paper", "released"] = "paper"
    dual: float | None = 3.0

    needs_fit: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.low_start > self.low_max or self.high_start > self.high_max:
            raise ValueError("low_start and high_start must not be above low_max and high_max")
        if self.low_step <= 0 or self.high_step <= 0:
            raise ValueError("low_step and high_step must be above 0")
        if not 0 <= self.target <= 1:
            raise ValueError(f"target must be in [0, 1], not {self.target}")
        check_bounds(self.low_start, self.high_start, self.dual)
        check_bounds(self.low_max, self.high_max, self.dual)

    @property
    def low(self) -> float:
        return self.low_start

    @property
    def high(self) -> float:
        return self.high_start

    def fit(self, old: TokenInputs) -> Fitted:
        """The bounds for this minibatch. `old.logp` is the current policy's, before the update."""
        live = (old.scale > 0) & (old.weight != 0)
        ratio = log_ratio(old).detach().to(torch.float64).exp()
        advantage = torch.where(live, old.weight / old.scale, 0.0).to(torch.float64)
        lows = candidates(self.low_start, self.low_max, self.low_step)
        highs = candidates(self.high_start, self.high_max, self.high_step)
        found = Contribution.of(ratio, advantage, lows, highs)
        moved = bool((live & ((ratio - 1).abs() >= 1e-6)).any())
        i, j = self._search(found) if moved else (0, 0)
        report = {
            "low": lows[i],
            "high": highs[j],
            "share": found.share(i, j, self.mode),
            "share_active": found.share(i, j, "active"),
            "share_surrogate": found.share(i, j, "surrogate"),
            "steps": i + j,
            "met": found.share(i, j, self.mode) >= self.target - 1e-9,
            "searched": moved,
        }
        return Fitted(Within(lows[i], highs[j], self.dual), report)

    def _search(self, found: Contribution) -> tuple[int, int]:
        """How many steps each bound is raised."""

        def short(i: int, j: int) -> bool:
            return found.share(i, j, self.mode) < self.target - 1e-9

        i = j = 0
        last_low, last_high = len(found.negative["active"]) - 1, len(found.positive["active"]) - 1
        for bound in ("high", "low") if self.order == "paper" else ("low", "high"):
            while short(i, j) and (j < last_high if bound == "high" else i < last_low):
                i, j = (i, j + 1) if bound == "high" else (i + 1, j)
        return i, j
