"""How many rows of logits exist at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

CPU_BYTES = 64 << 20  # of float32 logits; larger chunks win no time
CUDA_BYTES = 5 << 28  # of float32 logits: 2048 rows of a vocabulary of 152k
CUDA_BLOCK_BYTES = 5 << 29  # of 16-bit gradients: 8192 rows of 152k fill the products' tiles


@dataclass(frozen=True)
class Chunks:
    """Logits are made `inner` rows at a time; gradients of `outer` rows go through one product."""

    inner: int
    outer: int

    @classmethod
    def of(
        cls, vocabulary: int, device: torch.device, operand: torch.dtype, chunk: int | None = None
    ) -> Chunks:
        """`chunk` sets `inner`. On a CPU both are the same: a larger product is no faster there."""
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1 row, not {chunk}")
        if device.type == "cpu":
            inner = chunk or max(CPU_BYTES // (4 * vocabulary), 16)
            return cls(inner, inner)
        inner = chunk or _round(CUDA_BYTES // (4 * vocabulary), 128)
        return cls(inner, _round(CUDA_BLOCK_BYTES // (operand.itemsize * vocabulary), inner))


def _round(rows: int, unit: int) -> int:
    """`rows` down to whole units, at least one."""
    return max(rows // unit, 1) * unit
