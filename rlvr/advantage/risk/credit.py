"""How an exam's advantage is split over its responses.

Only `uniform` is in the paper; the others are in its scripts.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlvr.advantage.risk.bundles import Exams
from rlvr.advantage.scores import Scores

Credit = Literal["uniform", "score", "std", "share"]


def split(how: Credit, value: Tensor, scores: Scores, exams: Exams) -> Tensor:
    """Value [E] to each response [N]; 0 for a response in no exam."""
    seated = exams.exam >= 0
    exam = exams.exam.clamp(min=0)
    each = value[exam] if len(value) else torch.zeros_like(scores.reward)
    if how == "score":
        each = each * torch.where(scores.reward > 0, 0.5, 1.5)
    elif how == "std":
        std = scores.group_std(scores.reward)
        each = each / torch.where(std < 1e-3, 1.0, std)
    elif how == "share":
        each = _share(value, scores, exams, exam)
    return torch.where(seated, each, 0.0)


def _share(value: Tensor, scores: Scores, exams: Exams, exam: Tensor) -> Tensor:
    """In proportion to each response's distance d from its question's mean.

    Evenly instead where the distances sum to less than 0.1 or against the sign of the advantage:
    there the script would punish the only right answer of an exam.
    """
    distance = scores.reward - scores.group_mean(scores.reward)
    seated = exams.exam >= 0
    total = torch.zeros_like(value).index_add(0, exam[seated], distance[seated])
    safe = (total.abs() >= 0.1) & (total.sign() == value.sign())
    even = value / exams.size
    shared = value / torch.where(safe, total, 1.0)
    return torch.where(safe[exam], shared[exam] * distance, even[exam])
