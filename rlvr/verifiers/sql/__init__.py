"""The verifier `sql`: the rows of a query against the rows of the reference's query.

- verifier.py: the plug-in, its settings, what status each ending has
- extract.py: the query in a response
- lexer.py: words, statements, writes
- court.py: runs references and responses
- order.py: what the reference's ORDER BY asks for
- constants.py: what the reference compares columns with
- rows.py: are two results the same
- permute.py: ... in some order of the columns
- process.py: the query process from outside
- runner.py: ... from inside
- engines/: SQLite, DuckDB, PostgreSQL, the perturbed copies
- snapshot.py: a SQLite file and its log as bytes
- clock.py: date functions that stand still
- databases.py: what `database` names
- wire.py: messages
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlvr.verifiers.sql.verifier import Sql

__all__ = ["Sql"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: a query process imports this package too and needs none of it."""
    if name == "Sql":
        from rlvr.verifiers.sql.verifier import Sql

        return Sql
    raise AttributeError(f"module 'rlvr.verifiers.sql' has no attribute {name!r}")
