"""The query process: reads jobs, answers rows. It holds no reference but the one it is asked to
run, and no other response.

Started clean (own interpreter, empty environment); the parent kills it when a job outlives its
deadline. Not covered: a flaw in the database library itself that lets a query run code; nothing
but the limits below stands behind it.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import BinaryIO, Protocol

from rlvr.verifiers.sql.engines import Job, Reply
from rlvr.verifiers.sql.wire import HEADER, pack, unpack

SCHEMES = ("sqlite", "duckdb", "postgresql")


class Engine(Protocol):
    def run(self, job: Job) -> Reply: ...


def main() -> None:
    """Serve jobs from standard input until it closes. Arguments: scheme, memory in MB."""
    scheme, memory_mb = sys.argv[-2], int(sys.argv[-1])
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    _limit(scheme, memory_mb)
    engine = _engine(scheme, memory_mb)
    while message := _read(source):
        order = unpack(message)
        order["plant"] = tuple(map(tuple, order["plant"]))
        job = Job(**order)
        _limit_cpu(job.seconds)
        reply = engine.run(job)
        try:
            sink.write(pack(asdict_flat(reply)))
            sink.flush()
        except BrokenPipeError:
            return


def asdict_flat(reply: Reply) -> dict[str, object]:
    """`dataclasses.asdict` copies every row; this does not."""
    if reply.rows:
        return {"error": "", "detail": "", "width": reply.width, "rows": reply.rows}
    return asdict(reply)


def _engine(scheme: str, memory_mb: int) -> Engine:
    if scheme == "duckdb":
        from rlvr.verifiers.sql.engines.duckdb import DuckDB

        return DuckDB(memory_mb)
    if scheme == "postgresql":
        from rlvr.verifiers.sql.engines.postgresql import PostgreSQL

        return PostgreSQL()
    from rlvr.verifiers.sql.engines.sqlite import Sqlite

    return Sqlite(memory_mb)


def _limit(scheme: str, memory_mb: int) -> None:
    """No core, no files, bounded address space (DuckDB and psycopg map far more than they use:
    they get a wider one).
    """
    space = (memory_mb + 384) << 20 if scheme == "sqlite" else (memory_mb << 20) * 4 + (4 << 30)
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, space),
    ):
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def _limit_cpu(seconds: float) -> None:
    """Ends the process by itself should the parent die in the middle of a job that never looks at
    the clock.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 3
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or limit <= hard:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _read(source: BinaryIO) -> bytes:
    header = source.read(HEADER)
    return source.read(int.from_bytes(header, "big")) if len(header) == HEADER else b""
