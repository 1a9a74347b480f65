"""What a selector gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class Selection:
    """Kept responses and tokens, with counts. A dropped response drops its tokens in any case."""

    keep: Tensor  # [N] bool
    tokens: Tensor  # [T] bool
    report: Mapping[str, Any] = field(default_factory=dict)


class Selector(Protocol):
    """`progress` runs from 0 (first step) to 1 (last); `needs_entropy` asks for the entropies."""

    @property
    def needs_entropy(self) -> bool: ...

    def __call__(self, scores: Scores, advantage: Tensor, progress: float, /) -> Selection: ...
