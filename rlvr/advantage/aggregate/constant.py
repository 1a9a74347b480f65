from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.advantage.aggregate import counts
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class Constant:
    """Every token counts 1 / (N max_tokens), whatever came back (Dr. GRPO, arXiv:2503.20783).

    `max_tokens` is a constant of the run, never the longest response seen: else the step size moves
    with length.
    """

    max_tokens: int = 3000  # the response limit of the paper

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")

    def __call__(self, scores: Scores, tokens: Tensor) -> Tensor:
        return tokens / (counts.responses(scores) * self.max_tokens)
