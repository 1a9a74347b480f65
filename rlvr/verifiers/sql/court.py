"""Runs references and responses and compares: two query processes, one for references, one for
responses.

A reference is never run in a process that has run a response. Both run at the same time while the
reference is new; its result is kept by database state, copy and text.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlvr.verifiers.sql import order, snapshot
from rlvr.verifiers.sql.constants import Constant
from rlvr.verifiers.sql.databases import Database
from rlvr.verifiers.sql.engines import Job, Reply
from rlvr.verifiers.sql.process import Died, QueryProcess
from rlvr.verifiers.sql.rows import Table, same_multiset

TRIES = 6  # seeds looked at for one perturbed copy
KEPT_CELLS = 4_000_000  # cells of reference results kept
READ_SECONDS = 0.4  # to read an answer that is already there


class Unsupported(Exception):
    """This kind of database cannot do what was asked; the text says what."""


@dataclass(frozen=True)
class View:
    """One state of the data: a database, or its perturbed copy by seed and planted constants."""

    database: Database
    perturb: int | None = None
    plant: tuple[Constant, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What one query may use."""

    max_rows: int
    max_bytes: int
    memory_mb: int
    seconds: float  # for all queries of one verdict


@dataclass
class Court:
    """The two processes of one database kind, and the results of references."""

    scheme: str
    limits: Limits
    _tables: OrderedDict[object, Table | Reply] = field(default_factory=OrderedDict)
    _stable: dict[object, bool] = field(default_factory=dict)
    _copies: dict[object, tuple[View | None, bool]] = field(default_factory=dict)
    _cells: int = 0

    def __post_init__(self) -> None:
        self._references = QueryProcess(self.scheme, self.limits.memory_mb)
        self._responses = QueryProcess(self.scheme, self.limits.memory_mb)

    def close(self) -> None:
        self._references.kill()
        self._responses.kill()

    def start(self) -> None:
        self._references.start()
        self._responses.start()

    def run(
        self, query: str | None, references: list[str], view: View, deadline: float
    ) -> tuple[Reply | None, list[Table | Reply]]:
        """The response's reply (None without a query) and each reference's table, or the reply
        that says why not.

        deadline: of `time.monotonic()`, for all of it.
        """
        known = [self._tables.get(self._key(text, view)) for text in references]
        tables = [table for table in known if isinstance(table, Table)]
        most = self.limits.max_rows
        if len(tables) == len(references):
            most = min(most, max(len(table.rows) for table in tables))
        died = None
        if query is not None:
            try:
                self._responses.send(self._job(query, view, deadline, most))
            except Died as error:
                died = Reply("database", str(error))
        results = [self.table(text, view, deadline) for text in references]
        if query is None or died:
            return died, results
        try:
            return self._responses.receive(READ_SECONDS), results
        except Died:
            return self._again(query, view, deadline, most), results

    def table(self, reference: str, view: View, deadline: float) -> Table | Reply:
        """The result of a reference, from memory where it has run before."""
        key = self._key(reference, view)
        found = self._tables.get(key)
        if found is None:
            fresh = deadline - time.monotonic() > 0.7 * self.limits.seconds
            found = self._table(reference, view, deadline)
            # one that had little time left may still be quick enough the next time
            if fresh or isinstance(found, Table) or found.error != "timeout":
                self._keep(key, found)
        return found

    def is_stable(self, reference: str, view: View, deadline: float) -> bool:
        """Whether the reference's rows do not hang on the order in which tables are scanned."""
        key = self._key(reference, view)
        if key not in self._stable:
            table = self.table(reference, view, deadline)
            again = self._ask(self._job(reference, view, deadline, reverse=True))
            if isinstance(table, Reply) or again.error:
                return False
            self._stable[key] = again.width == table.width and table.agrees(again.rows)
        return self._stable[key]

    def copy(self, references: list[str], view: View, deadline: float) -> tuple[View | None, bool]:
        """The first perturbed copy on which all references are clear, and whether it tells.

        It tells when the first reference has another result than on the unperturbed database;
        without such a copy among `TRIES` seeds, any clear one is taken, or None.
        `view`: carries the first seed. Raises Unsupported.
        """
        assert view.perturb is not None
        key = self._key("\n".join(references), view)
        if key not in self._copies:
            found = self._copy(references, view, deadline)
            if deadline - time.monotonic() <= 0:
                return found
            self._copies[key] = found
        return self._copies[key]

    def _copy(self, references: list[str], view: View, deadline: float) -> tuple[View | None, bool]:
        assert view.perturb is not None
        before = self.table(references[0], View(view.database), deadline)
        best = None
        for attempt in range(TRIES):
            copy = replace(view, perturb=view.perturb + attempt)
            now = self.table(references[0], copy, deadline)
            if isinstance(now, Reply) and now.error == "unsupported":
                raise Unsupported(now.detail)
            if not all(self.is_stable(text, copy, deadline) for text in references):
                continue
            if isinstance(now, Table) and isinstance(before, Table) and not now.agrees(before.rows):
                return copy, True
            best = best or copy
        return best, False

    def _again(self, query: str, view: View, deadline: float, most: int) -> Reply:
        """A response that ends the process is run once more: the second time it is its own
        doing.
        """
        try:
            self._responses.send(self._job(query, view, deadline, most))
            return self._responses.receive(READ_SECONDS)
        except Died:
            return Reply("memory", "ended the query process twice")

    def _table(self, reference: str, view: View, deadline: float) -> Table | Reply:
        reply = self._ask(self._job(reference, view, deadline))
        if reply.error:
            return reply
        asked = order.read(reference, self.scheme)
        if not asked.ordered:
            return Table(reply.width, reply.rows)
        exact = Table(reply.width, reply.rows, tuple(range(1, len(reply.rows) + 1)))
        probe = asked.probe(reply.width)
        if probe is None or len(reply.rows) < 2:
            return exact
        ranked = self._ask(self._job(probe, view, deadline))
        return exact if ranked.error else _with_ties(exact, ranked)

    def _ask(self, job: Job) -> Reply:
        if job.seconds <= 0:
            return Reply("timeout", "took too long")
        try:
            self._references.send(job)
            return self._references.receive()
        except Died as error:
            return Reply("crash", str(error))

    def _job(
        self, sql: str, view: View, deadline: float, most: int = -1, reverse: bool = False
    ) -> Job:
        left = max(0.0, deadline - time.monotonic())
        rows = self.limits.max_rows if most < 0 else most
        return Job(
            sql,
            view.database.target,
            left,
            rows,
            self.limits.max_bytes,
            view.perturb,
            view.plant,
            reverse,
        )

    def _key(self, reference: str, view: View) -> object:
        state = snapshot.stamp(Path(view.database.target)) if self.scheme != "postgresql" else ()
        return (reference, view, state)

    def _keep(self, key: object, found: Table | Reply) -> None:
        self._tables[key] = found
        self._cells += _cells(found)
        while self._cells > KEPT_CELLS and len(self._tables) > 1:
            self._cells -= _cells(self._tables.popitem(last=False)[1])


def _cells(found: Table | Reply) -> int:
    return 16 + (len(found.rows) * found.width if isinstance(found, Table) else 0)


def _with_ties(exact: Table, ranked: Reply) -> Table:
    """The table with its runs of ties, if the probe's rows are the reference's own; else every row
    has its place.
    """
    rows = sorted(ranked.rows, key=lambda row: row[-1])
    if ranked.width != exact.width + 1 or not same_multiset([row[:-1] for row in rows], exact.rows):
        return exact
    ends = [i for i in range(1, len(rows)) if rows[i][-1] != rows[i - 1][-1]]
    table = Table(exact.width, exact.rows, (*ends, len(rows)))
    by_rank = Table(exact.width, [row[:-1] for row in rows], table.blocks)
    return table if by_rank.agrees(exact.rows) else exact
