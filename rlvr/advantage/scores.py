"""What an estimator may look at: rewards and the shape of the step, nothing of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from rlvr.types import Group

FLAT = 1e-8  # a group whose rewards differ by no more than this teaches nothing


@dataclass(frozen=True)
class Scores:
    """One step's responses in flat, ragged form. N responses, Q prompts, T tokens; all on the CPU.

    Statistics go over `valid` responses only. Groups may have any size and need not be adjacent.
    `unit` numbers the responses a selection must keep or drop together (-1: none); None means each
    by itself.
    """

    reward: Tensor  # [N] float64, 0 where not valid
    correct: Tensor  # [N] bool, the verifier's word, never shaped
    group: Tensor  # [N] int64, prompt index 0..Q-1
    length: Tensor  # [N] int64, response tokens including the end of sequence
    valid: Tensor  # [N] bool, False: broken verdict or filtered out; advantage 0, never kept
    prompts: int  # Q
    truncated: Tensor  # [N] bool
    logprob: Tensor | None = None  # [T] of the old policy, responses laid end to end
    sampled: Tensor | None = None  # [T] of the policy that wrote them, as the sampler says
    entropy: Tensor | None = None  # [T] of the old policy, nats
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # component rewards, [N] each
    unit: Tensor | None = None  # [N] int64

    @classmethod
    def of(
        cls,
        groups: Sequence[Group],
        *,
        logprob: Tensor | None = None,
        entropy: Tensor | None = None,
    ) -> Scores:
        """From judged groups, in order. A rollout without a verdict is a ValueError.

        `logprob` [T] replaces the sampler's log-probabilities where the trainer computed its own.
        """
        rollouts = [(q, rollout) for q, group in enumerate(groups) for rollout in group.rollouts]
        verdicts = [rollout.verdict for _, rollout in rollouts]
        judged = [verdict for verdict in verdicts if verdict is not None]
        if len(judged) != len(rollouts):
            raise ValueError("every rollout needs a verdict before it can be scored")
        sampled = torch.cat([rollout.logprobs for _, rollout in rollouts]) if rollouts else None
        names = dict.fromkeys(name for verdict in judged for name in verdict.parts)
        return cls(
            reward=torch.tensor([v.reward or 0.0 for v in judged], dtype=torch.float64),
            correct=torch.tensor([v.correct for v in judged], dtype=torch.bool),
            group=torch.tensor([q for q, _ in rollouts], dtype=torch.int64),
            length=torch.tensor([rollout.length for _, rollout in rollouts], dtype=torch.int64),
            valid=torch.tensor([v.reward is not None for v in judged], dtype=torch.bool),
            prompts=len(groups),
            truncated=torch.tensor([r.truncated for _, r in rollouts], dtype=torch.bool),
            logprob=sampled if logprob is None else logprob,
            sampled=sampled,
            entropy=entropy,
            parts={
                name: torch.tensor([v.parts.get(name, 0.0) for v in judged], dtype=torch.float64)
                for name in names
            },
        )

    def keeping(self, mask: Tensor) -> Scores:
        """The same step with fewer valid responses. mask [N] bool."""
        valid = self.valid & mask
        return replace(self, valid=valid, reward=torch.where(valid, self.reward, 0.0))

    # sums over a prompt's valid responses, [Q]

    def prompt_sum(self, x: Tensor) -> Tensor:
        masked = torch.where(self.valid, x.to(torch.float64), 0.0)
        return torch.zeros(self.prompts, dtype=torch.float64).index_add(0, self.group, masked)

    @cached_property
    def prompt_size(self) -> Tensor:
        """[Q] valid responses of each prompt."""
        return self.prompt_sum(torch.ones_like(self.reward))

    def prompt_mean(self, x: Tensor) -> Tensor:
        """[Q], 0 for a prompt without valid responses."""
        return self.prompt_sum(x) / self.prompt_size.clamp(min=1)

    # the same, given back to each response, [N]

    def group_sum(self, x: Tensor) -> Tensor:
        return self.prompt_sum(x)[self.group]

    def group_mean(self, x: Tensor) -> Tensor:
        return self.prompt_mean(x)[self.group]

    def group_std(self, x: Tensor, *, unbiased: bool = True) -> Tensor:
        """Spread inside the group; 0 for a single response."""
        squares = self.group_sum((x - self.group_mean(x)) ** 2)
        return (squares / (self.group_size - int(unbiased)).clamp(min=1)).sqrt()

    @cached_property
    def group_size(self) -> Tensor:
        """[N] float64."""
        return self.prompt_size[self.group]

    @cached_property
    def single(self) -> Tensor:
        """[N] bool: the only valid response to its prompt."""
        return self.group_size == 1

    @cached_property
    def degenerate(self) -> Tensor:
        """[N] bool: all valid rewards of the group are the same (a single response included)."""
        return self.spread(self.reward) <= FLAT

    @cached_property
    def informative(self) -> Tensor:
        """[N] bool: valid, in a group that shows a difference."""
        return self.valid & ~self.degenerate

    def spread(self, x: Tensor) -> Tensor:
        """Largest minus smallest value in the group, [N]."""
        high, low = (self._extreme(x, how) for how in ("amax", "amin"))
        return torch.where(self.group_size > 0, high - low, 0.0)

    def _extreme(self, x: Tensor, how: str) -> Tensor:
        none = float("-inf") if how == "amax" else float("inf")
        masked = torch.where(self.valid, x.to(torch.float64), none)
        start = torch.full((self.prompts,), none, dtype=torch.float64)
        extreme = start.scatter_reduce(0, self.group, masked, how)
        return torch.where(extreme.isfinite(), extreme, 0.0)[self.group]

    # tokens

    @cached_property
    def response(self) -> Tensor:
        """[T] int64: the response each token belongs to."""
        return torch.repeat_interleave(torch.arange(len(self.length)), self.length)

    def token_mean(self, x: Tensor) -> Tensor:
        """Mean over each response's tokens, [N], 0 for an empty response. x [T]."""
        total = torch.zeros(len(self.length), dtype=torch.float64)
        return total.index_add(0, self.response, x.to(torch.float64)) / self.length.clamp(min=1)
