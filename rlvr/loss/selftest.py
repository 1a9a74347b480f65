"""Is the loss right on this very machine? Its numbers on every device and type against float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr.loss import reference
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.clip.gspo import GSPO
from rlvr.loss.clip.inputs import Rule
from rlvr.loss.head import Head
from rlvr.loss.policy_loss import policy_loss

ROWS, WIDTH, VOCABULARY = 96, 64, 5003  # no multiple of any block
ALLOWED = {torch.float32: (1e-4, 1e-4), torch.bfloat16: (1e-4, 1e-2)}  # log-probability, gradient


@dataclass(frozen=True)
class _Tokens:
    tokens: Tensor
    old_logp: Tensor
    weight: Tensor
    scale: Tensor
    segment: Tensor
    ref_logp: Tensor | None = None


def run() -> Iterator[tuple[str, bool, str]]:
    """What was checked, whether it holds, the errors found."""
    cases = [("cpu", torch.float32), ("cpu", torch.bfloat16)]
    if torch.cuda.is_available():
        cases += [("cuda", torch.float32), ("cuda", torch.bfloat16)]
    for device, dtype in cases:
        for name, rule in (("one pass", DAPO()), ("two passes", GSPO(0.1, 0.1))):
            logp, slope = _errors(torch.device(device), dtype, rule)
            passed = logp <= ALLOWED[dtype][0] and slope <= ALLOWED[dtype][1]
            kind = str(dtype).removeprefix("torch.")
            yield (
                f"{name}, {kind} on {device}",
                passed,
                f"log-probabilities off by {logp:.0e}, gradients by {slope:.0e} of their norm",
            )


def _errors(device: torch.device, dtype: torch.dtype, rule: Rule) -> tuple[float, float]:
    """Largest error of a log-probability, and largest relative error of a gradient."""
    made = torch.Generator().manual_seed(0)
    matrix = torch.randn(VOCABULARY, WIDTH, generator=made) / WIDTH**0.5
    tokens = torch.randint(VOCABULARY, (ROWS,), generator=made)
    sure = 12 + 5 * torch.randn(ROWS, 1, generator=made)
    hidden = sure * matrix[tokens] + torch.randn(ROWS, WIDTH, generator=made)
    hidden, matrix = (each.to(device, dtype).requires_grad_() for each in (hidden, matrix))
    exact = [each.detach().cpu().double().requires_grad_() for each in (hidden, matrix)]
    logp, _ = reference.token_logprobs(exact[0], Head(exact[1]), tokens)
    old = logp.detach().float() + 0.05 * torch.randn(ROWS, generator=made)
    weight = torch.randn(ROWS, generator=made)
    scale = torch.full((ROWS,), 1 / ROWS)
    known = _Tokens(tokens, old, weight * scale, scale, torch.arange(ROWS) // 8)
    there = _Tokens(
        *(each.to(device) for each in (tokens, old, weight * scale, scale, known.segment))
    )
    found = policy_loss(hidden, Head(matrix), there, rule, entropy_bonus=0.01, chunk=40)
    wanted = reference.policy_loss(exact[0], Head(exact[1]), known, rule, entropy_bonus=0.01)
    pairs = zip(
        torch.autograd.grad(found.loss, (hidden, matrix)),
        torch.autograd.grad(wanted.loss, exact),
        strict=True,
    )
    slope = max(float((a.cpu().double() - b).norm() / b.norm()) for a, b in pairs)
    return float((found.logp.cpu().double() - wanted.logp).abs().max()), slope
