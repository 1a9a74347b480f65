from __future__ import annotations

from dataclasses import dataclass

from rlvr.loss.clip.within import Epsilon


@dataclass(frozen=True)
class DAPO(Epsilon):
    """Clip-higher: more room above 1 than below, so rare tokens can grow (arXiv:2503.14476)."""

    eps_high: float = 0.28
    dual: float | None = 10.0
