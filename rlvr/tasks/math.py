"""MATH: 12.5 thousand competition problems (Hendrycks et al. 2021, arXiv:2103.03874)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rlvr.tasks import source
from rlvr.types import Problem

log = logging.getLogger("rlvr")

SYSTEM = "Reason step by step. End with the final answer alone in \\boxed{}."


@dataclass(frozen=True)
class Math:
    """MATH competition problems, from the hub or a local folder with train.jsonl and test.jsonl."""

    path: Path | None = None  # a folder or file; none: DigitalLearningGmbH/MATH-lighteval
    levels: tuple[int, ...] = ()  # only these difficulty levels, 1 to 5; empty: all
    system: str = SYSTEM  # empty: no system prompt

    verifier: ClassVar[str] = "math"
    max_tokens: ClassVar[int] = 1024

    def problems(self, split: str) -> Sequence[Problem]:
        problems, without = [], 0
        rows = source.rows(self.path, "DigitalLearningGmbH/MATH-lighteval", None, split)
        for index, row in enumerate(rows):
            where = f"math {split} row {index}"
            level = str(row.get("level", ""))
            if self.levels and level.removeprefix("Level ") not in map(str, self.levels):
                continue
            gold = next((name for name in ("answer", "solution") if row.get(name)), None)
            if gold is None:
                without += 1
                continue
            problems.append(
                Problem(
                    id=str(row.get("id", f"math-{split}-{index}")),
                    prompt=[
                        *([{"role": "system", "content": self.system}] if self.system else []),
                        {"role": "user", "content": source.text(row, "problem", where)},
                    ],
                    reference=source.text(row, gold, where),
                    fields={"level": level, "type": row.get("type", "")},
                    split=split,
                )
            )
        if without:
            log.warning("math %s: %d rows without an answer are left out", split, without)
        return problems
