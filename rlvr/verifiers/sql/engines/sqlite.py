"""SQLite: a private image in memory (large files: read-only and immutable), an authoriser, limits.

Not covered: a step inside one long instruction (a huge LIKE or replace) is not interrupted from
here; the parent kills the process. Files over `IMAGE_BYTES` are read in place, so they must not
change while they are judged with.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from rlvr.verifiers.sql import clock, snapshot
from rlvr.verifiers.sql.engines import Job, Refused, Reply, size
from rlvr.verifiers.sql.engines.perturb import perturb

IMAGE_BYTES = 48 << 20  # a database up to this size is copied into memory
KEPT_BYTES = 96 << 20  # images and their page caches kept open for the next query on them
CACHE_BYTES = 1 << 20  # of pages beside each image
INSTRUCTIONS = 20_000  # between two looks at the clock: about a millisecond
TEXT_BYTES = 16 << 20  # the longest string or blob inside a query

_DENIED = """
changes edit fsdir fts3_tokenizer last_insert_rowid load_extension random randomblob readfile
sqlite_log sqlite_offset total_changes writefile zeroblob
"""
DENIED_FUNCTIONS = frozenset(_DENIED.split())
_DENIED_TABLES = ("sqlite_", "pragma_", "dbstat", "sqlite_dbpage", "bytecode", "tables_used")
_LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LENGTH: TEXT_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 200_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 500,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 2_000,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
}
_Key = tuple[object, ...]


@dataclass
class Opened:
    """A connection and what its authoriser has refused since the job began."""

    connection: sqlite3.Connection
    bytes: int
    refused: list[str] = field(default_factory=list)
    clock: sqlite3.Connection | None = None  # does the work of its time functions

    def close(self) -> None:
        self.connection.close()
        if self.clock is not None:
            self.clock.close()


class Sqlite:
    """Runs jobs on SQLite files; keeps recently used images open."""

    def __init__(self, memory_mb: int) -> None:
        self._heap = memory_mb << 20
        self._open: OrderedDict[_Key, Opened] = OrderedDict()

    def run(self, job: Job) -> Reply:
        start = time.monotonic()
        reply = self._try(job)
        if reply.error == "memory":
            alone = len(self._open) == 1
            self._close_all()
            left = start + job.seconds - time.monotonic()
            if not alone and left > 0:  # it may have been the images kept open that filled it
                reply = self._try(replace(job, seconds=left))
        return reply

    def _try(self, job: Job) -> Reply:
        try:
            return self._query(self._opened(job), job)
        except Refused as end:
            return end.reply
        except MemoryError:
            return Reply("memory", "out of memory")

    def _close_all(self) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def _opened(self, job: Job) -> Opened:
        path = Path(job.target)
        timed = clock.mentions_time(job.sql)
        try:
            key: _Key = (job.target, snapshot.stamp(path), job.perturb, job.plant, timed)
            if key not in self._open:
                self._open[key] = self._connect(path, job, timed)
        except (sqlite3.Error, snapshot.Unusable, OSError) as error:
            full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOMEM
            raise Refused("memory" if full else "database", f"{path.name}: {error}") from error
        self._open.move_to_end(key)
        while (
            len(self._open) > 1 and sum(entry.bytes for entry in self._open.values()) > KEPT_BYTES
        ):
            self._open.popitem(last=False)[1].close()
        return self._open[key]

    def _connect(self, path: Path, job: Job, timed: bool) -> Opened:
        large = path.stat().st_size > IMAGE_BYTES
        if large and snapshot.has_log(path):
            raise Refused("database", f"{path.name}: too large to apply its write-ahead log")
        if large and job.perturb is not None:
            raise Refused("unsupported", f"{path.name}: too large to perturb")
        image = b""
        if large:
            snapshot.check_journal(path)
            uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
            connection, held = sqlite3.connect(uri, uri=True, isolation_level=None), 0
        else:
            image = snapshot.read(path)
            connection, held = sqlite3.connect(":memory:", isolation_level=None), len(image)
        opened = Opened(connection, held + CACHE_BYTES)
        try:
            if image:
                connection.deserialize(image)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if job.perturb is not None:
                perturb(connection, job.perturb, job.plant)
            self._guard(opened, timed)
        except BaseException:
            opened.close()
            raise
        return opened

    def _guard(self, opened: Opened, timed: bool) -> None:
        connection = opened.connection
        for pragma in (
            "query_only=ON",
            "temp_store=MEMORY",
            f"cache_size=-{CACHE_BYTES >> 10}",
            "cell_size_check=ON",
            f"trusted_schema={'ON' if timed else 'OFF'}",
            f"hard_heap_limit={self._heap}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _touch_virtual(connection)
        if timed:
            opened.clock = clock.stop(connection)
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.text_factory = _text
        connection.set_authorizer(partial(_authorise, opened.refused))

    def _query(self, opened: Opened, job: Job) -> Reply:
        if job.reverse:
            _scan(opened, backwards=True)
        opened.refused.clear()
        connection = opened.connection
        end = time.monotonic() + job.seconds
        connection.set_progress_handler(_past(end), INSTRUCTIONS)
        cursor = connection.cursor()
        try:
            cursor.execute(job.sql)
            return _fetch(cursor, job)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            raise Refused(*_explain(error, opened.refused, time.monotonic() >= end)) from error
        finally:
            cursor.close()
            if job.reverse:
                _scan(opened, backwards=False)


def _scan(opened: Opened, backwards: bool) -> None:
    """Which way unordered scans go, set while the authoriser looks away."""
    opened.connection.set_authorizer(None)
    opened.connection.execute(f"PRAGMA reverse_unordered_selects={int(backwards)}")
    opened.connection.set_authorizer(partial(_authorise, opened.refused))


def _touch_virtual(connection: sqlite3.Connection) -> None:
    """Connect virtual tables before the authoriser stands: connecting one looks like a write."""
    found = connection.execute("SELECT name FROM pragma_table_list WHERE type = 'virtual'")
    for name in ("json_each", "json_tree", *(row[0] for row in found.fetchall())):
        quoted = name.replace('"', '""')
        with contextlib.suppress(sqlite3.Error):  # a module that is not built in
            connection.execute(f'SELECT 1 FROM "{quoted}" LIMIT 0').fetchall()


def _past(end: float) -> Callable[[], int]:
    return lambda: int(time.monotonic() >= end)


def _fetch(cursor: sqlite3.Cursor, job: Job) -> Reply:
    rows: list[tuple[object, ...]] = []
    held = 0
    while batch := cursor.fetchmany(256):
        rows += batch
        held += sum(map(size, batch))
        if len(rows) > job.max_rows:
            raise Refused("rows", f"more than {job.max_rows} rows")
        if held > job.max_bytes:
            raise Refused("rows", f"more than {job.max_bytes} bytes of rows")
    return Reply(width=len(cursor.description or ()), rows=rows)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _authorise(
    refused: list[str],
    action: int,
    first: str | None,
    second: str | None,
    _database: str | None,
    _via: str | None,
) -> int:
    if action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ:
        name = (first or "").lower()
        if not name.startswith(_DENIED_TABLES):
            return sqlite3.SQLITE_OK
        refused.append(f"reading {name}")
    elif action == sqlite3.SQLITE_FUNCTION:
        name = (second or "").lower()
        if name not in DENIED_FUNCTIONS:
            return sqlite3.SQLITE_OK
        refused.append(f"{name}()")
    elif action == sqlite3.SQLITE_PRAGMA and (first, second) == ("data_version", None):
        return (
            sqlite3.SQLITE_OK
        )  # full-text tables ask for it; as a statement it is refused earlier
    else:
        refused.append(_ACTIONS.get(action, f"action {action}"))
    return sqlite3.SQLITE_DENY


_ACTION_NAMES = """
ALTER_TABLE ANALYZE ATTACH CREATE_INDEX CREATE_TABLE CREATE_TEMP_INDEX CREATE_TEMP_TABLE
CREATE_TEMP_TRIGGER CREATE_TEMP_VIEW CREATE_TRIGGER CREATE_VIEW CREATE_VTABLE DELETE DETACH
DROP_INDEX DROP_TABLE DROP_TEMP_INDEX DROP_TEMP_TABLE DROP_TEMP_TRIGGER DROP_TEMP_VIEW
DROP_TRIGGER DROP_VIEW DROP_VTABLE INSERT PRAGMA REINDEX SAVEPOINT TRANSACTION UPDATE
"""
_ACTIONS = {
    getattr(sqlite3, f"SQLITE_{name}"): name.replace("_", " ") for name in _ACTION_NAMES.split()
}


def _explain(error: Exception, refused: list[str], late: bool) -> tuple[str, str]:
    """The kind and the words of what stopped a query."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    words = " ".join(str(error).split())[:300]
    if refused:
        return "forbidden", f"denied: {', '.join(dict.fromkeys(refused))}"
    if code in (sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY):
        return "forbidden", f"denied: {words}"
    missing = words.removeprefix("no such function: ").lower()
    if missing != words.lower() and missing in DENIED_FUNCTIONS:
        return "forbidden", f"denied: {missing}()"
    if code == sqlite3.SQLITE_INTERRUPT or late:
        return "timeout", "took too long"
    if code == sqlite3.SQLITE_NOMEM:
        return "memory", "out of memory"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
        return "database", words
    return "sql", words
