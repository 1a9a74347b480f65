"""The products between hidden states and vocabulary: logits, and the gradients of them.

A head is a sum of terms x m^T: hidden states with the output matrix and, with LoRA on the head, u =
h A^T with B. Products of 16-bit operands are accumulated and kept in float32: a 16-bit logit is off
by up to 1/16 where it is near 16, which moves ratios by several percent. For the same reason u, a
sum itself, is not rounded to 16 bit; its products are small enough to be made in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 4096  # vocabulary rows that a CPU widens to float32 at a time


def exact_type(operand: torch.dtype) -> torch.dtype:
    """What sums and statistics are held in."""
    return torch.float64 if operand == torch.float64 else torch.float32


@dataclass(frozen=True)
class Projection:
    """sum over terms of x m^T, + bias added later, row by row."""

    terms: tuple[tuple[Tensor, Tensor], ...]  # x [N, K], m [V, K]; K differs between terms
    bias: Tensor | None  # [V]

    @classmethod
    def of(
        cls, bias: Tensor | None, operands: Sequence[Tensor], dtype: torch.dtype | None
    ) -> Projection:
        """From x, m, x, m, ... The first two become `dtype` (none: what they promote to).

        Those of LoRA become the exact type.
        """
        hidden, weight, *more = operands
        operand = dtype or torch.promote_types(hidden.dtype, weight.dtype)
        exact = exact_type(operand)
        terms = [(hidden.to(operand), weight.to(operand))]
        terms += [(x.to(exact), m.to(exact)) for x, m in zip(more[::2], more[1::2], strict=True)]
        return cls(tuple(terms), bias)

    @property
    def vocabulary(self) -> int:
        return len(self.terms[0][1])

    @property
    def device(self) -> torch.device:
        return self.terms[0][0].device

    @property
    def operand(self) -> torch.dtype:
        return self.terms[0][0].dtype

    @property
    def exact(self) -> torch.dtype:
        return exact_type(self.operand)


class Workspace:
    """Logits and the gradients of them, a few rows at a time.

    On a CPU there is one piece of memory for all: logits stay until the next are asked for, and
    gradients take their place. On a GPU drop logits before asking for the next.
    """

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.held: Tensor | None = None

    def logits(self, rows: Tensor) -> Tensor:
        """Logits without bias of rows [n], [n, V] in the exact type."""
        terms, exact = self.projection.terms, self.projection.exact
        if self.projection.device.type != "cpu":
            total = _product(*terms[0], rows, exact)
        else:
            if self.held is None or len(self.held) < len(rows):
                self.held = torch.empty(len(rows), self.projection.vocabulary, dtype=exact)
            total = self.held[: len(rows)]
            _product_into(*terms[0], rows, total)
        for x, m in terms[1:]:
            total.addmm_(x[rows], m.t())
        return total

    def gradients(self, logits: Tensor, rows: int) -> Tensor:
        """Where the gradients of a block of `rows` rows go, the first of which have these logits."""
        if logits.device.type == "cpu":
            return logits
        return logits.new_empty((rows, logits.shape[1]), dtype=self.projection.operand)


class Gradients:
    """Sums of d loss / d (bias, x, m, x, m, ...); the vocabulary's side in the exact type."""

    def __init__(
        self,
        projection: Projection,
        bias: Tensor | None,
        operands: Sequence[Tensor],
        needed: Sequence[bool],
    ) -> None:
        self.projection = projection
        self.originals = (bias, *operands)
        self.needed = needed
        self.sums: list[Tensor | None] = [None] * len(self.originals)

    @property
    def wanted(self) -> bool:
        return any(self.needed)

    def add(self, gradient: Tensor, rows: Tensor) -> None:
        """Add d loss / d logits [n, V] of rows [n]."""
        if not len(rows):
            return
        if self.needed[0]:
            self._sum(0, gradient.sum(0, dtype=self.projection.exact))
        for number, (x, m) in enumerate(self.projection.terms):
            at = 1 + 2 * number
            if self.needed[at]:
                self._scatter(at, rows, _times(gradient, m))
            if self.needed[at + 1]:
                self.sums[at + 1] = _transposed_times(
                    gradient, x[rows], self.projection.exact, self.sums[at + 1]
                )

    def finish(self) -> list[Tensor]:
        """One gradient a tensor that needs one, in the tensor's own type."""
        return [
            each.new_zeros(each.shape) if total is None else total.to(each.dtype)
            for need, each, total in zip(self.needed, self.originals, self.sums, strict=True)
            if need and each is not None
        ]

    def _sum(self, at: int, value: Tensor) -> None:
        held = self.sums[at]
        self.sums[at] = value if held is None else held.add_(value)

    def _scatter(self, at: int, rows: Tensor, value: Tensor) -> None:
        held = self.sums[at]
        if held is None:
            original = self.originals[at]
            assert original is not None
            held = self.sums[at] = original.new_zeros(original.shape)
        held[rows] = value.to(held.dtype)


def _product(x: Tensor, m: Tensor, rows: Tensor, exact: torch.dtype) -> Tensor:
    """x[rows] m^T, [n, V] in the exact type."""
    if x.dtype == exact:
        return torch.mm(x[rows], m.t())
    if x.is_cuda:
        return torch.mm(x[rows], m.t(), out_dtype=exact)
    total = torch.empty(len(rows), len(m), dtype=exact)
    _product_into(x, m, rows, total)
    return total


def _product_into(x: Tensor, m: Tensor, rows: Tensor, out: Tensor) -> None:
    if x.dtype == out.dtype:
        torch.mm(x[rows], m.t(), out=out)
        return
    wide = x[rows].to(out.dtype)
    for start in range(0, len(m), TILE):
        out[:, start : start + TILE] = torch.mm(wide, m[start : start + TILE].to(out.dtype).t())


def _times(gradient: Tensor, m: Tensor) -> Tensor:
    """gradient m; [n, K]."""
    if gradient.dtype == m.dtype or gradient.is_cuda:
        return torch.mm(gradient, m.to(gradient.dtype))
    total = gradient.new_zeros(len(gradient), m.shape[1])
    for start in range(0, len(m), TILE):
        tile = m[start : start + TILE].to(gradient.dtype)
        total.addmm_(gradient[:, start : start + TILE], tile)
    return total


def _transposed_times(
    gradient: Tensor, x: Tensor, exact: torch.dtype, total: Tensor | None
) -> Tensor:
    """total + gradient^T x; [V, K] in the exact type."""
    if gradient.dtype == exact:
        x = x.to(exact)
        return torch.mm(gradient.t(), x) if total is None else total.addmm_(gradient.t(), x)
    product = torch.mm(gradient.t(), x.to(gradient.dtype), out_dtype=exact)
    return product if total is None else total.add_(product)
