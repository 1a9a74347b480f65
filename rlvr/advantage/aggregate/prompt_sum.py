from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.advantage.aggregate import counts
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class PromptSum:
    """A sum over each prompt's responses of their token means: 1 / (Q L) (DRPO, arXiv:2510.04474).

    For coefficients that already sum to one over a prompt. L counts kept tokens.
    """

    def __call__(self, scores: Scores, tokens: Tensor) -> Tensor:
        return tokens / (counts.prompts(scores) * counts.tokens_of_response(scores, tokens))
