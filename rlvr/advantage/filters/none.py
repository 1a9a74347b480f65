from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rlvr.advantage.filters.overlong import Overlong
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class NoFilter(Overlong):
    """Every prompt that has a judged response; rewards shaped only when `overlong` says so."""

    rounds: ClassVar[int] = 0

    def __call__(self, scores: Scores) -> Tensor:
        return scores.prompt_size > 0
