"""The pieces of a response that may be the program. Text only, in linear time; nothing is parsed here."""

from __future__ import annotations

from dataclasses import dataclass

PYTHON = frozenset({"python", "python3", "py", "py3", "python2", "ipython", "pycon", "sage"})
LONGEST = 400_000  # characters of a response that are looked at: its last ones


@dataclass(frozen=True)
class Found:
    """Fenced blocks in the order of the text, and the whole text for when none of them is a program."""

    blocks: tuple[str, ...]
    bare: str


def find(response: str) -> Found:
    """Blocks marked as Python; without one, blocks that are not marked at all."""
    text = response.rpartition("</think>")[2].replace("\r\n", "\n").replace("\x00", "")
    text = text[-LONGEST:]
    fenced = _fenced(text)
    marked = tuple(body for word, body in fenced if word in PYTHON and body.strip())
    plain = tuple(body for word, body in fenced if not word and body.strip())
    return Found(marked or plain, "" if marked or plain else text)


def _fenced(text: str) -> list[tuple[str, str]]:
    """(first word after the fence, body) of every fenced block; one that is never closed ends with the text."""
    blocks: list[tuple[str, str]] = []
    fence, word, indent = "", "", 0
    body: list[str] = []
    for line in text.split("\n"):
        bare = line.strip()
        if not fence:
            opening = _opening(bare)
            if opening:
                fence, word = opening
                indent, body = len(line) - len(line.lstrip()), []
        elif bare.startswith(fence) and not bare.strip(fence[0]):
            blocks.append((word, "\n".join(body)))
            fence = ""
        else:
            body.append(line[indent:] if not line[:indent].strip() else line)
    if fence:
        blocks.append((word, "\n".join(body)))
    return blocks


def _opening(line: str) -> tuple[str, str] | None:
    """The fence and the lower-case language word of a line that opens a block."""
    for mark in ("```", "~~~"):
        if line.startswith(mark):
            rest = line.lstrip(mark[0])
            if mark[0] in rest:  # code within one line of prose
                return None
            words = rest.replace("{", " ").replace("}", " ").replace(".", " ").split()
            return line[: len(line) - len(rest)], words[0].lower() if words else ""
    return None
