"""Random heads and responses that look like a model's: a confident policy, ratios that clip."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from rlvr.loss import reference
from rlvr.loss.head import Head


@dataclass(frozen=True)
class Case:
    """N response tokens of several responses, and the head that predicts them."""

    hidden: Tensor  # [N, H]
    head: Head
    tokens: Tensor  # [N]
    old_logp: Tensor
    weight: Tensor
    scale: Tensor
    segment: Tensor
    ref_logp: Tensor

    @property
    def leaves(self) -> list[Tensor]:
        lora = self.head.lora[:2] if self.head.lora else ()
        found = (self.hidden, self.head.weight, self.head.bias, *lora)
        return [each for each in found if each is not None and each.requires_grad]

    def to(self, dtype: torch.dtype) -> Case:
        """The same numbers as another type, leaves of a graph of their own."""

        def cast(each: Tensor) -> Tensor:
            return each.detach().to(dtype).requires_grad_(each.requires_grad)

        head = self.head
        lora = (cast(head.lora[0]), cast(head.lora[1]), head.lora[2]) if head.lora else None
        bias = cast(head.bias) if head.bias is not None else None
        plain = {
            field.name: getattr(self, field.name).to(dtype)
            for field in fields(self)
            if field.name in ("old_logp", "weight", "scale", "ref_logp")
        }
        new = replace(head, weight=cast(head.weight), bias=bias, lora=lora)
        return replace(self, hidden=cast(self.hidden), head=new, **plain)


def case(
    rows: int = 37,
    width: int = 16,
    vocabulary: int = 101,
    *,
    seed: int = 0,
    bias: bool = False,
    softcap: float | None = None,
    rank: int = 0,
    temperature: float = 1.0,
    dropped: float = 0.3,
    sharpness: float = 2.0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """Numbers in `dtype`; a third of the tokens is dropped, others have weight 0 but a scale."""
    made = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=made, dtype=torch.float64)

    weight = normal(vocabulary, width) / width**0.5
    tokens = torch.randint(vocabulary, (rows,), generator=made)
    hidden = sharpness * weight[tokens] * width**0.5 + normal(rows, width)
    head = Head(
        weight=_leaf(weight, dtype),
        bias=_leaf(normal(vocabulary), dtype) if bias else None,
        softcap=softcap,
        lora=(_leaf(normal(rank, width), dtype), _leaf(normal(vocabulary, rank), dtype), 0.25)
        if rank
        else None,
    )
    states = _leaf(hidden, dtype)
    with torch.no_grad():
        logp, _ = reference.token_logprobs(states, head, tokens, temperature=temperature)
    gone = torch.rand(rows, generator=made) < dropped
    idle = torch.rand(rows, generator=made) < 0.2
    scale = (0.5 + torch.rand(rows, generator=made, dtype=torch.float64)).masked_fill(
        gone, 0
    ) / rows
    return Case(
        hidden=states,
        head=head,
        tokens=tokens,
        old_logp=(logp + 0.25 * normal(rows)).to(dtype),
        weight=(normal(rows) * scale).masked_fill(idle, 0).to(dtype),
        scale=scale.to(dtype),
        segment=torch.arange(rows) // 7,
        ref_logp=(logp + 0.5 * normal(rows)).to(dtype),
    )


def _leaf(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype).requires_grad_()


def worst(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest relative error, by norm."""
    return max(
        float((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-12))
        for a, b in zip(found, wanted, strict=True)
    )
