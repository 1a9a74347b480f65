"""The output layer of a model, and what it says of chosen tokens, without ever holding the logits
of all rows.

Not covered: heads sharded over several devices, a temperature of its own for every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlvr.loss.chunks import Chunks
from rlvr.loss.gemm import Gradients, Projection, Workspace, exact_type
from rlvr.loss.rows import Rows, Shape, Stats, rows_for


@dataclass(frozen=True)
class Head:
    """y = hidden weight^T + bias (+ scale hidden A^T B^T), capped: softcap * tanh(y / softcap), times
    `multiplier`.

    A vocabulary that the model pads keeps its padding: it has probability, here as in the sampler.
    """

    weight: Tensor  # [V, H]
    bias: Tensor | None = None  # [V]
    softcap: float | None = None
    lora: tuple[Tensor, Tensor, float] | None = None  # A [r, H], B [V, r], scale
    dtype: torch.dtype | None = (
        None  # of the products' operands; none: what hidden and weight promote to
    )
    multiplier: float = 1.0  # Granite, Cohere; not beside a softcap

    def operands(self, hidden: Tensor) -> list[Tensor]:
        """x, m, x, m, ... of the sum of products x m^T that the logits are.

        Raises ValueError, with both sides of what does not fit.
        """
        if hidden.dim() != 2 or hidden.shape[1] != self.weight.shape[1]:
            wanted = f"[N, {self.weight.shape[1]}]"
            raise ValueError(f"hidden must be {wanted} for this weight, not {list(hidden.shape)}")
        if self.lora is None:
            return [hidden, self.weight]
        down, up, scale = self.lora
        exact = exact_type(hidden.dtype)
        inner = scale * (hidden.to(exact) @ down.to(exact).T)  # not rounded to 16 bit: see gemm
        return [hidden, self.weight, inner, up]

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """[N, V] float32 of hidden [N, H]: those that log-probabilities are made of, for sampling."""
        with exactly(hidden.device):
            projection = Projection.of(self.bias, self.operands(hidden), self.dtype)
            every = torch.arange(len(hidden), device=hidden.device)
            y = Workspace(projection).logits(every)
            if self.bias is not None:
                y += self.bias
            if self.softcap is not None:
                y = self.softcap * (y / self.softcap).tanh_()
            return y.mul_(self.multiplier) if self.multiplier != 1 else y


def token_logprobs(
    hidden: Tensor,
    head: Head,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of softmax(y / temperature) at `tokens`, each [N] float32.

    hidden [N, H], tokens [N] int64. Both are differentiable, once, in hidden, weight, bias and
    LoRA; the backward pass computes logits again, of rows with a gradient only. At most `chunk`
    rows of logits exist at a time (none: as many as suit the device). Under `torch.no_grad` nothing
    is kept. Inputs in float64 give float64. A compiled graph holds it as one node.
    """
    scale = temperature / head.multiplier
    with exactly(hidden.device):
        operands = head.operands(hidden)
        one_a_row(hidden, tokens)
        logp, _, entropy = statistics(
            tokens, None, head.bias, operands, scale, head.softcap, head.dtype, chunk
        )
    return logp, entropy


def one_a_row(hidden: Tensor, tokens: Tensor) -> None:
    """ValueError unless there is one token a row."""
    if tokens.shape != hidden.shape[:1]:
        raise ValueError(f"{len(hidden)} rows of hidden, but tokens {list(tokens.shape)}")


def exactly(device: torch.device) -> AbstractContextManager[Any]:
    """No autocast inside: the types of products are the head's affair."""
    return torch.autocast(device.type, enabled=False)


