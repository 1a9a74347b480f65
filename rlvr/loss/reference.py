"""The specification: the same numbers in plain PyTorch, every logit in memory, gradients by
autograd.

Slow and large on purpose. `rlvr.loss.head` and `rlvr.loss.policy_loss` must agree with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr.loss.clip.inputs import Rule, TokenInputs
from rlvr.loss.head import Head
from rlvr.loss.policy_loss import LossResult, Penalty, Tokens


def logits(hidden: Tensor, head: Head) -> Tensor:
    """[N, V], before the temperature."""
    y = hidden @ head.weight.T
    if head.lora is not None:
        down, up, scale = head.lora
        y = y + scale * (hidden @ down.T) @ up.T
    if head.bias is not None:
        y = y + head.bias
    if head.softcap is not None:
        y = head.softcap * torch.tanh(y / head.softcap)
    return y * head.multiplier


def token_logprobs(
    hidden: Tensor, head: Head, tokens: Tensor, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy [N], as `rlvr.loss.head.token_logprobs`."""
    log_p = torch.log_softmax(logits(hidden, head) / temperature, -1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0.0).sum(-1)
    return log_p.gather(-1, tokens[:, None])[:, 0], entropy


def policy_loss(
    hidden: Tensor,
    head: Head,
    inputs: Tokens,
    rule: Rule,
    *,
    temperature: float = 1.0,
    entropy_bonus: float = 0.0,
    kl: Penalty | None = None,
) -> LossResult:
    """As `rlvr.loss.policy_loss.policy_loss` with `every`."""
    logp, entropy = token_logprobs(hidden, head, inputs.tokens, temperature=temperature)
    known = TokenInputs(
        logp, inputs.old_logp, inputs.weight, inputs.scale, inputs.segment, inputs.ref_logp
    )
    each = rule(known) - entropy_bonus * inputs.scale * entropy
    if kl is not None:
        each = each + kl(known)
    return LossResult(each.sum(), logp.detach(), entropy.detach(), each.detach())
