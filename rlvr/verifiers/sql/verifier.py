"""The verifier `sql`."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from rlvr.types import Status, Verdict
from rlvr.verifiers.sql import lexer
from rlvr.verifiers.sql.constants import constants
from rlvr.verifiers.sql.court import TRIES, Court, Limits, Unsupported, View
from rlvr.verifiers.sql.databases import Database, NoDatabase, find
from rlvr.verifiers.sql.engines import Reply
from rlvr.verifiers.sql.extract import LONGEST, extract
from rlvr.verifiers.sql.permute import agrees_in_some_order
from rlvr.verifiers.sql.rows import Table

_ENDINGS = {"forbidden": Status.FORBIDDEN, "timeout": Status.TIMEOUT, "memory": Status.TIMEOUT}


@dataclass(frozen=True)
class Sql:
    """Rows of the response's query against the rows of the reference's, on every database given.

    Not covered: whether a query is right on other data than it was tried on (`perturb` helps), and
    a reference whose LIMIT cuts through a tie: only the rows it happened to keep are right.
    Queries run in processes of their own, SIGKILLed at the deadline, on a private image of the
    database that the query cannot write to; see `engines/` for each system.
    """

    timeout: float = 5.0  # seconds for one verdict, the reference's first run included
    max_rows: int = 100_000  # of one result
    max_bytes: int = 32 << 20  # of text and blobs in one result
    query_mb: int = 512  # memory of a query process
    any_permutation: bool = False  # accept the reference's columns in another order
    perturb: int = 0  # copies of each SQLite database with changed content that must agree too
    seed: int = 0  # of the perturbed copies

    version: ClassVar[str] = "1"
    # for the worker above the query processes; they limit themselves, DuckDB maps much
    pool_memory_mb: ClassVar[int] = 8192

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError("timeout must be above 0 seconds")
        if min(self.max_rows, self.max_bytes, self.query_mb) < 1:
            raise ValueError("max_rows, max_bytes and query_mb must be at least 1")
        if self.perturb < 0:
            raise ValueError("perturb must be 0 or more copies")

    def __call__(
        self, response: str, reference: object = None, *, database: object = None, **fields: object
    ) -> Verdict:
        """Judge one response. `reference`: a query or a list of accepted ones; `database`: a path,
        a URL or a list.
        """
        started = time.monotonic()
        query: str | None = None
        try:
            databases = find(database)
            references = _references(reference, databases[0].scheme)
            query = extract(str(response), databases[0].scheme)
            with _LOCK:
                trial = _Trial(self, query, references, databases, started)
                status, detail = trial.judge()
        except (NoDatabase, BadReference, Unsupported) as error:
            status, detail = Status.BROKEN, str(error)
        except Exception as error:  # noqa: BLE001  the outermost boundary: a fault of ours is no reward
            status, detail = Status.BROKEN, f"{type(error).__name__}: {error}"[:300]
        reward = {Status.BROKEN: None, Status.CORRECT: 1.0}.get(status, 0.0)
        seconds = time.monotonic() - started
        return Verdict(status, reward, detail, seconds, query, isolation="process")

    def key(self, response: str, database: object = None, **fields: object) -> str | None:
        """What the verdict hangs on beside reference and database: the query without its prose."""
        try:
            return extract(str(response), find(database)[0].scheme)
        except NoDatabase:
            return None

    def prepare(self) -> None:
        """Load the parser of references once, before workers are forked."""
        from rlvr.verifiers.sql import order

        order.read("SELECT 1 ORDER BY 1", "sqlite")

    def open(self) -> None:
        """Start the query processes of SQLite before the first case asks for them."""
        with _LOCK:
            court(self, "sqlite", os.getpid()).start()


class BadReference(Exception):
    """There is no usable reference; the text says why."""


_LOCK = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_LOCK=threading.Lock()))


@lru_cache(maxsize=16)
def court(settings: Sql, scheme: str, process: int) -> Court:
    """One court a process, kind of database and settings; closed when the process ends."""
    limits = Limits(settings.max_rows, settings.max_bytes, settings.query_mb, settings.timeout)
    made = Court(scheme, limits)
    atexit.register(lambda: made.close() if os.getpid() == process else None)
    return made


def _references(reference: object, scheme: str) -> list[str]:
    listed = [reference] if isinstance(reference, str) else reference
    if not isinstance(listed, Sequence) or not listed:
        raise BadReference("no reference query")
    usable: list[str] = []
    for text in listed:
        if not isinstance(text, str) or not text.strip():
            raise BadReference("a reference is not a query")
        parts = lexer.statements(text, scheme)
        if len(parts) != 1:
            raise BadReference(f"the reference has {len(parts)} statements")
        usable.append(text[parts[0][0].start : parts[0][-1].end])
    return list(dict.fromkeys(usable))


class _Trial:
    """One response on all views of its databases."""

    def __init__(
        self,
        settings: Sql,
        query: str | None,
        references: list[str],
        databases: list[Database],
        started: float,
    ) -> None:
        self.settings = settings
        self.query = query
        self.databases = databases
        # a little before the limit: what is slow is named before somebody else kills all of it
        self.deadline = started + settings.timeout - min(0.2, 0.1 * settings.timeout)
        self.court = court(settings, databases[0].scheme, os.getpid())
        self.alive = references  # agreed with on every view so far
        self.plant = constants(tuple(references), databases[0].scheme) if settings.perturb else ()
        self.unusable = ""  # why some reference could not be run
        self.told = False  # some perturbed copy has another result than its database

    def judge(self) -> tuple[Status, str]:
        early = _refusal(self.query, self.databases[0].scheme)
        for database in self.databases:
            for view in self._views(database):
                verdict = self._on(view, early)
                if verdict:
                    return verdict
        blind = self.settings.perturb and not self.told
        return early or (Status.CORRECT, "no perturbed copy has another result" if blind else "")

    def _views(self, database: Database) -> Iterator[View]:
        yield View(database)
        first = self.settings.seed * 1_000_000
        for seed in range(first, first + self.settings.perturb * TRIES, TRIES):
            view = View(database, seed, self.plant)
            copy, tells = self.court.copy(self.alive, view, self.deadline)
            self.told = self.told or tells
            if copy:
                yield copy

    def _on(self, view: View, early: tuple[Status, str] | None) -> tuple[Status, str] | None:
        """A final verdict after this view, or None to go on."""
        query = self.query if early is None else None
        reply, tables = self.court.run(query, self.alive, view, self.deadline)
        usable = [(t, x) for t, x in zip(self.alive, tables, strict=True) if isinstance(x, Table)]
        failed = [table for table in tables if isinstance(table, Reply)]
        if failed:
            self.unusable = f"reference on {view.database.name}: {_words(failed[0])}"
        if not usable:
            return Status.BROKEN, self.unusable
        if early or reply is None:
            self.alive = [text for text, _ in usable]
            return early
        if reply.error:
            return self._failure(reply, view)
        agreeing = [text for text, table in usable if self._agrees(table, reply)]
        if not agreeing:
            if self.unusable:
                return Status.BROKEN, self.unusable
            return Status.WRONG, _difference(usable[0][1], reply, view)
        self.alive = agreeing
        return None

    def _agrees(self, table: Table, reply: Reply) -> bool:
        if table.width != reply.width:
            return False
        if self.settings.any_permutation:
            return agrees_in_some_order(table, reply.rows)
        return table.agrees(reply.rows)

    def _failure(self, reply: Reply, view: View) -> tuple[Status, str]:
        if reply.error == "database":  # the reference ran on it
            return Status.BROKEN, reply.detail
        if reply.error in _ENDINGS:
            return _ENDINGS[reply.error], _words(reply)
        if self.unusable:  # an accepted query that could not be run might have agreed
            return Status.BROKEN, self.unusable
        return Status.WRONG, _words(reply) + (_place(view) if reply.error == "rows" else "")


def _refusal(query: str | None, scheme: str) -> tuple[Status, str] | None:
    """What can be said of the text alone."""
    if query is None:
        return Status.UNPARSED, "no query in the response"
    if len(query) > LONGEST:
        return Status.WRONG, f"a query of more than {LONGEST} characters"
    parts = lexer.statements(query, scheme)
    changing = next((lexer.verb(part) for part in parts if lexer.writes(part)), "")
    if changing:
        return Status.FORBIDDEN, f"denied: {changing}"
    if len(parts) > 1:
        return Status.WRONG, f"{len(parts)} statements, one is allowed"
    return None


def _words(reply: Reply) -> str:
    return reply.detail or reply.error


def _place(view: View) -> str:
    copy = "a perturbed copy of " if view.perturb is not None else ""
    return f" on {copy}{view.database.name}"


def _difference(table: Table, reply: Reply, view: View) -> str:
    where = _place(view)
    if table.width != reply.width:
        return f"{reply.width} columns, the reference has {table.width}{where}"
    if len(table.rows) != len(reply.rows):
        return f"{len(reply.rows)} rows, the reference has {len(table.rows)}{where}"
    order = " or their order" if table.blocks is not None else ""
    return f"other rows{order}{where}"
