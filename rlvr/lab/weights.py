"""One batch through the stages: weights, the clip's bounds, and diagnostics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlvr.advantage.accounting import effective, waste
from rlvr.advantage.filters.overlong import shaped
from rlvr.advantage.scores import Scores
from rlvr.advantage.weigh import Weights, weigh
from rlvr.errors import UserError
from rlvr.lab.saved import Batch
from rlvr.lab.stages import Stages
from rlvr.loss.clip.inputs import TokenInputs, clip_fraction


@dataclass(frozen=True)
class Weighed:
    """What the stages made of a batch."""

    batch: Batch
    scores: Scores  # as the filter shaped them
    keep: Tensor  # [Q] the filter's word
    weights: Weights
    report: dict[str, Any]


def through(batch: Batch, stages: Stages, progress: float = 1.0, problems: int = 0) -> Weighed:
    """Everything the stages say of a batch. Raises UserError when a stage lacks an array.

    `problems` > 0 drops prompts beyond so many that the filter kept, as a refilled step does.
    """
    _check_lengths(batch, stages["advantage"], stages.resolved.stages["advantage"].name)
    scores = shaped(stages["filter"], batch.scores)
    keep = stages["filter"](scores)
    if problems:
        keep = keep & (keep.cumsum(0) <= problems)
    weights = weigh(
        scores,
        stages["advantage"],
        stages["select"],
        stages["aggregate"],
        progress,
        keep,
        _correction(batch, stages),
    )
    report = {
        "advantage": dict(weights.report["advantage"]),
        "clip": _clip(batch, weights, stages["clip"]),
        "select": dict(weights.report["select"]),
        "correct": dict(weights.report["correct"]),
        "summary": {
            "responses": len(scores.reward),
            "prompts": scores.prompts,
            "prompts_filtered": int((~keep).sum()),
            **effective(weights, scores),
            "tokens": waste(scores, weights),
        },
    }
    return Weighed(batch, scores, keep, weights, report)


def _correction(batch: Batch, stages: Stages) -> Any:
    """The correction, where one is chosen. Raises UserError when the file does not say what it weighs."""
    if not stages["correct"].needs_old:
        return None
    for each in batch.responses:
        if each.tokens and each.reward is not None and each.arrays["trainer_logprobs"] is None:
            name = stages.resolved.stages["correct"].name
            raise UserError(f"line {each.line}: no trainer_logprobs, which correct {name} needs")
    return stages["correct"]


def _check_lengths(batch: Batch, estimator: object, name: str) -> None:
    if "length" not in getattr(estimator, "needs", ()):
        return
    for each in batch.responses:
        if each.reward is not None and each.tokens is None:
            raise UserError(f"line {each.line}: no tokens, which {name} needs")


def _clip(batch: Batch, weights: Weights, rule: Any) -> dict[str, Any]:
    """Bounds, and what they would clip at the saved ratios (all 1 without log-probabilities)."""
    response = batch.scores.response
    scale = weights.scale
    zeros = torch.zeros_like(scale)
    logp = batch.logp if batch.logp is not None else zeros
    old = batch.old_logp if batch.logp is not None and batch.old_logp is not None else logp
    tokens = TokenInputs(
        logp=logp,
        old_logp=old,
        weight=weights.advantage[response] * scale * weights.factor,
        scale=scale,
        segment=response,
    )
    report: dict[str, Any] = {}
    if rule.needs_fit:
        fitted = rule.fit(tokens)
        rule, report = fitted.rule, dict(fitted.report)
    bounds = {"low": getattr(rule, "low", None), "high": getattr(rule, "high", None)}
    return {**bounds, **report, "clip_fraction": float(clip_fraction(rule, tokens))}


def rows(weighed: Weighed) -> list[dict[str, Any]]:
    """One object a response, in the order of the file."""
    batch, weights = weighed.batch, weighed.weights
    weight = weights.advantage[batch.scores.response] * weights.scale * weights.factor
    per_token = (weight + 0.0).split(batch.scores.length.tolist())
    advantages, kept = (weights.advantage + 0.0).tolist(), weights.kept.tolist()
    return [
        {
            **({"step": each.step} if each.step is not None else {}),
            "prompt": each.prompt,
            "advantage": advantages[i],
            "kept": kept[i],
            "weights": per_token[i].tolist() if each.tokens is not None else None,
        }
        for i, each in enumerate(batch.responses)
    ]
