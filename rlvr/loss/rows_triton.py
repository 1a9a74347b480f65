"""Rows of logits on a GPU: one program a row, two kernels, each reading the row once.

Not covered: rows split over programs, so fewer rows than the GPU has processors leave some idle. In
Triton's interpreter (TRITON_INTERPRET=1 when this module is imported) the same kernels run on a
CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlvr.loss.rows import Shape, Stats

BLOCK = 8192  # numbers of a row held in registers at a time
WARPS = 16
LOWEST = tl.constexpr(-1e30)  # stands for -inf, which 0 times would be NaN


@triton.jit  # type: ignore[untyped-decorator]
def _shaped(  # type: ignore[no-untyped-def]
    y,
    at,
    mask,
    bias,
    inverse_temperature: tl.constexpr,
    cap: tl.constexpr,
    biased: tl.constexpr,
):
    """z of logits y at positions `at`."""
    if biased:
        y += tl.load(bias + at, mask=mask, other=0.0).to(tl.float32)
    if cap > 0:
        y = cap * (
            2.0 * tl.sigmoid(2.0 * y / cap) - 1.0
        )  # tanh; libdevice is not in the interpreter
    return y * inverse_temperature


@triton.jit  # type: ignore[untyped-decorator]
def _stats_kernel(  # type: ignore[no-untyped-def]
    logits,
    stride,
    tokens,
    bias,
    logp,
    lse,
    entropy,
    vocabulary,
    inverse_temperature: tl.constexpr,
    cap: tl.constexpr,
    biased: tl.constexpr,
    block: tl.constexpr,
):
    """Running maximum m, s = sum e^(z - m), t = sum e^(z - m) (z - m) of one row."""
    row = tl.program_id(0).to(tl.int64)  # rows x vocabulary passes 2^31
    logits += row * stride
    m = LOWEST
    s = 0.0
    t = 0.0
    for start in range(0, vocabulary, block):
        at = start + tl.arange(0, block)
        mask = at < vocabulary
        y = tl.load(logits + at, mask=mask, other=0.0)
        z = _shaped(y, at, mask, bias, inverse_temperature, cap, biased)
        z = tl.where(mask, tl.maximum(z, LOWEST), LOWEST)
        top = tl.maximum(m, tl.max(z, 0))
        scale = tl.exp(m - top)
        e = tl.exp(z - top)
        t = scale * (t + (m - top) * s) + tl.sum(e * (z - top), 0)
        s = scale * s + tl.sum(e, 0)
        m = top
    token = tl.load(tokens + row)
    here = token >= 0  # else in another shard of the vocabulary
    y = tl.load(logits + token, mask=here, other=0.0)
    z = _shaped(y, token, here, bias, inverse_temperature, cap, biased)
    log_s = tl.log(s)
    tl.store(logp + row, tl.where(here, tl.minimum((z - m) - log_s, 0.0), float("-inf")))
    tl.store(lse + row, m + log_s)
    tl.store(entropy + row, tl.maximum(log_s - t / s, 0.0))


@triton.jit  # type: ignore[untyped-decorator]
def _gradient_kernel(  # type: ignore[no-untyped-def]
    logits,
    stride,
    tokens,
    bias,
    lse,
    entropy,
    g,
    e,
    place,
    out,
    out_stride,
    vocabulary,
    inverse_temperature: tl.constexpr,
    cap: tl.constexpr,
    biased: tl.constexpr,
    block: tl.constexpr,
):
    """One row of d loss / d logits; a block is read before it is written."""
    row = tl.program_id(0).to(tl.int64)
    to = tl.load(place + row).to(tl.int64)
    if to >= 0:
        logits += row * stride
        out += to * out_stride
        token = tl.load(tokens + row)
        row_lse = tl.load(lse + row)
        row_entropy = tl.load(entropy + row)
        row_g = tl.load(g + row)
        row_e = tl.load(e + row)
        for start in range(0, vocabulary, block):
            at = start + tl.arange(0, block)
            mask = at < vocabulary
            y = tl.load(logits + at, mask=mask, other=0.0)
            z = _shaped(y, at, mask, bias, inverse_temperature, cap, biased)
            log_p = tl.maximum(z - row_lse, LOWEST)
            p = tl.exp(log_p)
            d = p * (-row_g - row_e * (log_p + row_entropy))
            d += tl.where(at == token, row_g, 0.0)
            d *= inverse_temperature
            if cap > 0:
                bent = z / (inverse_temperature * cap)
                d *= 1.0 - bent * bent
            tl.store(out + at, d.to(out.dtype.element_ty), mask=mask)


@dataclass(frozen=True)
class TritonRows:
    """`rlvr.loss.rows.Rows` for float32 logits; `out` float32, bfloat16 or float16."""

    shape: Shape
    bias: Tensor | None = None  # [V]
    block: int = BLOCK

    def stats(self, logits: Tensor, tokens: Tensor) -> Stats:
        logp, lse, entropy = (logits.new_empty(len(logits)) for _ in range(3))
        self._launch(_stats_kernel, logits, tokens, self.bias, logp, lse, entropy)
        return Stats(logp, lse, entropy)

    def gradient(
        self,
        logits: Tensor,
        tokens: Tensor,
        stats: Stats,
        g: Tensor,
        e: Tensor,
        out: Tensor,
        place: Tensor,
    ) -> None:
        assert out.stride(1) == 1
        given = (each.float().contiguous() for each in (stats.lse, stats.entropy, g, e))
        self._launch(_gradient_kernel, logits, tokens, self.bias, *given, place, out, out.stride(0))

    def _launch(self, kernel: Any, logits: Tensor, tokens: Tensor, *rest: Any) -> None:
        if logits.dtype != torch.float32 or logits.stride(1) != 1:
            raise ValueError(f"logits must be float32 with adjacent columns, not {logits.dtype}")
        rows, vocabulary = logits.shape
        if not rows:
            return
        block = min(triton.next_power_of_2(vocabulary), self.block)
        kernel[(rows,)](
            logits,
            logits.stride(0),
            tokens,
            *rest,
            vocabulary,
            inverse_temperature=1 / self.shape.temperature,
            cap=self.shape.softcap or 0.0,
            biased=self.bias is not None,
            block=block,
            num_warps=max(1, min(WARPS, block // 256)),
        )
