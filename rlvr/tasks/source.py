"""Where a data set comes from: a file or folder of the user's, or the hub through `datasets`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr.errors import UserError


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object a line; blank lines are skipped. Raises UserError that names the line."""
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{path} line {number}: not JSON ({error.msg})") from None
                if not isinstance(row, dict):
                    raise UserError(f"{path} line {number}: not an object")
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if not rows:
        raise UserError(f"{path} holds no problems")
    return rows


def local_rows(path: Path, split: str) -> list[dict[str, Any]]:
    """Rows of `split`: from `split.jsonl` in a folder, or from the file itself whatever the split."""
    if path.is_file():
        return read_jsonl(path)
    if not path.is_dir():
        raise UserError(f"--task.path {path}: no such file or folder")
    found = path / f"{split}.jsonl"
    if not found.is_file():
        there = sorted(file.stem for file in path.glob("*.jsonl"))
        raise UserError(f"{path} has no {split}.jsonl (splits there: {', '.join(there) or 'none'})")
    return read_jsonl(found)


def one_file(path: Path, stems: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of data that is not kept in splits: the file itself, or the first `stem.jsonl` of a folder."""
    if path.is_dir():
        for stem in stems:
            if (path / f"{stem}.jsonl").is_file():
                return read_jsonl(path / f"{stem}.jsonl")
        raise UserError(f"{path} has no {stems[0]}.jsonl")
    return local_rows(path, stems[0])


def hub_rows(name: str, subset: str | None, split: str) -> Sequence[dict[str, Any]]:
    """Rows of `split` from the Hugging Face hub."""
    import datasets

    try:
        found: Sequence[dict[str, Any]] = datasets.load_dataset(name, subset, split=split)
    except Exception as error:  # noqa: BLE001 - the library's network and data errors share no base
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot load {name} ({split}) from the hub: {reason}; --task.path takes a local copy"
        ) from None
    return found


def rows(path: Path | None, name: str, subset: str | None, split: str) -> Sequence[dict[str, Any]]:
    return hub_rows(name, subset, split) if path is None else local_rows(path, split)


def text(row: dict[str, Any], field: str, where: str) -> str:
    """Field `field` of a row as a string. Raises UserError that names the row."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: no text in field '{field}' (fields: {', '.join(map(str, row))})")
    return value
