"""Reads the text tables: fields between ` :: `, with the escapes of a Python string."""

from __future__ import annotations

import sqlite3
from pathlib import Path

HERE = Path(__file__).parent


def table(name: str) -> list[tuple[str, ...]]:
    """The rows of cases/NAME.txt; empty lines and lines that begin with # are left out."""
    found: list[tuple[str, ...]] = []
    for line in (HERE / "cases" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            fields = line.split("::") if line.endswith("::") else line.split(" :: ")
            found.append(tuple(_unescape(field) for field in fields))
    return found


def _unescape(field: str) -> str:
    for written, meant in (("\\n", "\n"), ("\\x00", "\0"), ("\\ud800", "\ud800")):
        field = field.replace(written, meant)
    return field


def build(path: Path, script: str) -> Path:
    """A SQLite database from one of the .sql files here."""
    connection = sqlite3.connect(path)
    connection.executescript((HERE / script).read_text(encoding="utf-8"))
    connection.close()
    return path
