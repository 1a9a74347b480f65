from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.advantage.scores import Scores
from rlvr.advantage.select.selection import Selection


@dataclass(frozen=True)
class All:
    """Every judged response, every token."""

    needs_entropy: ClassVar[bool] = False

    def __call__(self, scores: Scores, advantage: Tensor, progress: float) -> Selection:
        return Selection(scores.valid, scores.valid[scores.response])
