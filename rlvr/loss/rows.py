"""What is done to each row of logits: statistics of the softmax, and its gradient.

With z = shaped logits / temperature, l = z - lse(z), p = exp(l), a the chosen token, logp = l_a and
H = -sum p l:

    d loss / d z_v = g (1[v = a] - p_v) - e p_v (l_v + H),    g = d loss / d logp,  e = d loss / d H

`TorchRows` here, on any device; `rlvr.loss.rows_triton` does the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

CACHE = (
    1 << 19
)  # numbers worked on at a time, so that steps on them find them in the processor's cache


@dataclass(frozen=True)
class Shape:
    """z = softcap * tanh(y / softcap) / temperature."""

    temperature: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")
        if self.softcap is not None and not self.softcap > 0:
            raise ValueError(f"softcap must be above 0, not {self.softcap}")


@dataclass(frozen=True)
class Stats:
    """Of the rows' softmax."""

    logp: Tensor  # [n] of the chosen token
    lse: Tensor  # [n] log of the sum of exp z
    entropy: Tensor  # [n]


def merged(shards: Sequence[Stats]) -> Stats:
    """Stats of whole rows, from those of the pieces of the vocabulary they are spread over.

    In a piece without the chosen token that is -1 and its logp -inf. (lse, entropy) hold what the
    running sums m, s = sum e^(z - m) and t = sum e^(z - m) z do: lse = m + log s, lse - entropy =
    t / s. With the stats of whole rows, `gradient` of each piece is its part of the whole.
    """
    lse = torch.stack([each.lse for each in shards]).logsumexp(0)
    means = [(each.lse - lse).exp() * (each.lse - each.entropy - lse) for each in shards]
    chosen = torch.stack([each.logp + each.lse for each in shards]).amax(0)
    return Stats((chosen - lse).clamp(max=0), lse, (-torch.stack(means).sum(0)).clamp(min=0))


class Rows(Protocol):
    """Work on rows of logits. `logits` come without bias."""

    def stats(self, logits: Tensor, tokens: Tensor) -> Stats:
        """logits [n, V] stay as they are; tokens [n], -1 where another shard holds it."""
        ...

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
        """d loss / d logits of row i into out[place[i]], of no row whose place is -1.

        Places rise one by one.
        """
        ...


def rows_for(device: torch.device, shape: Shape, bias: Tensor | None) -> Rows:
    """The fastest implementation the device has."""
    if device.type == "cuda":
        try:
            from rlvr.loss.rows_triton import TritonRows
        except ImportError:
            return TorchRows(shape, bias)
        return TritonRows(shape, bias)
    return TorchRows(shape, bias)


@dataclass(frozen=True)
class TorchRows:
    """Rows in plain PyTorch. `out` may be `logits` itself where place[i] <= i."""

    shape: Shape
    bias: Tensor | None = None  # [V]

    def stats(self, logits: Tensor, tokens: Tensor) -> Stats:
        logp, lse, entropy = (logits.new_empty(len(logits)) for _ in range(3))
        size = max(CACHE // max(logits.shape[1], 1), 1)
        p = logits.new_empty(min(size, len(logits)), logits.shape[1])
        d = torch.empty_like(p)
        for start in range(0, len(logits), size):
            part = slice(start, start + size)
            z = self._shaped(logits[part], d[: len(logits[part])])
            top = z.amax(1, keepdim=True)
            shifted = torch.sub(z, top, out=d[: len(z)])
            if self.bias is not None:
                shifted.clamp_(min=torch.finfo(z.dtype).min)  # 0 * -inf below would be NaN
            weight = torch.exp(shifted, out=p[: len(z)])
            total = weight.sum(1)
            log_total = total.log()
            lse[part] = top[:, 0] + log_total
            chosen = shifted.gather(1, tokens[part, None].clamp(min=0))[:, 0]
            logp[part] = chosen.masked_fill(tokens[part] < 0, -torch.inf) - log_total
            mean = torch.bmm(weight[:, None], shifted[:, :, None])[:, 0, 0] / total
            entropy[part] = (log_total - mean).clamp(min=0)
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
        size = max(CACHE // max(logits.shape[1], 1), 1)
        kept = (place >= 0).nonzero()[:, 0]
        if not len(kept):
            return
        buffer = logits.new_empty(min(size, len(kept)), logits.shape[1])
        p = torch.empty_like(buffer)
        spread = bool((e != 0).any())
        for part in kept.split(size):
            first, last, to = int(part[0]), int(part[-1]) + 1, int(place[part[0]])
            whole = last - first == len(part)
            y = logits[first:last] if whole else logits[part]
            z = self._shaped(y, buffer[: len(part)])
            centred = torch.sub(z, stats.lse[part, None], out=buffer[: len(part)])
            weight = torch.exp(centred, out=p[: len(part)])
            slope = self._slope(centred, stats.lse[part, None])
            if spread:
                if self.bias is not None:
                    centred.clamp_(min=torch.finfo(z.dtype).min)
                centred.add_(stats.entropy[part, None]).mul_(-e[part, None])
                weight.mul_(centred.sub_(g[part, None]))
            else:
                weight.mul_(-g[part, None])
            here = g[part].masked_fill(tokens[part] < 0, 0).to(weight.dtype)
            weight.scatter_add_(1, tokens[part, None].clamp(min=0), here[:, None])
            if slope is not None:
                weight.mul_(slope)
            elif self.shape.temperature != 1:
                weight.mul_(1 / self.shape.temperature)
            out[to : to + len(part)] = weight

    def _shaped(self, y: Tensor, room: Tensor) -> Tensor:
        """z; in `room` unless it is y itself."""
        z = y
        if self.bias is not None:
            z = torch.add(z, self.bias, out=room)
        if self.shape.softcap is not None:
            z = torch.div(z, self.shape.softcap, out=room).tanh_().mul_(self.shape.softcap)
        if self.shape.temperature != 1:
            z = torch.mul(z, 1 / self.shape.temperature, out=room)
        return z

    def _slope(self, centred: Tensor, lse: Tensor) -> Tensor | None:
        """d z / d y where the softcap bends it: (1 - tanh^2) / temperature."""
        if self.shape.softcap is None:
            return None
        bent = (centred + lse).mul_(self.shape.temperature / self.shape.softcap)
        return bent.square_().neg_().add_(1).mul_(1 / self.shape.temperature)
