from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rlvr.advantage.scores import Scores
from rlvr.advantage.select.selection import Selection
from rlvr.advantage.select.variance import most_varied
from rlvr.errors import UserError


@dataclass(frozen=True)
class D3S:
    """Responses whose advantages vary most, then tokens of largest |A| H (arXiv:2509.22115).

    Over the whole step (`mode = "cross"`) or inside each prompt ("intra"), max(2, round(samples N))
    responses are kept; of their tokens the top `tokens` share, over the step (`scope = "batch"`) or
    in each response. Both shares move linearly from `*_start` to their end over the run. Nothing is
    normalised again.

    The paper does not give its shares: the defaults are ours. Responses that came as a unit
    (RiskPO's exams) are kept or dropped together. Entropies are the old policy's; where they are
    all 0, tokens are drawn at random.
    """

    samples: float = 0.5
    tokens: float = 0.5
    samples_start: float = 0.25
    tokens_start: float = 0.1
    mode: Literal["cross", "intra"] = "cross"
    scope: Literal["batch", "response"] = "batch"

    def __post_init__(self) -> None:
        for name in ("samples", "tokens", "samples_start", "tokens_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {getattr(self, name)}")

    @property
    def needs_entropy(self) -> bool:
        return min(self.tokens, self.tokens_start) < 1

    def shares(self, progress: float) -> tuple[float, float]:
        """Share of responses and of tokens at this point of the run."""
        p = min(max(progress, 0.0), 1.0)
        return (
            (1 - p) * self.samples_start + p * self.samples,
            (1 - p) * self.tokens_start + p * self.tokens,
        )

    def __call__(self, scores: Scores, advantage: Tensor, progress: float) -> Selection:
        samples, share = self.shares(progress)
        keep = self._responses(scores, advantage, samples)
        tokens = keep[scores.response]
        if share < 1:
            tokens = self._tokens(scores, advantage, tokens, share)
        selected = advantage[keep]
        return Selection(
            keep,
            tokens,
            {
                "responses": int(scores.valid.sum()),
                "kept_responses": int(keep.sum()),
                "tokens": int(scores.length[scores.valid].sum()),
                "kept_tokens": int(tokens.sum()),
                "samples_share": samples,
                "tokens_share": share,
                "advantage_mean": float(selected.mean()) if len(selected) else 0.0,
                "advantage_variance": float(selected.var(correction=0)) if len(selected) else 0.0,
            },
        )

    def _responses(self, scores: Scores, advantage: Tensor, share: float) -> Tensor:
        rows = scores.valid if scores.unit is None else scores.valid & (scores.unit >= 0)
        rows = rows.nonzero().squeeze(1)
        keep = torch.zeros_like(scores.valid)
        if not len(rows):
            return keep
        if self.mode == "intra" and scores.unit is None:
            group = scores.group[rows]
            keep[rows] = most_varied(advantage[rows], group, lambda n: _wanted(share, n))
        elif scores.unit is None:
            keep[rows] = most_varied(
                advantage[rows], torch.zeros_like(rows), lambda n: _wanted(share, n)
            )
        else:
            _, unit = scores.unit[rows].unique(return_inverse=True)
            count = torch.bincount(unit)
            mean = torch.zeros(len(count), dtype=torch.float64)
            mean = mean.index_add(0, unit, advantage[rows]) / count
            chosen = most_varied(mean, torch.zeros_like(count), lambda n: _wanted(share, n))
            keep[rows] = chosen[unit]
        return keep

    def _tokens(self, scores: Scores, advantage: Tensor, tokens: Tensor, share: float) -> Tensor:
        if scores.entropy is None:
            raise UserError("d3s with tokens below 1 needs the old policy's entropies")
        rows = tokens.nonzero().squeeze(1)
        kept = torch.zeros_like(tokens)
        key = advantage[scores.response[rows]].abs() * scores.entropy[rows].to(torch.float64)
        if self.scope == "batch":
            kept[rows] = _top(key, _ceil(share * len(rows)))
            return kept
        response = scores.response[rows]
        order = key.argsort(descending=True, stable=True)
        order = order[response[order].argsort(stable=True)]  # by response, largest key first
        length = torch.bincount(response, minlength=len(scores.length))
        rank = torch.arange(len(rows)) - (length.cumsum(0) - length)[response[order]]
        wanted = (share * length.to(torch.float64) - 1e-9).ceil()[response[order]]
        kept[rows[order]] = rank < wanted
        return kept


def _wanted(share: float, n: int) -> int:
    return min(max(2, round(share * n)), n)


def _ceil(x: float) -> int:
    return max(math.ceil(x - 1e-9), 0)  # 0.55 * 100 is 55, not 55.00000000000001


def _top(key: Tensor, count: int) -> Tensor:
    """[M] bool: the `count` largest; equal ones by position, zeros at random but repeatably."""
    if count >= len(key):
        return torch.ones(len(key), dtype=torch.bool)
    if count == 0:
        return torch.zeros(len(key), dtype=torch.bool)
    threshold = key.kthvalue(len(key) - count + 1).values
    above, ties = key > threshold, (key == threshold).nonzero().squeeze(1)
    if float(threshold) == 0:
        ties = ties[torch.randperm(len(ties), generator=torch.Generator().manual_seed(len(key)))]
    above[ties[: count - int(above.sum())]] = True
    return above
