"""MBPP: 974 short Python programs (Austin et al. 2021, arXiv:2108.07732)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rlvr.errors import UserError
from rlvr.tasks import source
from rlvr.types import Problem

SYSTEM = "Write the whole program in one Python code block."
# by `task_id`, as in the paper's appendix
SPLITS = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
    "all": range(1, 975),
}


@dataclass(frozen=True)
class MBPP:
    """MBPP programs, from the hub or a local file with all 974; the paper's splits."""

    path: Path | None = (
        None  # a .jsonl file, or a folder with one; none: google-research-datasets/mbpp
    )
    shown_tests: int = 1  # assertions in the question; they tell the function's name and arguments
    system: str = SYSTEM  # empty: no system prompt

    verifier: ClassVar[str] = "code"

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in SPLITS:
            raise UserError(f"task mbpp has the splits {', '.join(SPLITS)}, not '{split}'")
        rows = self._rows(split)
        chosen = [row for row in rows if _number(row) in SPLITS[split]]
        if not chosen:
            raise UserError(f"no problem of split '{split}' in {self.path or 'the data set'}")
        return [self._problem(row, split) for row in chosen]

    def _rows(self, split: str) -> Sequence[dict[str, Any]]:
        if self.path is not None:
            return source.one_file(self.path, ("mbpp", "all", split))
        names = tuple(SPLITS)[:-1] if split == "all" else (split,)
        data = [source.hub_rows("google-research-datasets/mbpp", "full", each) for each in names]
        return [row for rows in data for row in rows]

    def _problem(self, row: dict[str, Any], split: str) -> Problem:
        where = f"mbpp problem {_number(row)}"
        tests = row.get("test_list")
        if not isinstance(tests, list) or not all(isinstance(each, str) for each in tests):
            raise UserError(f"{where}: 'test_list' is not a list of assertions")
        shown = "\n".join(tests[: self.shown_tests])
        question = source.text(row, "text", where)
        if shown:
            question = f"{question}\n\nYour code must pass these tests:\n\n```python\n{shown}\n```"
        system = [{"role": "system", "content": self.system}] if self.system else []
        return Problem(
            id=f"mbpp-{_number(row)}",
            prompt=[*system, {"role": "user", "content": question}],
            reference=row.get("code"),
            fields={"tests": "\n".join([str(row.get("test_setup_code") or ""), *tests])},
            split=split,
        )


def _number(row: dict[str, Any]) -> int:
    try:
        return int(row["task_id"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"mbpp: a row without a task_id: {str(row)[:80]}") from None
