"""From weights to new weights: the optimiser steps of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rlvr.advantage.weigh import Weights
from rlvr.batch import Batch, Part, Row
from rlvr.loss.clip.inputs import Fitted, Rule, TokenInputs
from rlvr.loss.policy_loss import policy_loss
from rlvr.mismatch import Mismatch
from rlvr.policy import Policy
from rlvr.types import Rollout


@dataclass
class Learned:
    """What happened in the optimiser steps of a batch, for the metrics."""

    loss: float = 0.0
    tokens: int = 0  # response tokens that had a say in a gradient, counted once an optimiser step
    responses: int = 0
    optimizer_steps: int = 0
    grad_norm: float | None = None
    learning_rate: float | None = None
    clipped: float = 0.0
    mismatch: Mismatch = field(
        default_factory=Mismatch
    )  # of the tokens of the first step, before it
    kl: float | None = None  # k3 to the reference, token mean
    clip: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Learner:
    """The settings of the update."""

    policy: Policy
    rule: Any
    kl: Any
    minibatches: int
    epochs: int
    tokens_per_part: int
    temperature: float
    entropy_bonus: float

    def __call__(
        self, rollouts: Sequence[Rollout], weights: Weights, step: int, seed: int
    ) -> Learned:
        """Optimiser steps over the responses that carry weight; none when there are none."""
        regularised = self.kl.needs_reference or self.entropy_bonus != 0
        batch = Batch.of(rollouts, weights.weight, weights.scale.float(), every=regularised)
        learned = Learned(responses=len(batch.rows))
        if self.kl.needs_reference:
            batch = self._with_reference(batch)
        norms = []
        for epoch in range(self.epochs):
            for minibatch in batch.minibatches(self.minibatches, seed + epoch):
                if not minibatch.rows:
                    continue
                cut = minibatch.parts(self.tokens_per_part)
                parts = [part.to(self.policy.device) for part in cut]
                rule = self._fitted(parts, learned)
                for part in parts:
                    self._backward(part, rule, learned)
                norm, learned.learning_rate = self.policy.step(step)
                norms.append(norm)
                learned.optimizer_steps += 1
        if norms:
            learned.grad_norm = sum(norms) / len(norms)
            learned.loss /= len(norms)
            learned.clipped /= max(learned.tokens, 1)
            if learned.kl is not None:
                learned.kl /= max(learned.tokens, 1)
        return learned

    def _backward(self, part: Part, rule: Rule, learned: Learned) -> None:
        result = policy_loss(
            self.policy.hidden(part),
            self.policy.head,
            part,
            rule,
            temperature=self.temperature,
            entropy_bonus=self.entropy_bonus,
            kl=self.kl if self.kl.needs_reference else None,
        )
        result.loss.backward()
        inputs = _inputs(part, result.logp)
        live = part.weight != 0
        learned.loss += float(result.loss.detach())
        learned.tokens += int(live.sum())
        learned.clipped += float((rule.clipped(inputs) & live).sum())
        if not learned.optimizer_steps:
            learned.mismatch.add(result.logp, part.old_logp, live)
        if part.ref_logp is not None:
            d = part.ref_logp - result.logp
            learned.kl = (learned.kl or 0.0) + float(((d.exp() - d - 1) * live).sum())

    def _fitted(self, parts: Sequence[Part], learned: Learned) -> Rule:
        """The rule for this minibatch: BAPO's bounds, DRPO's hinge need all of its ratios first."""
        rule: Rule = self.rule
        if not rule.needs_fit:
            return rule
        inputs = [_inputs(part, self.policy.score(part, self.temperature)[0]) for part in parts]
        rows = 0
        for index, each in enumerate(inputs):
            inputs[index] = replace(each, segment=each.segment + rows)
            rows += int(each.segment.max()) + 1
        whole = TokenInputs(
            **{
                name: torch.cat([getattr(each, name) for each in inputs])
                for name in ("logp", "old_logp", "weight", "scale", "segment")
            }
        )
        fitted: Fitted = self.rule.fit(whole)
        learned.clip = dict(fitted.report)
        return fitted.rule

    def _with_reference(self, batch: Batch) -> Batch:
        """The same rows with the reference policy's log-probabilities [L] each."""
        with self.policy.reference():
            logp, _ = score(self.policy, batch.rows, self.tokens_per_part, self.temperature)
        pieces = logp.split([len(row.tokens) for row in batch.rows])
        return Batch(
            tuple(replace(row, ref_logp=each) for row, each in zip(batch.rows, pieces, strict=True))
        )


def score(
    policy: Policy, rows: Sequence[Row], budget: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of every response token under the policy as it is, [T] in order."""
    chunks: list[list[Row]] = [[]]
    for row in rows:
        if chunks[-1] and sum(each.width for each in chunks[-1]) + row.width > budget:
            chunks.append([])
        chunks[-1].append(row)
    scored = [policy.score(Part.pack(chunk), temperature) for chunk in chunks if chunk]
    if not scored:
        return torch.zeros(0), torch.zeros(0)
    return torch.cat([logp.cpu() for logp, _ in scored]), torch.cat([h.cpu() for _, h in scored])


def _inputs(part: Part, logp: Tensor) -> TokenInputs:
    return TokenInputs(
        logp=logp,
        old_logp=part.old_logp,
        weight=part.weight,
        scale=part.scale,
        segment=part.segment,
        ref_logp=part.ref_logp,
    )
