"""The loss of one part of a batch: a sum over tokens, with its exact gradient.

    loss = sum_t rule_t + kl_t - entropy_bonus * scale_t * H_t

Weights and scales carry every normaliser, so the losses of any parts of a batch add up to that of
the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlvr.loss.chunks import Chunks
from rlvr.loss.clip.inputs import Rule, TokenInputs
from rlvr.loss.gemm import Gradients, Projection, Workspace
from rlvr.loss.head import Head, token_logprobs
from rlvr.loss.rows import Shape, rows_for

Penalty = Callable[[TokenInputs], Tensor]  # tokens -> [T], the scale multiplied in


class Tokens(Protocol):
    """What is known of T response tokens beforehand; a response's tokens are adjacent."""

    @property
    def tokens(self) -> Tensor: ...  # [T] int64

    @property
    def old_logp(self) -> Tensor: ...  # [T]

    @property
    def weight(self) -> Tensor: ...  # [T] advantage x scale, signed

    @property
    def scale(self) -> Tensor: ...  # [T] >= 0

    @property
    def segment(self) -> Tensor: ...  # [T] int64 response index

    @property
    def ref_logp(self) -> Tensor | None: ...  # [T]


@dataclass(frozen=True)
class LossResult:
    """`loss` carries the gradient; the rest is detached."""

    loss: Tensor  # scalar
    logp: Tensor  # [T]; old_logp on tokens that have no say
    entropy: Tensor  # [T]; 0 on tokens that have no say
    per_token: Tensor  # [T] summands of the loss


@torch.compiler.disable()  # as token_logprobs
def policy_loss(
    hidden: Tensor,
    head: Head,
    inputs: Tokens,
    rule: Rule,
    *,
    temperature: float = 1.0,
    entropy_bonus: float = 0.0,
    kl: Penalty | None = None,
    chunk: int | None = None,
    every: bool = False,
) -> LossResult:
    """Loss of hidden [T, H], the states that predict `inputs.tokens`.

    Where `rule.per_token`, gradients are computed in the forward pass, three products in all, and
    the backward pass only hands them over; other rules need every log-probability first and take
    four. Tokens with weight 0 and scale 0 are left out before the first product, unless `every`
    asks for their log-probability and entropy too; those with no gradient (clipped, say) before the
    others.
    """
    objective = Objective(rule, kl, entropy_bonus)
    old = inputs.old_logp
    known = TokenInputs(
        old, old, inputs.weight, inputs.scale, inputs.segment, ref_logp=inputs.ref_logp
    )
    if every:
        said = torch.arange(len(old), device=old.device)
    else:
        said = ((inputs.weight != 0) | (inputs.scale != 0)).nonzero()[:, 0]
    if rule.per_token:
        shape = Shape(temperature, head.softcap)
        tensors = head.tensors(hidden, inputs.tokens)
        return LossResult(
            *_OnePass.apply(
                inputs.tokens,
                known,
                said,
                objective,
                shape,
                head.dtype,
                chunk,
                torch.is_grad_enabled(),
                *tensors,
            )
        )
    logp, entropy = token_logprobs(
        hidden[said], head, inputs.tokens[said], temperature=temperature, chunk=chunk
    )
    each = objective(_at(known, said, logp), entropy)
    zero = torch.zeros_like(old, dtype=logp.dtype)
    return LossResult(
        each.sum(),
        old.to(logp.dtype).index_copy(0, said, logp.detach()),
        zero.index_copy(0, said, entropy.detach()),
        zero.index_copy(0, said, each.detach().to(logp.dtype)),
    )


@dataclass(frozen=True)
class Objective:
    """A token's summand of the loss, from its log-probability and entropy."""

    rule: Rule
    kl: Penalty | None
    entropy_bonus: float

    def __call__(self, tokens: TokenInputs, entropy: Tensor) -> Tensor:
        """[T]"""
        loss = self.rule(tokens)
        if self.kl is not None:
            loss = loss + self.kl(tokens)
        if self.entropy_bonus:
            loss = loss - self.entropy_bonus * tokens.scale * entropy
        return loss

    def slopes(self, tokens: TokenInputs, entropy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Summands [T], and their derivatives by log-probability [T] and by entropy [T]."""
        with torch.enable_grad():
            logp = tokens.logp.detach().requires_grad_()
            loss = self(replace(tokens, logp=logp), entropy)
            (g,) = torch.autograd.grad(loss.sum(), logp, allow_unused=True, materialize_grads=True)
        e = (-self.entropy_bonus * tokens.scale).to(g.dtype)
        return loss.detach(), g, e


class _OnePass(torch.autograd.Function):
    """Statistics, slopes and gradients of a chunk while its logits are there."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        inputs: TokenInputs,
        said: Tensor,
        objective: Objective,
        shape: Shape,
        dtype: torch.dtype | None,
        chunk: int | None,
        learning: bool,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        projection = Projection.of(tensors, dtype)
        rows = rows_for(projection.device, shape, projection.bias)
        chunks = Chunks.of(projection.vocabulary, projection.device, projection.operand, chunk)
        needed = ctx.needs_input_grad[8:] if learning else [False] * len(tensors)
        gradients = Gradients(projection, tensors, needed)
        logp = inputs.old_logp.to(projection.exact, copy=True)
        entropy, each = torch.zeros_like(logp), torch.zeros_like(logp)
        space = Workspace(projection)
        for block in said.split(chunks.outer) if len(said) else ():
            room, kept, filled = None, [], 0
            for part in block.split(chunks.inner):
                logits = space.logits(part)
                stats = rows.stats(logits, tokens[part])
                logp[part], entropy[part] = stats.logp, stats.entropy
                each[part], g, e = objective.slopes(_at(inputs, part, stats.logp), stats.entropy)
                if not gradients.wanted:
                    del logits
                    continue
                keep = (g != 0) | (e != 0)
                kept.append(keep)
                place = (keep.cumsum(0) - 1 + filled).masked_fill(~keep, -1)
                filled = filled + keep.sum()
                room = space.gradients(logits, len(block)) if room is None else room
                rows.gradient(logits, tokens[part], stats, g, e, room, place)
                del logits
            if room is not None:
                index = block[torch.cat(kept)]
                gradients.add(room[: len(index)], index)
        outputs = each.sum(), logp, entropy, each
        ctx.mark_non_differentiable(*outputs[1:])
        ctx.gradients = gradients.finish()
        return outputs

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> Any:
        upstream: Tensor = grad_outputs[0]
        if ctx.gradients is None:
            raise RuntimeError("the gradient of this loss was handed over before; compute it again")
        gradients, ctx.gradients = ctx.gradients, None  # handed over, not copied: [V, H] is large
        if upstream.is_cuda or float(upstream) != 1:  # on a GPU, asking would wait for it
            for each in gradients:
                if each is not None:
                    each.mul_(upstream)
        return *[None] * 8, *gradients


def _at(inputs: TokenInputs, rows: Tensor, logp: Tensor) -> TokenInputs:
    return TokenInputs(
        logp,
        inputs.old_logp[rows],
        inputs.weight[rows],
        inputs.scale[rows],
        inputs.segment[rows],
        None if inputs.ref_logp is None else inputs.ref_logp[rows],
    )
