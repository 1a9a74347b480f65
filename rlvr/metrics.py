"""The numbers of one step, as metrics.jsonl has them: finite, or null where they do not apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rlvr.advantage.accounting import effective, waste
from rlvr.advantage.scores import Scores
from rlvr.clock import Clock
from rlvr.learn import Learned
from rlvr.types import Group

if TYPE_CHECKING:
    from rlvr.gather import Gathered
    from rlvr.job import Job, Weighed


def of_step(
    job: Job, gathered: Gathered, weighed: Weighed, learned: Learned, clock: Clock
) -> dict[str, Any]:
    """One object for metrics.jsonl."""
    scores, weights = Scores.of(gathered.groups), weighed.weights
    fresh = gathered.groups[: gathered.fresh]
    mismatch = weighed.mismatch or learned.mismatch
    reports = {
        "advantage": weights.report.get("advantage", {}),
        "select": weights.report.get("select", {}),
        "correct": weights.report.get("correct", {}),
        "clip": learned.clip,
        "budget": getattr(job.budget, "report", dict)(),
        "tokens": waste(scores, weights),
        "weights": effective(weights, scores),
    }
    return {
        "kind": "step",
        "step": job.step,
        **_sampled(fresh, Scores.of(fresh)),
        "filtered_groups": int((~gathered.keep).sum()),
        "kl": learned.kl,
        "clip_fraction": learned.clipped if learned.optimizer_steps else None,
        "grad_norm": learned.grad_norm,
        **mismatch.report(),
        "tokens_cancelled": gathered.cancelled,
        "replayed_groups": len(gathered.groups) - gathered.fresh,
        **_ages(gathered.groups, job.step),
        "responses_trained": learned.responses,
        "tokens_trained": learned.tokens,
        "optimizer_steps": learned.optimizer_steps,
        "policy_version": job.step,
        "learning_rate": learned.learning_rate,
        **{
            f"{stage}_{key}": value
            for stage, report in reports.items()
            for key, value in flat(report)
        },
        **(job.shadow.metrics() if job.shadow else {}),
        "seconds": clock.total,
        **{
            f"seconds_{name}": clock.seconds[name] for name in ("sample", "verify", "learn", "sync")
        },
    }


def _sampled(groups: Sequence[Group], scores: Scores) -> dict[str, Any]:
    """What was sampled and how it was judged, before anything was dropped."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    judged = max(int(scores.valid.sum()), 1)
    tokens = sum(rollout.length for rollout in rollouts)
    informative = scores.group[scores.informative].unique()
    return {
        "reward_mean": float(scores.reward.sum()) / judged,
        "correct_rate": float((scores.correct & scores.valid).sum()) / judged,
        "informative_groups": len(informative) / max(len(groups), 1),
        # the mean of -log p over sampled tokens estimates the policy's entropy without bias
        "entropy": -sum(float(each.logprobs.sum()) for each in rollouts) / max(tokens, 1),
        "response_tokens_mean": tokens / max(len(rollouts), 1),
        "truncated_rate": sum(each.truncated for each in rollouts) / max(len(rollouts), 1),
        "broken_verdicts": len(rollouts) - int(scores.valid.sum()),
        "responses": len(rollouts),
        "tokens_sampled": tokens,
    }


def _ages(groups: Sequence[Group], step: int) -> dict[str, float]:
    """Steps between the version that wrote a response and the one it trains; 0 on-policy."""
    ages = [step - 1 - rollout.version for group in groups for rollout in group.rollouts]
    return {"staleness_mean": sum(ages) / max(len(ages), 1), "staleness_max": max(ages, default=0)}


def flat(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers of a nested report by joined names; lists stay lists, words are left out."""
    for key, value in report.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}_")
        elif value is None or isinstance(value, Real):
            yield name, value
        elif isinstance(value, Tensor):
            yield name, value.item() if value.numel() == 1 else value.tolist()
        elif isinstance(value, list | tuple) and all(isinstance(each, Real) for each in value):
            yield name, list(value)
