"""HumanEval: 164 Python functions to complete (Chen et al. 2021, arXiv:2107.03374)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rlvr.errors import UserError
from rlvr.tasks import source
from rlvr.types import Problem

SYSTEM = "Write the whole function, with its imports, in one Python code block."


@dataclass(frozen=True)
class HumanEval:
    """HumanEval functions, from the hub or a local file; test problems only, unless you share them out.

    Not covered: training problems. With `train_share` above 0 that share of the problems, chosen by a hash of their
    names, moves to split `train`; results on the rest cannot be compared with published ones.
    """

    path: Path | None = None  # a .jsonl file, or a folder with one; none: openai/openai_humaneval
    train_share: float = 0.0  # of the 164 problems, moved from test to train
    chat: bool = True  # ask in a chat; otherwise the model continues the signature and docstring
    system: str = SYSTEM  # empty: no system prompt

    verifier: ClassVar[str] = "code"

    def __post_init__(self) -> None:
        if not 0 <= self.train_share < 1:
            raise ValueError("train_share is at least 0 and below 1")

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in ("train", "test"):
            raise UserError(f"task humaneval has the splits train and test, not '{split}'")
        if split == "train" and not self.train_share:
            raise UserError("humaneval has no training problems; --task.train_share 0.8 takes some")
        found = [self._problem(row, split, index) for index, row in enumerate(self._rows())]
        return [each for each in found if self._to_train(each.id) == (split == "train")]

    def _to_train(self, name: str) -> bool:
        return hashlib.sha256(name.encode()).digest()[0] < 256 * self.train_share

    def _rows(self) -> Sequence[dict[str, Any]]:
        if self.path is None:
            return source.hub_rows("openai/openai_humaneval", None, "test")
        return source.one_file(self.path, ("humaneval", "HumanEval", "test"))

    def _problem(self, row: dict[str, Any], split: str, index: int) -> Problem:
        where = f"humaneval problem {index + 1}"
        prompt = source.text(row, "prompt", where)
        question = f"Complete this function.\n\n```python\n{prompt}```"
        system = [{"role": "system", "content": self.system}] if self.system else []
        return Problem(
            id=str(row.get("task_id", f"humaneval-{index}")),
            prompt=[*system, {"role": "user", "content": question}] if self.chat else prompt,
            reference=row.get("canonical_solution"),
            fields={
                "tests": source.text(row, "test", where),
                "entry_point": source.text(row, "entry_point", where),
                "prompt": prompt,
            },
            split=split,
        )
