"""The Beta distribution behind BNPO: its fit by moments and the weights it gives."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """Success rates ~ Beta(a, b), concentration nu = a + b; the normaliser is Beta(alpha, beta)."""

    mean: float
    variance: float
    nu: float

    @property
    def a(self) -> float:
        return self.nu * self.mean

    @property
    def b(self) -> float:
        return self.nu * (1 - self.mean)

    @property
    def alpha(self) -> float:
        return max(1 + self.a / 3, 1.0)

    @property
    def beta(self) -> float:
        return max(1 + self.b / 3, 1.0)


def fit(rate: Tensor, most: float, noise: float = 0.0) -> Fit:
    """Method of moments over prompts. rate [Q] in [0, 1]; nu is held at `most`.

    Sampling noise alone gives nu = G - 1, so a larger nu is no evidence: `most` = mean G - 1. It
    also answers zero variance, where the plain formula divides by zero. With one prompt there is no
    variance: nu 0, which is plain centring. nu < 0 (rates at both ends) is reported as found; alpha
    and beta are then 1.
    """
    if len(rate) == 0:
        return Fit(0.0, 0.0, 0.0)
    mean = min(max(float(rate.mean()), 0.0), 1.0)
    if len(rate) == 1:
        return Fit(mean, 0.0, 0.0)
    variance = max(float(rate.var()) - noise, 0.0)
    spread = mean * (1 - mean)
    nu = min(spread / variance - 1, most) if variance > 1e-15 else max(most, 0.0)
    return Fit(mean, variance, nu)


def log_weight(rate: Tensor, alpha: float, beta: float) -> Tensor:
    """-log of the Beta(alpha, beta) density, for rates strictly inside (0, 1)."""
    log_norm = lgamma(alpha) + lgamma(beta) - lgamma(alpha + beta)
    return log_norm - (alpha - 1) * rate.log() - (beta - 1) * (1 - rate).log()
