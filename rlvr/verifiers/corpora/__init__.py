"""Labelled cases of our own making, as text: one case a line for `math`, one block a case for `code` and `sql`.

`math_*.txt`: `reference ||| answer` (what stands in a box) or whole responses; `\\n` is a line break, `«text»×N` is
text, N times. `code.txt` and `sql.txt`: a block starts with `=== accept: category` or
`=== reject: category`, its parts with `--- name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

_REPEAT = re.compile(r" ?«(.*?)»×(\d+) ?")
_CODE_POINT = re.compile(r"U\+([0-9A-F]{4,6})")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled case. `status` is "correct", "wrong", "unparsed" or "broken", or "rejected" for any but correct."""

    category: str
    status: str
    reference: str
    response: str


def read(name: str) -> str:
    return resources.files("rlvr.verifiers.corpora").joinpath(name).read_text(encoding="utf-8")


def math() -> Iterator[Labelled]:
    """Every line of the four tables."""
    for table, status in (("equivalent", "correct"), ("different", "rejected")):
        for category, line in _lines(f"math_{table}.txt"):
            reference, answer = _split(line)
            response = f"So it is \\boxed{{{answer}}}."
            yield Labelled(f"{table}{category}", status, broken_lines(reference), response)
    for _, line in _lines("math_hostile.txt"):
        reference, response = _split(line)
        yield Labelled("hostile", "rejected", reference, unfolded(response))
    for _, line in _lines("math_responses.txt"):
        status, _, rest = line.partition("|")
        reference, response = _split(rest)
        yield Labelled("responses", status.strip(), broken_lines(reference), unfolded(response))


def blocks(name: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(label, category, parts) of each block of `code.txt` or `sql.txt`; the label is the word before the colon."""
    for block in re.split(r"^=== ", read(name), flags=re.MULTILINE)[1:]:
        title, _, body = block.partition("\n")
        label, _, category = title.partition(":")
        parts = re.split(r"^--- (\w+)\n", body, flags=re.MULTILINE)
        named = dict(zip(parts[1::2], (part.strip("\n") for part in parts[2::2]), strict=True))
        yield label.strip(), category.strip(), named


def unfolded(response: str) -> str:
    """A response as the table means it."""
    return _REPEAT.sub(_repeated, broken_lines(response))


def broken_lines(text: str) -> str:
    """`\\n` before anything but a letter of a command (`\\ne`) is a line break."""
    return re.sub(r"\\n(?!e\b|eq\b|u\b|ot\b)", "\n", text)


def _repeated(found: re.Match[str]) -> str:
    text = _CODE_POINT.sub(lambda point: chr(int(point[1], 16)), found[1])
    return text * int(found[2])


def _lines(name: str) -> Iterator[tuple[str, str]]:
    category = ""
    for line in read(name).split("\n"):
        if line.startswith("# -- "):
            category = ", " + line[5:]
        elif line and not line.startswith("# "):
            yield category, line


def _split(line: str) -> tuple[str, str]:
    reference, _, answer = line.partition("|||")
    return reference.strip(" "), answer.strip(" ")
