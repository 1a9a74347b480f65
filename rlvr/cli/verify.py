"""`rlvr verify`: judge responses from a JSONL file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import stat
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TextIO

import cyclopts

from rlvr import config, registry
from rlvr.cli.progress import Progress
from rlvr.errors import UserError, unknown
from rlvr.types import Status, Verdict
from rlvr.verifiers import case_lines
from rlvr.verifiers.case import Case
from rlvr.verifiers.case_lines import Line
from rlvr.verifiers.pool import Pool
from rlvr.verifiers.spec import Spec

FLUSH = 0.5  # seconds a written verdict may stay in memory

Stream = Annotated[Path, cyclopts.Parameter(allow_leading_hyphen=True)]  # "-" is a value too


def verify(
    *,
    verifier: str,
    input: Stream,
    output: Stream,
    workers: int = 2,
    timeout: float | None = None,
    quarantine: Path | None = None,
    flags: Annotated[tuple[str, ...], cyclopts.Parameter(parse=False)] = (),
) -> int:
    """Judge responses from a JSONL file.

    Parameters
    ----------
    verifier
        A name (see rlvr list verifier), ./file.py:Name, trl:./file.py:f or
        verl:./file.py:f; its settings are --verifier.FIELD VALUE.
    input
        One JSON object a line: id, response, and what the verifier needs. "-" is stdin.
    output
        One verdict a line, in the same order. "-" is stdout.
    workers
        Processes that judge.
    timeout
        Seconds one verdict may take; without it, what the verifier says.
    quarantine
        JSONL file for cases that hung or killed a worker.
    """
    for name, path in (("input", input), ("output", output)):
        if str(path).startswith("--"):
            raise UserError(f"--{name} needs a file, not '{path}'")
    if quarantine is not None and not quarantine.parent.is_dir():
        raise UserError(f"--quarantine {quarantine}: no such folder")
    spec = verifier_from(("--verifier", verifier, *flags), timeout)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_opened(input))
        if _same(source, output):
            raise UserError(f"--output {output} is the input: it would be overwritten")
        pool = stack.enter_context(
            Pool(spec, workers=workers, timeout=timeout, max_broken=1.0, quarantine=quarantine)
        )
        sink = stack.enter_context(_created(output))
        stack.enter_context(_terminable())
        try:
            _stream(source, sink, pool)
        except KeyboardInterrupt as stop:
            return 143 if isinstance(stop, _Terminated) else 130
    return 0


def verifier_from(flags: tuple[str, ...], timeout: float | None = None) -> Spec:
    """The verifier that `--verifier NAME --verifier.FIELD VALUE ...` mean. Raises UserError."""
    tree = config.flags_to_tree(flags)
    for word in tree:
        if word != "verifier":
            known = ("verifier", "input", "output", "workers", "timeout", "quarantine")
            raise unknown("flag", word, known)
    given: dict[str, Any] = tree["verifier"]
    if timeout is not None and "timeout" not in given:
        target = registry.load("verifier", given["name"]).target
        fields = dataclasses.fields(target) if dataclasses.is_dataclass(target) else ()
        if any(field.name == "timeout" for field in fields):
            given["timeout"] = str(timeout)
    stage = config.resolve({"verifier": given["name"]}, {}, flags=tree).stages["verifier"]
    return Spec(stage.plugin.spec, stage.values())


def _stream(source: BinaryIO, sink: TextIO, pool: Pool) -> None:
    """Constant memory: a line is forgotten once its verdict is written."""
    pending: deque[Line] = deque()

    def cases() -> Iterator[Case | Verdict]:
        for line in case_lines.read(source):
            pending.append(line)
            yield line.case

    counts: Counter[str] = Counter()
    started = flushed = time.monotonic()
    with Progress("verify", _size(source), "B") as progress:
        for verdict in pool.map(cases()):
            line = pending.popleft()
            sink.write(_written(line, verdict))
            counts[verdict.status.value] += 1
            now = time.monotonic()
            if now - flushed > FLUSH:
                sink.flush()
                flushed = now
            progress.advance(line.size, f"{counts.total()} judged, {_shares(counts)}")
    seconds = time.monotonic() - started
    total = counts.total()
    rate = f"{total / seconds:.0f}/s" if seconds > 0 else ""
    print(f"{total} judged in {seconds:.1f} s, {rate}: {_shares(counts)}", file=sys.stderr)


def _written(line: Line, verdict: Verdict) -> str:
    detail = verdict.detail
    if verdict.status is Status.BROKEN:
        detail = f"line {line.number}: {detail}"
    record: dict[str, object] = {
        "id": line.id,
        "status": verdict.status.value,
        "reward": verdict.reward,
        "detail": detail,
        "seconds": round(verdict.seconds, 6),
    }
    more = {
        "extracted": verdict.extracted,
        "parts": dict(verdict.parts),
        "isolation": verdict.isolation,
    }
    record |= {name: value for name, value in more.items() if value}
    return json.dumps(record) + "\n"  # ASCII: no character in it ends a line for anybody


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values()) or 1
    return ", ".join(
        f"{status.value} {counts[status.value]} ({counts[status.value] / total:.1%})"
        for status in Status
        if counts.get(status.value)
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"--input {path}: {(error.strerror or str(error)).lower()}") from error
    with file:
        yield file


@contextlib.contextmanager
def _created(path: Path) -> Iterator[TextIO]:
    if str(path) == "-":
        yield sys.stdout
        return
    try:
        file = path.open("w", encoding="ascii")
    except OSError as error:
        raise UserError(f"--output {path}: {(error.strerror or str(error)).lower()}") from error
    with file:
        yield file


def _same(source: BinaryIO, output: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(source.fileno()), os.stat(output))
    return False


def _size(source: BinaryIO) -> int | None:
    status = os.fstat(source.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


class _Terminated(KeyboardInterrupt):
    """SIGTERM, on the way that Ctrl-C takes."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
