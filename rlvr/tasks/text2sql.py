"""Questions about databases, answered by a query (Spider, Yu et al. 2018, arXiv:1809.08887)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from rlvr.errors import UserError
from rlvr.tasks import source
from rlvr.types import Problem

SYSTEM = (
    "You write SQLite queries. Think briefly if you need to, then give one SELECT statement "
    "in a ```sql block."
)
# the files of a split, the first that is there: ours, Spider's, BIRD's
_FILES = {
    "train": ("train.jsonl", "train_spider.json", "train.json"),
    "test": ("test.jsonl", "dev.jsonl", "dev.json", "test.json"),
    "dev": ("dev.jsonl", "dev.json"),
}
_FOLDERS = ("database", "databases", "dev_databases", "train_databases", "test_database")
_QUERY_FIELDS = ("sql", "query", "SQL")


@dataclass(frozen=True)
class Text2SQL:
    """Questions about databases, from a folder laid out like Spider's; the schema is in the prompt.

    Not covered: other databases than SQLite files. The folder holds `train.jsonl` and `dev.jsonl`
    (or Spider's `train_spider.json` and `dev.json`) with `question`, `db_id` and `sql` or `query`,
    and `database/DB.sqlite` or `database/DB/DB.sqlite`. The split `test` is the dev file where
    there is no test file. The reference is the query, the field `database` the file's path.
    """

    path: Path
    rows: int = 0  # first rows of each table shown in the prompt
    system: str = SYSTEM  # empty: no system prompt

    verifier: ClassVar[str] = "sql"
    max_tokens: ClassVar[int] = 512

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ValueError("rows must be 0 or more")

    def problems(self, split: str) -> Sequence[Problem]:
        folder = Path(self.path).expanduser().absolute()
        found = _file(folder, split)
        return [
            self._problem(folder, row, f"{found.name} row {index + 1}", f"{split}-{index}", split)
            for index, row in enumerate(_rows(found))
        ]

    def _problem(
        self, folder: Path, row: dict[str, Any], where: str, number: str, split: str
    ) -> Problem:
        database = _database(folder, source.text(row, "db_id", where), where)
        named = next((name for name in _QUERY_FIELDS if name in row), _QUERY_FIELDS[0])
        asked = [schema(database, self.rows), source.text(row, "question", where)]
        if row.get("evidence"):  # BIRD's hint
            asked.insert(1, f"-- {row['evidence']}")
        messages = [{"role": "system", "content": self.system}] if self.system else []
        return Problem(
            id=str(row.get("id", f"text2sql-{number}")),
            prompt=[*messages, {"role": "user", "content": "\n\n".join(asked)}],
            reference=source.text(row, named, where),
            fields={"database": str(database)},
            split=split,
        )


@lru_cache(maxsize=1024)
def schema(database: Path, rows: int = 0) -> str:
    """The CREATE statements of tables and views, the first `rows` rows of each as comments."""
    uri = f"file:{quote(str(database))}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            made = connection.execute(
                "SELECT name, type, sql FROM sqlite_master "
                "WHERE sql IS NOT NULL AND type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
            ).fetchall()
            return "\n".join(
                sql.strip() + ";" + (_sample(connection, name, rows) if kind == "table" else "")
                for name, kind, sql in made
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise UserError(f"cannot read the schema of {database}: {error}") from error


def _sample(connection: sqlite3.Connection, table: str, rows: int) -> str:
    if not rows:
        return ""
    quoted = table.replace('"', '""')
    cursor = connection.execute(f'SELECT * FROM "{quoted}" LIMIT {rows}')
    names = [column[0] for column in cursor.description]
    lines = [" | ".join(map(_short, line)) for line in (names, *cursor.fetchall())]
    return "\n" + "\n".join(f"-- {line}" for line in lines)


def _short(cell: object) -> str:
    words = " ".join(str("NULL" if cell is None else cell).split())
    return words if len(words) <= 40 else words[:37] + "..."


def _file(folder: Path, split: str) -> Path:
    if not folder.is_dir():
        raise UserError(f"--task.path {folder}: no such folder")
    if split not in _FILES:
        raise UserError(f"text2sql has no split '{split}' (splits: {', '.join(_FILES)})")
    for name in _FILES[split]:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} has no {split} questions (looked for {', '.join(_FILES[split])})")


def _rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".jsonl":
        return source.read_jsonl(file)
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file} is not a list of questions")
    return rows


def _database(folder: Path, name: str, where: str) -> Path:
    if Path(name).name != name:
        raise UserError(f"{where}: '{name}' is not the name of a database")
    for kind in _FOLDERS:
        for place in (folder / kind / f"{name}.sqlite", folder / kind / name / f"{name}.sqlite"):
            if place.is_file():
                return place
    raise UserError(f"{where}: no database '{name}' in {folder / _FOLDERS[0]}")
