from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlvr.advantage.aggregate import counts
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class SequenceSum:
    """A sum over each response, a mean over responses: 1 / N (BNPO's released script).

    The loss grows with the length of responses: the learning rate must be chosen for it.
    """

    def __call__(self, scores: Scores, tokens: Tensor) -> Tensor:
        return tokens / counts.responses(scores)
