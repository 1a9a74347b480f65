"""How far the policy that is trained is from the one that wrote the tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

EXTREME = 0.6931471805599453  # log 2: a ratio outside [1/2, 2]


@dataclass
class Mismatch:
    """Sums over tokens, so that parts of a batch add up."""

    tokens: int = 0
    gap: float = 0.0  # |log trainer - log sampler|
    kl: float = (
        0.0  # k3 of the sampler's law from the trainer's: r - 1 - log r, r = trainer / sampler
    )
    extreme: int = 0

    def add(self, trainer: Tensor, sampler: Tensor, counted: Tensor) -> None:
        """Log-probabilities [T] of the same tokens; `counted` [T] bool."""
        moved = (trainer - sampler).double()[counted]
        self.tokens += len(moved)
        self.gap += float(moved.abs().sum())
        self.kl += float((moved.clamp(-20, 20).exp() - 1 - moved).sum())
        self.extreme += int((moved.abs() > EXTREME).sum())

    def report(self) -> dict[str, float | None]:
        """Means over tokens; null without any."""
        means = {
            "sampler_gap": self.gap,
            "mismatch_kl": self.kl,
            "mismatch_extreme": float(self.extreme),
        }
        return {name: total / self.tokens if self.tokens else None for name, total in means.items()}
