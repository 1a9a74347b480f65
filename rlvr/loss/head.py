"""The output layer of a model, and what it says of chosen tokens, without ever holding the logits
of all rows.

Not covered: heads sharded over several devices, a temperature of its own for every token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlvr.loss.chunks import Chunks
from rlvr.loss.gemm import Gradients, Projection, Workspace
from rlvr.loss.rows import Shape, Stats, rows_for


@dataclass(frozen=True)
class Head:
    """y = hidden weight^T + bias (+ scale hidden A^T B^T), capped: softcap * tanh(y / softcap).

    A vocabulary that the model pads keeps its padding: it has probability, here as in the sampler.
    """

    weight: Tensor  # [V, H]
    bias: Tensor | None = None  # [V]
    softcap: float | None = None
    lora: tuple[Tensor, Tensor, float] | None = None  # A [r, H], B [V, r], scale
    dtype: torch.dtype | None = (
        None  # of the products' operands; none: what hidden and weight promote to
    )

    def tensors(self, hidden: Tensor, tokens: Tensor) -> tuple[Tensor | None, ...]:
        """(bias, x, m, x, m, ...) of the sum of products that the logits are.

        Raises ValueError, with both sides of what does not fit.
        """
        if hidden.dim() != 2 or hidden.shape[1] != self.weight.shape[1]:
            wanted = f"[N, {self.weight.shape[1]}]"
            raise ValueError(f"hidden must be {wanted} for this weight, not {list(hidden.shape)}")
        if tokens.shape != hidden.shape[:1]:
            raise ValueError(f"{len(hidden)} rows of hidden, but tokens {list(tokens.shape)}")
        if self.lora is None:
            return self.bias, hidden, self.weight
        down, up, scale = self.lora
        return self.bias, hidden, self.weight, scale * (hidden.to(down.dtype) @ down.T), up


@torch.compiler.disable()  # chunks are not to be traced; callers still compile
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
    is kept. Inputs in float64 give float64.
    """
    shape = Shape(temperature, head.softcap)
    return _TokenLogprobs.apply(tokens, shape, head.dtype, chunk, *head.tensors(hidden, tokens))


class _TokenLogprobs(torch.autograd.Function):
    """Statistics forward; logits again backward: four products in all."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        shape: Shape,
        dtype: torch.dtype | None,
        chunk: int | None,
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        projection = Projection.of(tensors, dtype)
        rows = rows_for(projection.device, shape, projection.bias)
        chunks = Chunks.of(projection.vocabulary, projection.device, projection.operand, chunk)
        logp = torch.empty(len(tokens), dtype=projection.exact, device=tokens.device)
        lse, entropy = torch.empty_like(logp), torch.empty_like(logp)
        every = torch.arange(len(tokens), device=tokens.device)
        space = Workspace(projection)
        for part in every.split(chunks.inner) if len(every) else ():
            stats = rows.stats(space.logits(part), tokens[part])
            logp[part], lse[part], entropy[part] = stats.logp, stats.lse, stats.entropy
        ctx.settings = shape, dtype, chunk
        ctx.save_for_backward(tokens, logp, lse, entropy, *tensors)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Any
    ) -> Any:
        g, e = grad_outputs
        tokens, logp, lse, entropy, *tensors = ctx.saved_tensors
        shape, dtype, chunk = ctx.settings
        projection = Projection.of(tensors, dtype)
        rows = rows_for(projection.device, shape, projection.bias)
        chunks = Chunks.of(projection.vocabulary, projection.device, projection.operand, chunk)
        gradients = Gradients(projection, tensors, ctx.needs_input_grad[4:])
        kept = ((g != 0) | (e != 0)).nonzero()[:, 0]
        space = Workspace(projection)
        for block in kept.split(chunks.outer) if len(kept) else ():
            room, done = None, 0
            for part in block.split(chunks.inner):
                logits = space.logits(part)
                room = space.gradients(logits, len(block)) if room is None else room
                stats = Stats(logp[part], lse[part], entropy[part])
                place = torch.arange(done, done + len(part), device=part.device)
                rows.gradient(logits, tokens[part], stats, g[part], e[part], room, place)
                done += len(part)
                del logits
            assert room is not None
            gradients.add(room, block)
        return None, None, None, None, *gradients.finish()
