from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.advantage.filters.overlong import Overlong
from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class Dynamic(Overlong):
    """Drops prompts answered all right or all wrong, and samples again (arXiv:2503.14476).

    Looks at correctness, not at the shaped reward. Prompts with a single response stay. `rounds`
    bounds how often one step may sample again; what is still missing then is trained without.
    """

    rounds: int = 10

    def __call__(self, scores: Scores) -> Tensor:
        right, size = scores.prompt_sum(scores.correct), scores.prompt_size
        mixed = (right > 0) & (right < size)
        return torch.where(size > 1, mixed, size == 1)
