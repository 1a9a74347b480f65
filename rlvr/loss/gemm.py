"""The products between hidden states and vocabulary: logits, and the gradients of them.

A head is a sum of terms x m^T: hidden states with the output matrix and, with LoRA on the head, h
A^T with B. Products of 16-bit operands are accumulated and kept in float32: a 16-bit logit is off
by up to 1/16 where it is near 16, which moves ratios by several percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 4096  # vocabulary rows that a CPU widens to float32 at a time


@dataclass(frozen=True)
class Projection:
    """sum over terms of x m^T, + bias added later, row by row."""

    terms: tuple[tuple[Tensor, Tensor], ...]  # x [N, K], m [V, K]; K differs between terms
    bias: Tensor | None  # [V]

    @classmethod
    def of(cls, tensors: Sequence[Tensor | None], dtype: torch.dtype | None) -> Projection:
        """From (bias, x, m, x, m, ...). Operands are of `dtype`; none: what x and m promote to."""
        bias, *rest = tensors
        terms = []
        for x, m in zip(rest[::2], rest[1::2], strict=True):
            assert x is not None
            assert m is not None
            operand = dtype or torch.promote_types(x.dtype, m.dtype)
            terms.append((x.to(operand), m.to(operand)))
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
        """What sums and statistics are held in."""
        return torch.float64 if self.operand == torch.float64 else torch.float32

    def logits(self, rows: Tensor) -> Tensor:
        """Logits without bias of rows [n], [n, V] in the exact type."""
        total: Tensor | None = None
        for x, m in self.terms:
            total = _times_transposed(x[rows], m, self.exact, total)
        assert total is not None
        return total

    def room(self, logits: Tensor, rows: int) -> Tensor:
        """Where the gradients of a block of `rows` rows go.

        On a CPU a block is one chunk, and they take the place of its logits.
        """
        if self.device.type == "cpu":
            return logits
        return logits.new_empty((rows, self.vocabulary), dtype=self.operand)


class Gradients:
    """Sums of d loss / d (bias, x, m, x, m, ...); the vocabulary's side in the exact type."""

    def __init__(
        self, projection: Projection, tensors: Sequence[Tensor | None], needed: Sequence[bool]
    ) -> None:
        self.projection = projection
        self.originals = tensors
        self.needed = [
            need and each is not None for need, each in zip(needed, tensors, strict=True)
        ]
        self.sums: list[Tensor | None] = [None] * len(tensors)

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

    def finish(self) -> list[Tensor | None]:
        """One gradient a tensor, in the tensor's own type; none where none is needed."""
        finished: list[Tensor | None] = []
        for need, each, total in zip(self.needed, self.originals, self.sums, strict=True):
            if not need or each is None:
                finished.append(None)
            else:
                finished.append(torch.zeros_like(each) if total is None else total.to(each.dtype))
        return finished

    def _sum(self, at: int, value: Tensor) -> None:
        held = self.sums[at]
        self.sums[at] = value if held is None else held.add_(value)

    def _scatter(self, at: int, rows: Tensor, value: Tensor) -> None:
        held = self.sums[at]
        if held is None:
            original = self.originals[at]
            assert original is not None
            held = self.sums[at] = torch.zeros_like(original)
        held[rows] = value.to(held.dtype)


def _times_transposed(x: Tensor, m: Tensor, exact: torch.dtype, total: Tensor | None) -> Tensor:
    """total + x m^T; [n, V] in the exact type."""
    if x.dtype == exact:
        return torch.mm(x, m.t()) if total is None else total.addmm_(x, m.t())
    if x.is_cuda:
        product = torch.mm(x, m.t(), out_dtype=exact)
        return product if total is None else total.add_(product)
    if total is None:
        total = torch.zeros(len(x), len(m), dtype=exact)
    x = x.to(exact)
    for start in range(0, len(m), TILE):
        total[:, start : start + TILE] += torch.mm(x, m[start : start + TILE].to(exact).t())
    return total


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
