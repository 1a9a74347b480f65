"""What an estimator may give back beside the plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from rlvr.advantage.scores import Scores


@dataclass(frozen=True)
class Estimate:
    """Advantages with a report of how they came about.

    `unit` [N] int64 numbers the responses that a selection must keep or drop together (-1: belongs
    to none).
    """

    values: Tensor  # [N] float64
    report: Mapping[str, Any] = field(default_factory=dict)
    unit: Tensor | None = None


class Estimator(Protocol):
    """Scores to one signed number a response. Two optional class attributes say what it reads.

    `needs: ClassVar[tuple[str, ...]]` of "length", "logprob", "entropy"; `before_filter:
    ClassVar[bool]`, True when its statistics must see the prompts that the filter drops. One that
    learns offers `state_dict` and `load_state_dict` and updates itself inside the call, after the
    old state was used.
    """

    def __call__(self, scores: Scores, /) -> Tensor | Estimate: ...
