"""Cases from a JSONL file, one line at a time: a bad line is a broken verdict that names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from rlvr.types import Verdict
from rlvr.verifiers.case import Case

LONGEST = 64 * 2**20  # bytes of one line


@dataclass(frozen=True, slots=True)
class Line:
    """One line as read: a case, or the broken verdict it gets instead."""

    number: int  # from 1
    size: int  # bytes, with the line break
    id: object  # echoed as it is, None where it could not be read
    case: Case | Verdict


def read(file: BinaryIO) -> Iterator[Line]:
    """Every line but empty ones at the end. One line at a time, and none over 64 MB."""
    number, empty = 0, 0
    while raw := file.readline(LONGEST):
        number += 1
        size = len(raw)
        while not raw.endswith(b"\n") and len(raw) == LONGEST and (more := file.readline(LONGEST)):
            size += len(more)
            raw = more if len(more) == LONGEST else b"\n"
        if not raw.strip() and size < LONGEST:
            empty += 1
            continue
        for skipped in range(number - empty, number):
            yield _bad(skipped, 1, None, "the line is empty")
        empty = 0
        yield (
            _bad(number, size, None, "longer than 64 MB") if size > LONGEST else parse(number, raw)
        )


def parse(number: int, raw: bytes) -> Line:
    """Line `number` from its text."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else f"not JSON: {error}"
        return _bad(number, len(raw), None, reason)
    if not isinstance(value, dict):
        return _bad(number, len(raw), None, "not a JSON object")
    name = value.pop("id", None)
    if name is None:
        return _bad(number, len(raw), None, "no 'id'")
    response = value.pop("response", None)
    if not isinstance(response, str):
        return _bad(number, len(raw), name, "no 'response' that is a string")
    reference = value.pop("reference", None)
    return Line(number, len(raw), name, Case(response, reference, value, str(name)))


def _bad(number: int, size: int, name: object, reason: str) -> Line:
    return Line(number, size, name, Verdict.broken(reason))


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON value")
