"""GSM8K: 8.5 thousand grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rlvr.tasks import source
from rlvr.types import Problem

SYSTEM = "Reason step by step. End with the final answer alone in \\boxed{}."


@dataclass(frozen=True)
class GSM8K:
    """GSM8K word problems, from the hub or a local folder with train.jsonl and test.jsonl."""

    path: Path | None = None  # a folder or file; none: openai/gsm8k from the hub
    system: str = SYSTEM  # empty: no system prompt

    verifier: ClassVar[str] = "math"
    max_tokens: ClassVar[int] = 512

    def problems(self, split: str) -> Sequence[Problem]:
        problems = []
        for index, row in enumerate(source.rows(self.path, "openai/gsm8k", "main", split)):
            where = f"gsm8k {split} row {index}"
            question = source.text(row, "question", where)
            problems.append(
                Problem(
                    id=str(row.get("id", f"gsm8k-{split}-{index}")),
                    prompt=[
                        *([{"role": "system", "content": self.system}] if self.system else []),
                        {"role": "user", "content": question},
                    ],
                    reference=source.text(row, "answer", where).rsplit("####", 1)[-1].strip(),
                    split=split,
                )
            )
        return problems
