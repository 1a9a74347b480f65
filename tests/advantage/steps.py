"""Small steps to try estimators on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from rlvr.advantage.estimate import Estimate
from rlvr.advantage.scores import Scores

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def step(
    *groups: Sequence[float | None],
    lengths: Sequence[int] | None = None,
    logprob: Sequence[float] | None = None,
    entropy: Sequence[float] | None = None,
    correct: Sequence[bool] | None = None,
    truncated: Sequence[bool] | None = None,
) -> Scores:
    """Groups of rewards as Scores; None is a broken verdict. Lengths default to one token each."""
    flat = [r for group in groups for r in group]
    n = len(flat)
    reward = torch.tensor([r or 0.0 for r in flat], dtype=torch.float64)
    return Scores(
        reward=reward,
        correct=reward > 0 if correct is None else torch.tensor(correct),
        group=torch.tensor([q for q, g in enumerate(groups) for _ in g], dtype=torch.int64),
        length=torch.tensor([1] * n if lengths is None else lengths, dtype=torch.int64),
        valid=torch.tensor([r is not None for r in flat], dtype=torch.bool),
        prompts=len(groups),
        truncated=torch.tensor([False] * n if truncated is None else truncated, dtype=torch.bool),
        logprob=None if logprob is None else torch.tensor(logprob, dtype=torch.float64),
        entropy=None if entropy is None else torch.tensor(entropy, dtype=torch.float64),
    )


def values(estimate: object) -> list[float]:
    """An estimator's numbers, whether or not a report comes with them."""
    tensor = estimate.values if isinstance(estimate, Estimate) else estimate
    assert isinstance(tensor, torch.Tensor)
    return tensor.tolist()
