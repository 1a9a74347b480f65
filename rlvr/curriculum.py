"""Which problems come next: shuffled epochs, so that a number is the whole of its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rlvr.types import Problem


@dataclass
class Curriculum:
    """Every problem once an epoch, each epoch in an order of its own."""

    problems: Sequence[Problem]
    seed: int
    position: int = 0  # problems handed out so far
    _order: tuple[int, list[int]] = field(default=(-1, []), repr=False)

    def next(self, count: int) -> list[Problem]:
        """The next `count` problems, all different (fewer when the data set holds fewer)."""
        taken: dict[int, Problem] = {}
        while len(taken) < min(count, len(self.problems)):
            epoch, offset = divmod(self.position, len(self.problems))
            if self._order[0] != epoch:
                generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                order = torch.randperm(len(self.problems), generator=generator).tolist()
                self._order = (epoch, order)
            index = self._order[1][offset]
            taken.setdefault(index, self.problems[index])
            self.position += 1
        return list(taken.values())
