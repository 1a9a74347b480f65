"""SQLite's date functions with a clock that stands still, so that the same query gives the same
rows on every day.

Only connections whose query mentions a date function get them; there, `now` and a missing time are
`MOMENT`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MOMENT = "2025-01-01 00:00:00"
_FUNCTIONS = ("date", "time", "datetime", "julianday", "unixepoch")
_MENTION = re.compile(
    r"\b(?:date|time|datetime|julianday|unixepoch|strftime)\s*\(|\bcurrent_(?:date|time)", re.I
)


def mentions_time(sql: str) -> bool:
    return _MENTION.search(sql) is not None


def stop(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Give the connection the standing clock. The work is still done by SQLite's own functions, in
    a second connection: returned, to be closed after the first.
    """
    real = sqlite3.connect(":memory:", isolation_level=None)

    def ask(name: str, leading: int) -> Callable[..., Any]:
        @lru_cache(maxsize=4096)
        def answer(*arguments: Any) -> Any:
            given = list(arguments)
            if len(given) == leading:
                given.append(MOMENT)
            given = [MOMENT if isinstance(a, str) and a.lower() == "now" else a for a in given]
            marks = ", ".join("?" * len(given))
            return real.execute(f"SELECT {name}({marks})", given).fetchone()[0]

        return answer

    for name in _FUNCTIONS:
        connection.create_function(name, -1, ask(name, 0), deterministic=True)
    connection.create_function("strftime", -1, ask("strftime", 1), deterministic=True)
    day, hour = MOMENT.split()
    for name, value in (
        ("current_date", day),
        ("current_time", hour),
        ("current_timestamp", MOMENT),
    ):
        connection.create_function(name, 0, lambda value=value: value, deterministic=True)
    return real
