"""PostgreSQL over a URL: a cursor declared in a read-only transaction that is always rolled back.

Not covered: what the server lets this role do by calling functions (give a role that may only
read; the names denied here are a second fence), and perturbed copies. The server's clock and its
settings are its own.
"""

from __future__ import annotations

import time

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from rlvr.verifiers.sql import lexer
from rlvr.verifiers.sql.engines import Job, Refused, Reply, size

BATCH = 500  # rows fetched at once
_DENIED = """
clock_timestamp current_date current_setting current_time current_timestamp currval
cursor_to_xml database_to_xml gen_random_uuid lastval localtime localtimestamp nextval now
query_to_xml random random_normal schema_to_xml set_config setseed setval statement_timestamp
table_to_xml timeofday transaction_timestamp txid_current uuidv4 uuidv7
"""
DENIED_WORDS = frozenset(_DENIED.split())
_DENIED_STARTS = ("pg_", "lo_", "dblink", "xpath_table", "query_to_xml", "brin_", "has_")
_BARE = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)
_READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction
_NO_PRIVILEGE = "42501"
_CANCELLED = "57014"
_MEMORY = ("53200", "53100", "53400")


class PostgreSQL:
    """Runs jobs over one connection a URL, kept open between jobs."""

    def __init__(self) -> None:
        self._open: dict[str, psycopg.Connection] = {}

    def run(self, job: Job) -> Reply:
        if job.perturb is not None:
            return Reply("unsupported", "perturb is for SQLite files")
        refused = denied(job.sql)
        if refused:
            return Reply("forbidden", f"denied: {refused}")
        try:
            return self._query(self._opened(job), job)
        except Refused as end:
            return end.reply
        except psycopg.Error as error:
            self._open.pop(job.target, None)
            return Reply("database", f"connection lost: {_brief(error)}")

    def _opened(self, job: Job) -> psycopg.Connection:
        held = self._open.get(job.target)
        if held is not None and not held.closed:
            return held
        try:
            wait = max(2, int(job.seconds))
            connection = psycopg.connect(job.target, autocommit=True, connect_timeout=wait)
        except psycopg.Error as error:
            raise Refused("database", f"no connection: {_brief(error)}") from error
        self._open[job.target] = connection
        return connection

    def _query(self, connection: psycopg.Connection, job: Job) -> Reply:
        end = time.monotonic() + job.seconds
        milliseconds = max(1, int(job.seconds * 1000))
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        _simple(connection, begin)
        try:
            _simple(connection, f"SET LOCAL statement_timeout = {milliseconds}")
            _simple(connection, f"SET LOCAL lock_timeout = {milliseconds}")
            _simple(connection, "SET LOCAL TimeZone = 'UTC'")
            # the extended protocol takes one statement, a cursor only what selects
            _ask(connection, f"DECLARE rlvr_rows NO SCROLL CURSOR FOR {job.sql}", end)
            return _fetch(connection, job, end)
        finally:
            _simple(connection, "ROLLBACK")


def denied(sql: str) -> str:
    """The first function whose answer is not a matter of the data, or that acts; empty when there
    is none.
    """
    found = lexer.tokens(sql, "postgresql")
    for token, after in zip(found, [*found[1:], None], strict=True):
        name = token.text.strip('"').lower()
        called = after is not None and after.text == "("
        if name in DENIED_WORDS and (called or (token.kind == "word" and name in _BARE)):
            return f"{name}()"
        if called and name.startswith(_DENIED_STARTS):
            return f"{name}()"
    return ""


def _simple(connection: psycopg.Connection, sql: str) -> None:
    result = connection.pgconn.exec_(sql.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))


def _ask(connection: psycopg.Connection, sql: str, end: float) -> pq.abc.PGresult:
    """Run one statement; what the server objects to is the query's own fault."""
    try:
        text = sql.encode()
    except UnicodeEncodeError as error:
        raise Refused("sql", _brief(error)) from error
    if b"\0" in text:
        raise Refused("sql", "a null character")
    result = connection.pgconn.exec_params(text, [])
    if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
        return result
    if connection.pgconn.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
    state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    words = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(
        "utf-8", "replace"
    )
    if state in (_READ_ONLY, _NO_PRIVILEGE):
        raise Refused("forbidden", f"denied: {words}")
    if state == _CANCELLED or time.monotonic() >= end:
        raise Refused("timeout", "took too long")
    raise Refused("memory" if state in _MEMORY else "sql", words)


def _fetch(connection: psycopg.Connection, job: Job, end: float) -> Reply:
    rows: list[tuple[object, ...]] = []
    held = 0
    while True:
        result = _ask(connection, f"FETCH {BATCH} FROM rlvr_rows", end)
        reader = Transformer(connection)
        reader.set_pgresult(result)
        batch = reader.load_rows(0, result.ntuples, tuple)
        rows += batch
        held += sum(map(size, batch))
        if len(rows) > job.max_rows:
            raise Refused("rows", f"more than {job.max_rows} rows")
        if held > job.max_bytes:
            raise Refused("rows", f"more than {job.max_bytes} bytes of rows")
        if len(batch) < BATCH:
            return Reply(width=result.nfields, rows=rows)


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
