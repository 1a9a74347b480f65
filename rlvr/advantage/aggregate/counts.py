"""The three counts that normalisers are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores


def responses(scores: Scores) -> Tensor:
    """Kept responses, zero-advantage and empty ones too; at least 1."""
    return scores.valid.sum().clamp(min=1).to(torch.float64)


def prompts(scores: Scores) -> Tensor:
    """Prompts with a kept response; at least 1."""
    return (scores.prompt_size > 0).sum().clamp(min=1).to(torch.float64)


def tokens_of_response(scores: Scores, tokens: Tensor) -> Tensor:
    """[T] float64: kept tokens of the response each token belongs to; at least 1."""
    counts = torch.zeros(len(scores.length), dtype=torch.float64)
    counts = counts.index_add(0, scores.response, tokens.to(torch.float64))
    return counts.clamp(min=1)[scores.response]
