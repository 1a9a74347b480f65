"""Ways to compute the same loss: DAPO's clip-higher, k3 to a reference and, where offered, an
entropy bonus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.loss import reference
from rlvr.loss.chunks import Chunks
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.clip.inputs import TokenInputs
from rlvr.loss.head import Head, token_logprobs
from rlvr.loss.kl import K3
from rlvr.loss.policy_loss import Objective, policy_loss

BETA = 0.01
BONUS = 1e-3
LENGTH = 64  # tokens a response; only Liger's loss cares
TRL_TILE = 32768  # vocabulary columns a tile in TRL's trainer
RULE = DAPO(dual=None)


@dataclass(frozen=True)
class Work:
    """Response tokens of a policy that is sure of itself, a fifth of a nat from where it began."""

    hidden: Tensor  # [N, H]
    weight_matrix: Tensor  # [V, H]
    tokens: Tensor  # [N]
    old_logp: Tensor  # [N]
    ref_logp: Tensor  # [N]
    weight: Tensor  # [N]
    scale: Tensor  # [N]
    segment: Tensor  # [N]

    @property
    def head(self) -> Head:
        return Head(self.weight_matrix)

    def inputs(self, logp: Tensor) -> TokenInputs:
        return TokenInputs(
            logp, self.old_logp, self.weight, self.scale, self.segment, self.ref_logp
        )


def work(
    rows: int,
    width: int,
    vocabulary: int,
    device: torch.device,
    dtype: torch.dtype,
    keep: float = 1.0,
) -> Work:
    """Random numbers, the same for every contestant; `keep` of the tokens have a say."""
    made = torch.Generator(device).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=made, device=device)

    matrix = normal(vocabulary, width) / width**0.5
    tokens = torch.randint(vocabulary, (rows,), generator=made, device=device)
    sure = 14 + 4 * normal(rows, 1)  # the chosen token's logit: entropies of 0 to 5 nats
    hidden = sure * matrix[tokens] + normal(rows, width)
    hidden, matrix = hidden.to(dtype), matrix.to(dtype)
    with torch.no_grad():
        logp, _ = token_logprobs(hidden, Head(matrix), tokens)
    out = torch.rand(rows, generator=made, device=device) >= keep
    scale = torch.full((rows,), 1 / rows, device=device).masked_fill(out, 0)
    segment = torch.arange(rows, device=device) // LENGTH
    advantage = normal(int(segment[-1]) + 1)[segment]
    return Work(
        hidden=hidden.requires_grad_(),
        weight_matrix=matrix.requires_grad_(),
        tokens=tokens,
        old_logp=logp + 0.1 * normal(rows),
        ref_logp=logp + 0.2 * normal(rows),
        weight=advantage * scale,
        scale=scale,
        segment=segment,
    )


Found = tuple[Tensor, Tensor | None]  # the loss and, where it is given out, [N] log-probabilities


def one_pass(given: Work) -> Found:
    """rlvr: gradients in the forward pass."""
    found = policy_loss(given.hidden, given.head, given, RULE, entropy_bonus=BONUS, kl=K3(BETA))
    return found.loss, found.logp


def two_pass(given: Work) -> Found:
    """rlvr: logits computed again in the backward pass, as for GSPO."""
    logp, entropy = token_logprobs(given.hidden, given.head, given.tokens)
    return _sum(given, logp, entropy), logp


def naive(given: Work) -> Found:
    """Every logit in memory, float32, autograd."""
    head = Head(given.weight_matrix.float())
    logp, entropy = reference.token_logprobs(given.hidden.float(), head, given.tokens)
    return _sum(given, logp, entropy), logp


def products(given: Work) -> Found:
    """The three matrix products alone: no loss can be faster while it computes every row."""
    hidden, matrix = given.hidden.detach(), given.weight_matrix.detach()
    given.hidden.grad, total = torch.empty_like(hidden), torch.zeros_like(matrix)
    step = Chunks.of(len(matrix), hidden.device, hidden.dtype).inner
    for start in range(0, len(hidden), step):
        part = hidden[start : start + step]
        logits = part @ matrix.T
        given.hidden.grad[start : start + step] = logits @ matrix
        total.addmm_(logits.T, part)
        del logits
    given.weight_matrix.grad = total
    return hidden.new_zeros((), requires_grad=True), None


def trl(given: Work) -> Found:
    """TRL's chunked head, with the tile and the outputs its trainer asks for; the loss in PyTorch."""
    from trl.kernels import ChunkedLogProbFunction

    logp, entropy, *_ = ChunkedLogProbFunction.apply(
        given.hidden,
        given.weight_matrix,
        None,
        given.tokens,
        1.0,
        TRL_TILE,
        None,
        1.0,
        ("entropy",),
    )
    return _sum(given, logp, entropy), logp


def liger(given: Work) -> Found:
    """Liger's fused GRPO loss as it comes, its loss compiled: no entropy bonus."""
    from liger_kernel.chunked_loss import (
        LigerFusedLinearGRPOLoss,
    )

    responses = len(given.tokens) // LENGTH
    shape = (responses, LENGTH)
    objective = LigerFusedLinearGRPOLoss(
        beta=BETA, epsilon_low=0.2, epsilon_high=0.28, loss_type="dapo"
    )
    loss: Tensor = objective(
        given.hidden.view(*shape, -1),
        given.weight_matrix,
        given.tokens.view(shape),
        (given.scale > 0).view(shape).long(),
        (given.weight * len(given.tokens)).view(shape)[:, 0],
        ref_per_token_logps=given.ref_logp.view(shape),
        old_per_token_logps=given.old_logp.view(shape),
    )[0]
    return loss, None


def _sum(given: Work, logp: Tensor, entropy: Tensor) -> Tensor:
    return Objective(RULE, K3(BETA), BONUS)(given.inputs(logp), entropy).sum()


CONTESTANTS: dict[str, Callable[[Work], Found]] = {
    "rlvr": one_pass,
    "rlvr two-pass": two_pass,
    "naive": naive,
    "trl": trl,
    "liger": liger,
    "three products": products,
}
NO_LOSS = ("three products",)
NO_BONUS = ("liger",)
