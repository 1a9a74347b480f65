"""Standard output against what is expected: line by line, trailing space ignored, numbers by value, exactly."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?", re.ASCII)
_WORDS = re.compile(r"(\s+)")
LONGEST = 10_000  # characters of one number; longer ones are compared as text


def difference(output: str, expected: str) -> str:
    """ "" when they agree, else one line that names the first line in which they do not."""
    got, want = _lines(output), _lines(expected)
    for number, (left, right) in enumerate(zip(got, want, strict=False), 1):
        if left != right and not _same_words(left, right):
            return f"line {number}: {left[:80]!r}, expected {right[:80]!r}"
    if len(got) != len(want):
        return f"{len(got)} lines, expected {len(want)}"
    return ""


def _lines(text: str) -> list[str]:
    """Without trailing space and without empty lines at the end."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")]
    return [] if lines == [""] else lines


def _same_words(left: str, right: str) -> bool:
    ours, theirs = _WORDS.split(left), _WORDS.split(right)
    return len(ours) == len(theirs) and all(
        one == other or _same_number(one, other) for one, other in zip(ours, theirs, strict=True)
    )


def _same_number(one: str, other: str) -> bool:
    if max(len(one), len(other)) > LONGEST:
        return False
    if not (_NUMBER.fullmatch(one) and _NUMBER.fullmatch(other)):
        return False
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        return False
