"""The shape of a correction, and the importance ratio by token or by response."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

LIMIT = 20.0  # nats
LEVELS = ("token", "sequence", "geometric")


class Correction(Protocol):
    """A factor >= 0 for every token [T]; 0 leaves the token out, of the normaliser too."""

    needs_old: ClassVar[bool]  # the trainer's own log-probabilities at the start of the step

    def __call__(self, log_ratio: Tensor, response: Tensor, /) -> Tensor:
        """`log_ratio` [T]: log of trainer over sampler; `response` [T]: whose token each is, ascending."""
        ...


def ratio(log_ratio: Tensor, response: Tensor, level: str) -> Tensor:
    """The ratio [T] of each token, of its whole response (product), or the product's geometric mean."""
    log_ratio = log_ratio.to(torch.float64)
    if level != "token":
        count = int(response.max()) + 1 if len(response) else 0
        total = torch.zeros(count, dtype=torch.float64).index_add(0, response, log_ratio)
        if level == "geometric":
            total = total / torch.bincount(response, minlength=count).clamp(min=1)
        log_ratio = total[response]
    return log_ratio.clamp(-LIMIT, LIMIT).exp()


def check_level(level: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"level is {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, not '{level}'")
