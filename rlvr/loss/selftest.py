"""Is the loss right on this very machine? Its numbers on every device and type against float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rlvr.loss import reference
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.clip.gspo import GSPO
from rlvr.loss.clip.inputs import Rule
from rlvr.loss.head import Head
from rlvr.loss.policy_loss import policy_loss
from rlvr.loss.rows import Shape, rows_for

ROWS, WIDTH, VOCABULARY, RANK = 96, 64, 5003, 4  # no multiple of any block
MADE_BY = {"TorchRows": "plain PyTorch", "TritonRows": "Triton kernels"}
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
            maker = MADE_BY[type(rows_for(torch.device(device), Shape(), None)).__name__]
            yield (
                f"{name}, {kind} on {device}",
                passed,
                f"{maker}: log-probabilities off by {logp:.0e}, gradients by {slope:.0e} of their norm",
            )


def _errors(device: torch.device, dtype: torch.dtype, rule: Rule) -> tuple[float, float]:
    """Largest error of a log-probability, and largest relative error of a gradient.

    Bias, LoRA, softcap, temperature and entropy bonus are all on.
    """
    made = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=made)

    matrix = normal(VOCABULARY, WIDTH) / WIDTH**0.5
    tokens = torch.randint(VOCABULARY, (ROWS,), generator=made)
    hidden = (12 + 5 * normal(ROWS, 1)) * matrix[tokens] + normal(ROWS, WIDTH)
    down, up = normal(RANK, WIDTH) / WIDTH**0.5, normal(VOCABULARY, RANK)
    given = hidden, matrix, normal(VOCABULARY), down, up
    there = [each.to(device, dtype).requires_grad_() for each in given]
    exact = [each.detach().cpu().double().requires_grad_() for each in there]
    options: Any = {"temperature": 0.9, "entropy_bonus": 0.01}
    logp, _ = reference.token_logprobs(exact[0], _head(exact), tokens, temperature=0.9)
    scale = torch.full((ROWS,), 1 / ROWS)
    old = logp.detach().float() + 0.05 * normal(ROWS)
    known = _Tokens(tokens, old, normal(ROWS) * scale, scale, torch.arange(ROWS) // 8)
    moved = [getattr(known, each.name) for each in fields(known) if each.name != "ref_logp"]
    found = policy_loss(
        there[0],
        _head(there),
        _Tokens(*(each.to(device) for each in moved)),
        rule,
        chunk=40,
        **options,
    )
    wanted = reference.policy_loss(exact[0], _head(exact), known, rule, **options)
    pairs = zip(
        torch.autograd.grad(found.loss, there),
        torch.autograd.grad(wanted.loss, exact),
        strict=True,
    )
    slope = max(float((a.cpu().double() - b).norm() / b.norm()) for a, b in pairs)
    return float((found.logp.cpu().double() - wanted.logp).abs().max()), slope


def _head(given: Sequence[Tensor]) -> Head:
    _, matrix, bias, down, up = given
    return Head(matrix, bias, softcap=40.0, lora=(down, up, 0.5))
