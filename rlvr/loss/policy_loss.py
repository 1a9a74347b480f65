"""The loss of one part of a batch: a sum over tokens, with its exact gradient.

    loss = sum_t rule_t + kl_t - entropy_bonus * scale_t * H_t

Weights and scales carry every normaliser, so the losses of any parts of a batch add up to that of
the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from rlvr.loss.clip.inputs import Rule, TokenInputs
from rlvr.loss.gemm import Gradients, exact_type
from rlvr.loss.head import Head, Work, exactly, given_back, like, one_a_row, rows_of, statistics
from rlvr.loss.rows import Shape

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
    old, ref = inputs.old_logp, inputs.ref_logp
    given = inputs.tokens, old, inputs.weight, inputs.scale, inputs.segment
    said = None if every else (inputs.weight != 0) | (inputs.scale != 0)
    how = temperature / head.multiplier, head.softcap, head.dtype, chunk
    with exactly(hidden.device):
        operands = head.operands(hidden)
        one_a_row(hidden, inputs.tokens)
        if rule.per_token:
            needed = [
                each is not None and each.requires_grad and torch.is_grad_enabled()
                for each in (head.bias, *operands)
            ]
            goal = _handle(objective), entropy_bonus
            found = one_pass(*given, ref, said, *goal, needed, head.bias, operands, *how)
            return LossResult(*found[:4])
        logp, _, entropy = statistics(inputs.tokens, said, head.bias, operands, *how)
    if said is not None:
        logp = torch.where(said, logp, old.to(logp.dtype))
    each = objective(TokenInputs(logp, *given[1:], ref), entropy)
    return LossResult(each.sum(), logp.detach(), entropy.detach(), each.detach())


@dataclass(frozen=True)
class Objective:
    """A token's summand of the loss, from its log-probability and entropy."""

    rule: Rule
    kl: Penalty | None
    entropy_bonus: float = 0.0

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
        with _autograd():
            logp = tokens.logp.detach().requires_grad_()
            loss = self(replace(tokens, logp=logp), entropy)
            (g,) = torch.autograd.grad(loss.sum(), logp, allow_unused=True, materialize_grads=True)
        e = (-self.entropy_bonus * tokens.scale).to(g.dtype)
        return loss.detach(), g, e


@contextmanager
def _autograd() -> Iterator[None]:
    """Gradients, also inside an operator, where PyTorch has switched them off for good."""
    included = torch._C._dispatch_tls_local_include_set()
    autograd = torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradFunctionality)
    excluded = torch._C._dispatch_tls_local_exclude_set() - autograd
    with torch._C._ForceDispatchKeyGuard(included, excluded), torch.enable_grad():
        yield


HELD: WeakValueDictionary[int, Objective] = (
    WeakValueDictionary()
)  # what operators are told by number
COMPILED: list[Objective] = []  # as long as the graphs that hold their numbers


def _handle(objective: Objective) -> int:
    """A number for `objective`, which an operator cannot be given itself."""
    if torch.compiler.is_compiling():
        handle: int = _compiled(objective.rule, objective.kl)
        return handle
    HELD[id(objective)] = objective
    return id(objective)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _compiled(rule: Rule, kl: Penalty | None) -> int:
    """While a graph is traced; another rule makes another graph."""
    for part in (rule, kl):
        # what is made inside the graph has no fields yet; the class's defaults would stand for them
        if is_dataclass(part) and any(each.name not in vars(part) for each in fields(part)):
            name = type(part).__name__
            raise ValueError(f"make {name} outside the compiled function and hand it in")
    COMPILED.append(Objective(rule, kl))
    HELD[id(COMPILED[-1])] = COMPILED[-1]
    return id(COMPILED[-1])


