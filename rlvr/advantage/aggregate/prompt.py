from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.advantage.aggregate import counts
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class PromptMean:
    """Every prompt counts the same: 1 / (Q G L), whatever the size of its group.

    For unequal groups (knapsack, selection). With equal groups it is `sequence`.
    """

    def __call__(self, scores: Scores, tokens: Tensor) -> Tensor:
        return tokens / (
            counts.prompts(scores)
            * scores.group_size.clamp(min=1)[scores.response]
            * counts.tokens_of_response(scores, tokens)
        )
