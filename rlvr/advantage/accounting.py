"""Where a step's tokens went: what trains, and what does not and why."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores
from rlvr.advantage.weigh import Weights


def waste(scores: Scores, weights: Weights) -> dict[str, float | int | None]:
    """Sampled tokens by fate; every token is counted once, under the first cause that holds.

    `per_informative` is tokens sampled for each token that carries a weight (None when none does).
    """
    live = torch.zeros(len(scores.length), dtype=torch.bool)
    live[scores.response[weights.weight != 0]] = True
    judged = scores.valid
    right = scores.prompt_sum(scores.correct)[scores.group]
    causes = (
        ("broken", ~judged),
        ("single", judged & scores.single & ~live),
        ("all_right", judged & (right == scores.group_size) & ~live),
        ("all_wrong", judged & (right == 0) & ~live),
        ("dropped", judged & ~weights.kept),
        ("no_advantage", judged & ~live),
    )
    left = torch.ones(len(scores.length), dtype=torch.bool)
    counts: dict[str, float | int | None] = {"sampled": int(scores.length.sum())}
    for name, mask in causes:
        counts[name] = int(scores.length[left & mask].sum())
        left = left & ~mask
    trained = int((weights.weight != 0).sum())
    counts["unselected"] = int(scores.length[left].sum()) - trained
    counts["trained"] = trained
    counts["per_informative"] = int(scores.length.sum()) / trained if trained else None
    return counts


def effective(weights: Weights, scores: Scores) -> dict[str, float]:
    """Kept shares, and the effective sample size (sum |w|)^2 / sum w^2 of responses and tokens."""
    judged = int(scores.valid.sum())
    kept = weights.advantage[weights.kept]
    return {
        "kept_share": int(weights.kept.sum()) / max(judged, 1),
        "zero_advantage_share": float((kept == 0).double().mean()) if len(kept) else 0.0,
        "effective_responses": _effective(kept),
        "effective_tokens": _effective(weights.weight.double()),
    }


def _effective(x: Tensor) -> float:
    squares = float((x**2).sum())
    return float(x.abs().sum()) ** 2 / squares if squares > 0 else 0.0
