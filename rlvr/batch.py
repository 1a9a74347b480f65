"""Weighted responses as packed tokens: minibatches of one optimiser step, parts that fit the memory.

Weights are normalised over the whole step before anything is cut, and the loss is a plain sum over tokens, so any cut
gives the same gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
    position_ids: Tensor  # [1, P], counted from the beginning of each row's prompt
    cu_seqlens: Tensor  # [segments + 1] int32, where segments begin
    prefix: tuple[int, ...]  # the segment (a prompt) that each continues, -1: none
    predicts: Tensor  # [T] which packed positions predict the response tokens
    tokens: Tensor  # [T]
    weight: Tensor  # [T]
    scale: Tensor  # [T]
    old_logp: Tensor  # [T]
    segment: Tensor  # [T] which row of this part each token belongs to
    ref_logp: Tensor | None = None  # [T]

    @classmethod
    def pack(cls, rows: Sequence[Row]) -> Part:
        """Rows of the same prompt continue one copy of it."""
        layout = Layout()
        predicts = [layout.add(row) for row in rows]
        references = [row.ref_logp for row in rows if row.ref_logp is not None]
        return cls(
            input_ids=torch.cat(layout.ids)[None],
            position_ids=torch.cat(layout.positions)[None],
            cu_seqlens=torch.tensor(layout.bounds, dtype=torch.int32),
            prefix=tuple(layout.prefix),
            predicts=torch.cat(predicts),
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
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass
class Layout:
    """Segments laid end to end: prompts, and what continues them."""

    ids: list[Tensor] = field(default_factory=list)
    positions: list[Tensor] = field(default_factory=list)
    bounds: list[int] = field(default_factory=lambda: [0])
    prefix: list[int] = field(default_factory=list)
    prompts: dict[tuple[int, ...], int] = field(default_factory=dict)  # prompt -> its segment

    def add(self, row: Row) -> Tensor:
        """Lay a row; returns the packed positions that predict its response tokens [L]."""
        key = tuple(row.prompt.tolist())
        if key not in self.prompts:
            self._segment(row.prompt, 0, -1)
            self.prompts[key] = len(self.prefix) - 1
        held = self.prompts[key]
        last = torch.tensor([self.bounds[held + 1] - 1])
        if len(row.tokens) == 1:
            return last
        start = self._segment(row.tokens[:-1], len(row.prompt), held)
        return torch.cat([last, torch.arange(start, self.bounds[-1])])

    def _segment(self, ids: Tensor, position: int, prefix: int) -> int:
        start = self.bounds[-1]
        self.ids.append(ids)
        self.positions.append(torch.arange(position, position + len(ids)))
        self.bounds.append(start + len(ids))
        self.prefix.append(prefix)
        return start


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
                tuple(
                    replace(row, weight=row.weight * count, scale=row.scale * count) for row in rows
                )
            )

    def parts(self, budget: int) -> list[Part]:
        """Packed parts of at most `budget` tokens (what is longer is a part of its own).

        First fit, the longest first. Rows of one prompt stay together as far as the budget allows
        and hold it once.
        """
        clusters: dict[tuple[int, ...], list[Row]] = {}
        for row in self.rows:
            clusters.setdefault(tuple(row.prompt.tolist()), []).append(row)
        pieces = [piece for rows in clusters.values() for piece in _pieces(rows, budget)]
        bins: list[tuple[int, list[Row]]] = []
        for width, piece in sorted(pieces, key=lambda each: -each[0]):
            for index, (used, rows) in enumerate(bins):
                if used + width <= budget:
                    bins[index] = (used + width, [*rows, *piece])
                    break
            else:
                bins.append((width, piece))
        return [Part.pack(rows) for _, rows in bins]


def _pieces(rows: Sequence[Row], budget: int) -> Iterator[tuple[int, list[Row]]]:
    """Rows of one prompt, cut where they pass the budget, each piece with its packed width."""
    piece: list[Row] = []
    width = 0
    for row in rows:
        more = len(row.tokens) - 1 if piece else row.width
        if piece and width + more > budget:
            yield width, piece
            piece, width, more = [], 0, row.width
        piece.append(row)
        width += more
    yield width, piece


def rows_of(rollouts: Sequence[Rollout], weight: Tensor, scale: Tensor) -> list[Row]:
    """One row a rollout; `weight`, `scale`: [T] in order."""
    lengths = [rollout.length for rollout in rollouts]
    return [
        Row(torch.tensor(each.prompt_ids), each.tokens, weights, scales, each.logprobs)
        for each, weights, scales in zip(
            rollouts, weight.split(lengths), scale.split(lengths), strict=True
        )
    ]
