"""One response of a run, from its reward to the coefficient of every token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlvr import checkpoint, config
from rlvr.errors import UserError
from rlvr.lab import saved
from rlvr.lab.stages import STAGES, Stages, choose
from rlvr.lab.weights import Weighed, through
from rlvr.loss.clip.inputs import TokenInputs


@dataclass(frozen=True)
class Token:
    """One token's factors: coefficient = advantage x scale x factor x clip_factor = -dLoss/dlogp."""

    id: int | None
    text: str | None
    logprob: float | None  # of the policy that wrote it
    ratio: float  # new / old where the run saved both, else 1: before the first update
    kept: bool
    scale: float
    factor: float  # of a correction, trainer over sampler; 1 without one
    weight: float
    clip_factor: float
    coefficient: float


@dataclass(frozen=True)
class Explanation:
    """Every factor of one response, recomputed from the run's own files."""

    step: int
    response: int
    saved: saved.Saved
    stages: Mapping[str, str]
    group: Mapping[str, Any]
    advantage: float
    recorded: float | None
    kept: bool
    tokens: tuple[Token, ...]
    report: Mapping[str, Any]

    @property
    def adds_up(self) -> bool:
        """The run recorded the same (its log-probabilities are saved rounded)."""
        if self.recorded is None:
            return True
        same = abs(self.recorded - self.advantage) <= 1e-4 * max(1.0, abs(self.advantage))
        return same and self.saved.raw.get("kept", self.kept) == self.kept


def explain(run: Path, rollouts: Path, step: int, response: int) -> Explanation:
    """Replay the run's steps up to `step`, so that stages that learn are where they were then.

    Raises UserError when the run has no such step or response.
    """
    recipe = config.read_recipe(run / "config.toml")
    stages = choose({}, {key: value for key, value in recipe.items() if key in STAGES})
    horizon = max(_horizon(run, recipe) - 1, 1)
    problems = int(_top(recipe, "problems", 0)) + int(_top(recipe, "replay", 0))
    learns = hasattr(stages["advantage"], "load_state_dict")
    for batch in saved.batches(rollouts):
        if batch.step is None:
            raise UserError(f"{rollouts} is not a run's: its lines have no step")
        if batch.step == step or learns:
            progress = min((batch.step - 1) / horizon, 1.0)
            weighed = through(batch, stages, progress, problems)
            if batch.step == step:
                return _of(weighed, stages, run, step, response)
    raise UserError(f"{run} has no rollouts of step {step}")


def _horizon(run: Path, recipe: Mapping[str, Any]) -> int:
    """Steps the run was launched with, which its schedules keep when it is made longer."""
    folder = run / "checkpoints"
    for step in checkpoint.steps(folder):
        state = json.loads((folder / f"step-{step}" / "state.json").read_text())
        return int(state["horizon"])
    return int(_top(recipe, "steps", 1))


def _top(recipe: Mapping[str, Any], key: str, default: int) -> Any:
    return recipe.get(key, {}).get("name", default)


def _of(weighed: Weighed, stages: Stages, run: Path, step: int, response: int) -> Explanation:
    places = {
        each.index if each.index >= 0 else i: i for i, each in enumerate(weighed.batch.responses)
    }
    if response not in places:
        raise UserError(f"step {step} has responses 0..{max(places)}, not {response}")
    place = places[response]
    record, scores = weighed.batch.responses[place], weighed.scores
    members = (scores.group == scores.group[place]) & scores.valid
    rewards = scores.reward[members]
    group = {
        "problem": record.prompt,
        "responses": int(members.sum()),
        "right": int(scores.correct[members].sum()),
        "reward_mean": float(rewards.mean()) if len(rewards) else None,
        "reward_std": float(rewards.std()) if len(rewards) > 1 else 0.0,
        "filter_keeps": bool(weighed.keep[scores.group[place]]),
        "shaped_reward": float(scores.reward[place]),
    }
    recorded = record.raw.get("advantage")
    return Explanation(
        step=step,
        response=response,
        saved=record,
        stages={name: stages.resolved.stages[name].name for name in STAGES},
        group=group,
        advantage=float(weighed.weights.advantage[place]) + 0.0,
        recorded=None if recorded is None else float(recorded),
        kept=bool(weighed.weights.kept[place]),
        tokens=_tokens(weighed, stages["clip"], place, run),
        report=weighed.report,
    )


def _tokens(weighed: Weighed, rule: Any, place: int, run: Path) -> tuple[Token, ...]:
    batch, weights = weighed.batch, weighed.weights
    where = batch.scores.response == place
    weight = weights.advantage[batch.scores.response] * weights.scale * weights.factor
    logp = batch.logp if batch.logp is not None else torch.zeros_like(weight)
    old = batch.old_logp if batch.old_logp is not None else logp
    coefficient = _coefficient(rule, logp, old, weight, weights.scale, batch.scores.response)
    ratio = (logp - old).exp()
    record = batch.responses[place]
    ids: list[int | None] = record.raw.get("token_ids") or [None] * int(where.sum())
    shown = logp[where].tolist() if batch.logp is not None else [None] * len(ids)
    given = (ratio, weights.scale, weights.factor, weight, coefficient)
    columns = [each[where] for each in given]
    rows = zip(ids, _pieces(run, ids), shown, *(c.tolist() for c in columns), strict=True)
    return tuple(
        Token(
            id=token,
            text=piece,
            logprob=logprob,
            ratio=r,
            kept=scale > 0,
            scale=scale,
            factor=factor,
            weight=w + 0.0,
            clip_factor=c / w if w else 0.0,
            coefficient=c + 0.0,
        )
        for token, piece, logprob, r, scale, factor, w, c in rows
    )


def _coefficient(
    rule: Any, logp: Tensor, old: Tensor, weight: Tensor, scale: Tensor, response: Tensor
) -> Tensor:
    """[T] minus the derivative of the loss by each log-probability, by autograd of the rule."""
    leaf = logp.clone().requires_grad_()
    tokens = TokenInputs(leaf, old, weight, scale, response)
    rule = rule.fit(tokens).rule if rule.needs_fit else rule
    (slope,) = torch.autograd.grad(rule(tokens).sum(), leaf)
    return -slope


def _pieces(run: Path, ids: Sequence[int | None]) -> Sequence[str | None]:
    """Each token's text, by the tokenizer of a checkpoint; None without one."""
    files = sorted(run.glob("checkpoints/*/tokenizer.json"))
    if not files:
        return [None] * len(ids)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files[-1]))
    return [
        None if each is None else tokenizer.decode([each], skip_special_tokens=False)
        for each in ids
    ]
