from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.advantage.aggregate import counts
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class SequenceMean:
    """Every response counts the same: 1 / (N L) (GRPO's own, arXiv:2402.03300).

    A token of a long response weighs less than one of a short response. L counts kept tokens.
    """

    def __call__(self, scores: Scores, tokens: Tensor) -> Tensor:
        return tokens / (counts.responses(scores) * counts.tokens_of_response(scores, tokens))
