"""How segments laid end to end are arranged for attention: padded groups, or bounds for a variable-length kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

WASTE = 0.25  # the share of a padded group that may be padding


@dataclass(frozen=True)
class Group:
    """Rows of like length."""

    index: Tensor  # [rows, longest] packed positions; behind a row's end some position of the pack
    causal: bool


@dataclass(frozen=True)
class Packing:
    """Who attends to what: padded groups, or bounds for a variable-length kernel.

    Queries of a segment see all its keys but those behind them: with a prefix there are more keys
    than queries.
    """

    cu_seqlens: Tensor  # [segments + 1] int32, where queries begin
    cu_keys: Tensor  # [segments + 1] int32, where keys begin among `keys`
    keys: Tensor | None  # [K] packed positions; None: those of the queries
    longest: int  # keys of a segment
    groups: tuple[Group, ...]
    back: Tensor  # [T] where each packed position lies in the groups laid end to end

    @classmethod
    def of(
        cls, cu_seqlens: Tensor, *, padded: bool, prefix: Sequence[int] | None = None
    ) -> Packing:
        """`prefix`: for each segment the earlier one it continues (a shared prompt), or -1."""
        bounds = cu_seqlens.tolist()
        if len(bounds) < 2 or any(end <= start for start, end in pairwise(bounds)):
            raise ValueError(f"cu_seqlens must rise from 0, not {bounds[:8]}")
        device = cu_seqlens.device
        segments = [range(*each) for each in pairwise(bounds)]
        if not padded:
            rows = _continued(segments, prefix)
            ends = torch.tensor([0, *accumulate(map(len, rows))], dtype=torch.int32)
            keys = None if prefix is None else torch.tensor([at for row in rows for at in row])
            return cls(
                cu_seqlens,
                ends.to(device),
                None if keys is None else keys.to(device),
                max(map(len, rows)),
                (),
                torch.empty(0),
            )
        rows = _alone(segments, prefix)
        back = torch.empty(bounds[-1], dtype=torch.long)
        offset, groups = 0, []
        for members in _groups(rows):
            longest = len(members[0])
            index = torch.empty(len(members), longest, dtype=torch.long)
            for place, row in enumerate(members):
                positions = torch.tensor([*row])
                index[place] = positions[-1]
                index[place, : len(row)] = positions
                back[positions] = torch.arange(offset, offset + len(row))
                offset += longest
            groups.append(Group(index.to(device), longest > 1))
        longest = max(map(len, rows))
        return cls(cu_seqlens, cu_seqlens, None, longest, tuple(groups), back.to(device))


Row = Sequence[int]  # packed positions, in the order in which they attend


def _continued(segments: Sequence[range], prefix: Sequence[int] | None) -> list[Row]:
    """Each segment with the one it continues in front."""
    if prefix is None:
        return [*segments]
    return [
        segment if before < 0 else [*segments[before], *segment]
        for segment, before in zip(segments, prefix, strict=True)
    ]


def _alone(segments: Sequence[range], prefix: Sequence[int] | None) -> list[Row]:
    """The same without the segments that others continue: those hold them."""
    held = set(prefix or ()) - {-1}
    rows = _continued(segments, prefix)
    return [row for number, row in enumerate(rows) if number not in held]


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows by falling length, a new group where padding would pass WASTE."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=len, reverse=True):
        if groups and len(row) >= (1 - WASTE) * len(groups[-1][0]):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