@torch.library.custom_op("rlvr::statistics", mutates_args=())
def statistics(
    tokens: Tensor,
    said: Tensor | None,
    bias: Tensor | None,
    operands: Sequence[Tensor],
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype | None,
    chunk: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability, log-sum-exp and entropy, each [N]; 0 on rows that `said` [N] leaves out."""
    work = Work.of(bias, operands, Shape(temperature, softcap), dtype, chunk)
    logp = torch.zeros(len(tokens), dtype=work.projection.exact, device=tokens.device)
    lse, entropy = torch.zeros_like(logp), torch.zeros_like(logp)
    index = torch.arange(len(tokens), device=tokens.device) if said is None else rows_of(said)
    for part in index.split(work.chunks.inner) if len(index) else ():
        stats = work.rows.stats(work.space.logits(part), tokens[part])
        logp[part], lse[part], entropy[part] = stats.logp, stats.lse, stats.entropy
    return logp, lse, entropy


@statistics.register_fake
def _(
    tokens: Tensor,
    said: Tensor | None,
    bias: Tensor | None,
    operands: Sequence[Tensor],
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype | None,
    chunk: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    exact = exact_type(dtype or torch.promote_types(operands[0].dtype, operands[1].dtype))
    logp, lse, entropy = (tokens.new_empty(tokens.shape, dtype=exact) for _ in range(3))
    return logp, lse, entropy


@torch.library.custom_op("rlvr::statistics_backward", mutates_args=())
def statistics_backward(
    g: Tensor,
    e: Tensor,
    tokens: Tensor,
    logp: Tensor,
    lse: Tensor,
    entropy: Tensor,
    bias: Tensor | None,
    operands: Sequence[Tensor],
    needed: Sequence[bool],
    temperature: float,
    softcap: float | None,
    dtype: torch.dtype | None,
    chunk: int | None,
) -> list[Tensor]:
    """Gradients of those of (bias, *operands) that are needed; logits are computed again."""
    work = Work.of(bias, operands, Shape(temperature, softcap), dtype, chunk)
    gradients = Gradients(work.projection, bias, operands, needed)
    kept = rows_of((g != 0) | (e != 0))
    for block in kept.split(work.chunks.outer) if len(kept) else ():
        room, done = None, 0
        for part in block.split(work.chunks.inner):
            logits = work.space.logits(part)
            room = work.space.gradients(logits, len(block)) if room is None else room
            stats = Stats(logp[part], lse[part], entropy[part])
            place = torch.arange(done, done + len(part), device=part.device)
            work.rows.gradient(logits, tokens[part], stats, g[part], e[part], room, place)
            done += len(part)
            del logits
        assert room is not None
        gradients.add(room, block)
    return gradients.finish()


@statistics_backward.register_fake
def _(
    g: Tensor,
    e: Tensor,
    tokens: Tensor,
    logp: Tensor,
    lse: Tensor,
    entropy: Tensor,
    bias: Tensor | None,
    operands: Sequence[Tensor],
    needed: Sequence[bool],
    *_: Any,
) -> list[Tensor]:
    return like(bias, operands, needed)


def _remember(ctx: Any, inputs: Any, output: Any) -> None:
    tokens, _, bias, operands, *ctx.settings = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(tokens, *output, bias, *operands)


def _backward(ctx: Any, g: Tensor | None, _: None, e: Tensor | None) -> Any:
    tokens, logp, lse, entropy, bias, *operands = ctx.saved_tensors
    needed = [ctx.needs_input_grad[2], *ctx.needs_input_grad[3]]
    none = torch.zeros_like(logp) if g is None or e is None else logp
    g, e = none if g is None else g, none if e is None else e
    saved = tokens, logp, lse, entropy, bias, operands, needed
    with exactly(logp.device):
        spread = given_back(needed, statistics_backward(g, e, *saved, *ctx.settings))
    return None, None, spread[0], spread[1:], *[None] * 4


statistics.register_autograd(_backward, setup_context=_remember)


@dataclass(frozen=True)
class Work:
    """What goes over a head chunk by chunk."""

    projection: Projection
    rows: Rows
    chunks: Chunks
    space: Workspace

    @classmethod
    def of(
        cls,
        bias: Tensor | None,
        operands: Sequence[Tensor],
        shape: Shape,
        dtype: torch.dtype | None,
        chunk: int | None,
    ) -> Work:
        projection = Projection.of(bias, operands, dtype)
        device = projection.device
        return cls(
            projection,
            rows_for(device, shape, bias),
            Chunks.of(projection.vocabulary, device, projection.operand, chunk),
            Workspace(projection),
        )


def rows_of(said: Tensor) -> Tensor:
    """Where `said` [N] is true."""
    return said.nonzero()[:, 0]


def like(bias: Tensor | None, operands: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    """Empty gradients of those of (bias, *operands) that are needed."""
    every = zip(needed, (bias, *operands), strict=True)
    return [each.new_empty(each.shape) for need, each in every if need and each is not None]


def given_back(needed: Sequence[bool], gradients: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients in the places of what needed them."""
    left = iter(gradients)
    return [next(left) if need else None for need in needed]
