"""DuckDB: the file opened read-only, no files or network from inside a query, one statement that
selects.

Not covered: a file that another process holds open for writing (the case is broken), and perturbed
copies.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import duckdb

from rlvr.verifiers.sql import lexer, snapshot
from rlvr.verifiers.sql.engines import Job, Refused, Reply, size

KEPT = 8  # databases kept open
_DENIED = """
current_date current_localtime current_localtimestamp current_setting current_time
current_timestamp currval gen_random_uuid get_current_time get_current_timestamp getdate getenv
getvariable glob nextval now query query_table random setseed today transaction_timestamp uuid
uuidv4 uuidv7
"""
DENIED_WORDS = frozenset(_DENIED.split())
_DENIED_STARTS = ("read_", "duckdb_", "pragma_", "parquet_", "sniff_", "which_secret", "sqlite_")


class DuckDB:
    """Runs jobs on DuckDB files; keeps recently used ones open."""

    def __init__(self, memory_mb: int) -> None:
        self._memory_mb = memory_mb
        self._open: dict[object, duckdb.DuckDBPyConnection] = {}

    def run(self, job: Job) -> Reply:
        if job.perturb is not None:
            return Reply("unsupported", "perturb is for SQLite files")
        try:
            refused = denied(job.sql)
            if refused:
                raise Refused("forbidden", f"denied: {refused}")
            return self._query(self._opened(job), job)
        except Refused as end:
            return end.reply
        except MemoryError:
            return Reply("memory", "out of memory")

    def _opened(self, job: Job) -> duckdb.DuckDBPyConnection:
        key = (job.target, snapshot.stamp(Path(job.target)))
        if key in self._open:
            return self._open[key]
        for old in list(self._open):
            if len(self._open) >= KEPT or (isinstance(old, tuple) and old[0] == job.target):
                self._open.pop(old).close()
        try:
            self._open[key] = _connect(job.target, self._memory_mb)
        except (duckdb.Error, OSError) as error:
            raise Refused("database", f"{job.target}: {_brief(error)}") from error
        return self._open[key]

    def _query(self, connection: duckdb.DuckDBPyConnection, job: Job) -> Reply:
        end = time.monotonic() + job.seconds
        cursor = connection.cursor()
        alarm = threading.Timer(job.seconds, cursor.interrupt)
        alarm.daemon = True
        alarm.start()
        try:
            parsed = cursor.extract_statements(job.sql)
            if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
                kind = parsed[0].type.name if parsed else "nothing"
                raise Refused("forbidden", f"denied: {kind}")
            cursor.execute(parsed[0])
            return _fetch(cursor, job)
        except duckdb.Error as error:
            raise Refused(*_explain(error, time.monotonic() >= end)) from error
        finally:
            alarm.cancel()
            cursor.close()


def denied(sql: str) -> str:
    """The first function or word whose answer is not a matter of the data; empty when there is
    none.
    """
    found = lexer.tokens(sql, "duckdb")
    for token, after in zip(found, [*found[1:], None], strict=True):
        name = token.text.strip('"').lower()
        called = after is not None and after.text == "("
        bare = token.kind == "word" and name.startswith("current_")
        if name in DENIED_WORDS and (called or bare):
            return f"{name}()"
        if called and name.startswith(_DENIED_STARTS):
            return f"{name}()"
    return ""


def _connect(target: str, memory_mb: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        target,
        read_only=True,
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": "",
            "threads": "1",
            "lock_configuration": "true",
        },
    )


def _fetch(cursor: duckdb.DuckDBPyConnection, job: Job) -> Reply:
    rows: list[tuple[object, ...]] = []
    held = 0
    width = len(cursor.description or ())
    while batch := cursor.fetchmany(1024):
        rows += batch
        held += sum(map(size, batch))
        if len(rows) > job.max_rows:
            raise Refused("rows", f"more than {job.max_rows} rows")
        if held > job.max_bytes:
            raise Refused("rows", f"more than {job.max_bytes} bytes of rows")
    return Reply(width=width, rows=rows)


def _explain(error: duckdb.Error, late: bool) -> tuple[str, str]:
    if isinstance(error, duckdb.InterruptException) or late:
        return "timeout", "took too long"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "memory", "out of memory"
    if isinstance(error, duckdb.PermissionException):
        return "forbidden", f"denied: {_brief(error)}"
    return "sql", _brief(error)


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
