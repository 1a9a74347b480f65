from __future__ import annotations

from dataclasses import dataclass

from rlvr.loss.clip.within import Epsilon


@dataclass(frozen=True)
class PPO(Epsilon):
    """Token ratio clipped to 1 +- eps (arXiv:1707.06347).

    `dual` bounds what a negative weight may count (arXiv:1912.09729).
    """
