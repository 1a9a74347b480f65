"""What runs a query, one database system a file. These modules are loaded in the query process
only.

Each has `run(job) -> Reply` and never raises for what the query does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """One query on one database, and what it may use."""

    sql: str
    target: str  # a path or a URL
    seconds: float
    max_rows: int
    max_bytes: int
    perturb: int | None = None  # the seed of a perturbed copy; None is the database as it is
    # (column, value) that rows of a perturbed copy hold
    plant: tuple[tuple[str, int | float | str], ...] = ()
    reverse: bool = (
        False  # scan unordered tables backwards: shows results that hang on the order of rows
    )


@dataclass(frozen=True)
class Reply:
    """`error` is empty or one of: database, forbidden, timeout, memory, rows, sql, unsupported."""

    error: str = ""
    detail: str = ""
    width: int = 0
    rows: list[Any] = field(default_factory=list)


class Refused(Exception):
    """A job ends without rows; carries the reply."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.reply = Reply(error, detail)


def size(row: Any) -> int:
    """Bytes of a row as counted against the cap: what its texts and blobs hold, 8 for everything
    else.
    """
    return sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
