"""Weighted responses as packed tokens: minibatches of one optimiser step, parts that fit the memory.

Weights are normalised over the whole step before anything is cut, and the loss is a plain sum over tokens, so any cut
gives the same gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlvr.types import Rollout


@dataclass(frozen=True)
class Row:
    """One response to train on: its prompt, and a number of each kind for every token [L]."""

    prompt: Tensor  # [P] int64
    tokens: Tensor  # [L] int64
    weight: Tensor  # [L] signed: advantage x aggregation scale
    scale: Tensor  # [L] aggregation scale alone, for KL and entropy terms
    old_logp: Tensor  # [L]
    ref_logp: Tensor | None = None  # [L]

    @property
    def width(self) -> int:
        """Tokens that pass through the model: the last response token is only predicted."""
        return len(self.prompt) + len(self.tokens) - 1


@dataclass(frozen=True)
class Part:
    """Rows laid end to end without padding. P packed tokens, T response tokens."""

    input_ids: Tensor  # [1, P]
    position_ids: Tensor  # [1, P], restarting at 0 for every row
    cu_seqlens: Tensor  # [rows + 1] int32, where rows begin
    predicts: Tensor  # [T] which packed positions predict the response tokens
    tokens: Tensor  # [T]
    weight: Tensor  # [T]
    scale: Tensor  # [T]
    old_logp: Tensor  # [T]
    segment: Tensor  # [T] which row of this part each token belongs to
    ref_logp: Tensor | None = None  # [T]

    @classmethod
    def pack(cls, rows: Sequence[Row]) -> Part:
        widths = [row.width for row in rows]
        starts = [0]
        for width in widths:
            starts.append(starts[-1] + width)
        inputs = torch.cat([each for row in rows for each in (row.prompt, row.tokens[:-1])])
        references = [row.ref_logp for row in rows if row.ref_logp is not None]
        return cls(
            input_ids=inputs[None],
            position_ids=torch.cat([torch.arange(width) for width in widths])[None],
            cu_seqlens=torch.tensor(starts, dtype=torch.int32),
            predicts=torch.cat(
                [
                    torch.arange(start + len(row.prompt) - 1, start + row.width)
                    for start, row in zip(starts, rows, strict=False)
                ]
            ),
            tokens=torch.cat([row.tokens for row in rows]),
            weight=torch.cat([row.weight for row in rows]),
            scale=torch.cat([row.scale for row in rows]),
            old_logp=torch.cat([row.old_logp for row in rows]),
            segment=torch.repeat_interleave(
                torch.arange(len(rows)), torch.tensor([len(row.tokens) for row in rows])
            ),
            ref_logp=torch.cat(references) if len(references) == len(rows) else None,
        )

    def to(self, device: torch.device) -> Part:
        moved = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Batch:
    """The responses of a step (or of one minibatch of it) that have a say in the gradient."""

    rows: tuple[Row, ...]

    @classmethod
    def of(
        cls, rollouts: Sequence[Rollout], weight: Tensor, scale: Tensor, *, every: bool = False
    ) -> Batch:
        """Rows of the rollouts whose weights are not all zero; `weight`, `scale`: [T] in order.

        With `every`, rows whose scale is not all zero stay too: a KL or entropy term reaches them.
        """
        say = scale if every else weight
        lengths = [rollout.length for rollout in rollouts]
        return cls(
            tuple(
                row
                for row, says in zip(
                    rows_of(rollouts, weight, scale), say.split(lengths), strict=True
                )
                if bool((says != 0).any())
            )
        )

    @property
    def tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)

    def minibatches(self, count: int, seed: int) -> Iterator[Batch]:
        """`count` shuffled shares, one optimiser step each, with the weight of the whole batch.

        With fewer rows than `count` there are as many minibatches as rows.
        """
        count = min(count, len(self.rows))
        if count <= 1:
            yield self
            return
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(seed))
        for share in order.tensor_split(count):
            rows = [self.rows[index] for index in share.tolist()]
            yield Batch(
                tuple(replace(row, weight=row.weight * count, scale=row.scale * count) for row in rows)
            )

    def parts(self, budget: int) -> list[Part]:
        """Packed parts of at most `budget` tokens (a longer row is a part of its own).

        First fit, longest rows first: rows of like length share a part, and few parts are needed.
        """
        bins: list[tuple[int, list[Row]]] = []
        for row in sorted(self.rows, key=lambda row: -row.width):
            for index, (used, rows) in enumerate(bins):
                if used + row.width <= budget:
                    rows.append(row)
                    bins[index] = (used + row.width, rows)
                    break
            else:
                bins.append((row.width, [row]))
        return [Part.pack(rows) for _, rows in bins]


def rows_of(rollouts: Sequence[Rollout], weight: Tensor, scale: Tensor) -> list[Row]:
    """One row a rollout; `weight`, `scale`: [T] in order."""
    lengths = [rollout.length for rollout in rollouts]
    return [
        Row(torch.tensor(each.prompt_ids), each.tokens, weights, scales, each.logprobs)
        for each, weights, scales in zip(
            rollouts, weight.split(lengths), scale.split(lengths), strict=True
        )
    ]
