from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoCorrection:
    """Every token counts as if the trained policy had written it."""

    needs_old: ClassVar[bool] = False

    def __call__(self, log_ratio: Tensor, response: Tensor) -> Tensor:
        return torch.ones(len(log_ratio), dtype=torch.float64)