@torch.library.custom_op("rlvr::one_pass", mutates_args=())
def one_pass(
    tokens: Tensor,
    old_logp: Tensor,
    weight: Tensor,
    scale: Tensor,
    segment: Tensor,
    ref_logp: Tensor | None,
    said: Tensor | None,
    objective: int,
    entropy_bonus: float,
    needed: Sequence[bool],
    bias: Tensor | None,
    operands: Sequence[Tensor],
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype | None,
    chunk: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """Loss, log-probabilities, entropies, summands and, while a chunk's logits are there, gradients.

    Those of (bias, *operands) that are needed. `objective`: a handle, without its entropy bonus.
    """
    goal = replace(HELD[objective], entropy_bonus=entropy_bonus)
    work = Work.of(bias, operands, Shape(temperature, softcap), dtype, chunk)
    inputs = TokenInputs(old_logp, old_logp, weight, scale, segment, ref_logp)
    gradients = Gradients(work.projection, bias, operands, needed)
    logp = old_logp.to(work.projection.exact, copy=True)
    entropy, each = torch.zeros_like(logp), torch.zeros_like(logp)
    index = torch.arange(len(tokens), device=tokens.device) if said is None else rows_of(said)
    for block in index.split(work.chunks.outer) if len(index) else ():
        room: Tensor | None = None
        kept: list[Tensor] = []
        filled: Tensor | int = 0
        for part in block.split(work.chunks.inner):
            logits = work.space.logits(part)
            stats = work.rows.stats(logits, tokens[part])
            logp[part], entropy[part] = stats.logp, stats.entropy
            known = _at(inputs, part, stats.logp)
            each[part], g, e = goal.slopes(known, stats.entropy)
            if not gradients.wanted:
                del logits
                continue
            keep = (g != 0) | (e != 0)
            kept.append(keep)
            place = (keep.cumsum(0) - 1 + filled).masked_fill(~keep, -1)
            filled = filled + keep.sum()
            room = work.space.gradients(logits, len(block)) if room is None else room
            work.rows.gradient(logits, tokens[part], stats, g, e, room, place)
            del logits
        if room is not None:
            of_block = block[torch.cat(kept)]
            gradients.add(room[: len(of_block)], of_block)
    return each.sum(), logp, entropy, each, gradients.finish()


@one_pass.register_fake
def _(
    tokens: Tensor,
    old_logp: Tensor,
    weight: Tensor,
    scale: Tensor,
    segment: Tensor,
    ref_logp: Tensor | None,
    said: Tensor | None,
    objective: int,
    entropy_bonus: float,
    needed: Sequence[bool],
    bias: Tensor | None,
    operands: Sequence[Tensor],
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype | None,
    chunk: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    exact = exact_type(dtype or torch.promote_types(operands[0].dtype, operands[1].dtype))
    logp, entropy, each = (old_logp.new_empty(tokens.shape, dtype=exact) for _ in range(3))
    return each.new_empty(()), logp, entropy, each, like(bias, operands, needed)


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    _, *numbers, gradients = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*numbers, *gradients)
    ctx.needed, ctx.gradients = inputs[9], gradients


def _backward(ctx: Any, upstream: Tensor | None, *_: None) -> Any:
    if ctx.gradients is None:
        raise RuntimeError("the gradient of this loss was handed over before; compute it again")
    gradients, ctx.gradients = ctx.gradients, None  # handed over, not copied: [V, H] is large
    if upstream is None:
        return (None,) * 16
    spread = given_back(ctx.needed, [each.mul_(upstream) for each in gradients])
    return *[None] * 10, spread[0], spread[1:], *[None] * 4


one_pass.register_autograd(_backward, setup_context=_remember)


def _at(inputs: TokenInputs, rows: Tensor, logp: Tensor) -> TokenInputs:
    return TokenInputs(
        logp,
        inputs.old_logp[rows],
        inputs.weight[rows],
        inputs.scale[rows],
        inputs.segment[rows],
        None if inputs.ref_logp is None else inputs.ref_logp[rows],
    )
