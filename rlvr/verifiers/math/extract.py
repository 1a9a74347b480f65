"""Where in a response its answer stands. Linear in the response's length; no pattern backtracks."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

MAX_CHARS = 1_000_000  # of a response: only its end is read
MAX_PHRASE = 600  # characters of an answer after a phrase
SHORT = 60  # characters: a formula broken over lines, not a derivation
MAX_BARE = 2000  # characters of a response that is nothing but an answer

_MARKS = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])|\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(
    r"answers?[ \t*_]{0,4}(?:(?:is|are)\b|[:：]|=)[ \t*_]{0,4}[:：]?|####", re.IGNORECASE
)
_JOINS = frozenset({"or", "alternatively", ",", ";", "/", "|"})
_FILLERS = frozenset({"and", "maybe", "perhaps", "possibly", "either", "also", "else"})
_UNBRACED = re.compile(r" {0,2}(-?[0-9A-Za-z.,/]{1,40})")
# what follows these says why, and is no part of the answer
_REASON = re.compile(
    r",?\s+(?:because|since|as|which|thus|hence|so)\b|\s*\((?=[A-Za-z]{3})", re.IGNORECASE
)
# what follows these is dropped only when it has no digit: "5 for x and 7 for y" is not 5
_REMARK = re.compile(
    r",?\s+(?:for|when|where|if|obtained|after|given|in total|in all|altogether|that)\b[^0-9=\\]*$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")
_SHORT = frozenset(
    [
        "sq",
        "ft",
        "in",
        "cu",
        "hr",
        "min",
        "sec",
        "lb",
        "lbs",
        "oz",
        "yd",
        "mi",
        "cm",
        "mm",
        "km",
        "kg",
        "vs",
        "approx",
        "a.m",
        "p.m",
        "u.s",
    ]
)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer as it stands in the response. `rivals` are boxes joined to it by "or" or a comma."""

    text: str
    source: str  # "box", "phrase", "bare" or "last number"
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Box:
    start: int
    end: int
    text: str


def extract(response: str, lenient: bool = False) -> list[Found]:
    """The answers a response may be read to give, best first; empty when there is none.

    Not covered: an answer in prose without a box or a phrase; a box that is never closed. Several readings are given
    only for a phrase, whose end is not marked; the first that can be read as an answer is the response's.
    """
    response = response[-MAX_CHARS:]
    thought = response.rfind("</think>")
    if thought >= 0:
        response = response[thought + len("</think>") :]
    if "boxed" in response or "fbox" in response:
        found = boxes(response)
        if found:
            return [_boxed(response, found)]
    readings = phrase(response) if "answer" in response.lower() or "####" in response else []
    if not readings:
        bare = response.strip()
        readings = [Found(bare, "bare")] if 0 < len(bare) <= MAX_BARE and _is_bare(bare) else []
    if lenient and (number := last_number(response)):
        readings.append(Found(number, "last number"))
    return readings


def boxes(text: str) -> list[Box]:
    """All closed, non-empty, outermost boxes, in order. One pass, whatever is nested or never closed."""
    spans: list[
        tuple[int, int, int]
    ] = []  # start of the command, of its content, end of its content
    opened: list[
        tuple[int, int]
    ] = []  # of each open brace: where its box and its content start, or -1
    waiting = (-1, -1)  # start and end of a \boxed whose brace should come next
    for mark in _MARKS.finditer(text):
        word, at = mark[0], mark.start()
        start, end = waiting
        waiting = (-1, -1)
        if start >= 0 and word == "{" and not text[end:at].strip():
            opened.append((start, at + 1))
            continue
        if start >= 0:
            _bare_box(text, start, end, spans)
        if word == "{":
            opened.append((-1, -1))
        elif word == "}" and opened:
            start, content = opened.pop()
            if start >= 0:
                while spans and spans[-1][0] > start:
                    spans.pop()  # the boxes within this one
                spans.append((start, content, at))
        elif len(word) > 4:
            waiting = (at, mark.end())
    if waiting[0] >= 0:
        _bare_box(text, *waiting, spans)
    found = [Box(start, end + 1, text[content:end]) for start, content, end in spans]
    return [box for box in found if box.text.strip(" \t\r\n~$")]


def _bare_box(text: str, start: int, end: int, spans: list[tuple[int, int, int]]) -> None:
    """`\\boxed 5`: up to the next space or dollar sign."""
    match = _UNBRACED.match(text, end)
    if match:
        spans.append((start, match.start(1), match.end()))


def _boxed(text: str, found: list[Box]) -> Found:
    last = found[-1]
    rivals: list[str] = []
    right = last
    for left in reversed(found[-20:-1]):
        if not joined(text[left.end : right.start]):
            break
        rivals.append(left.text)
        right = left
    return Found(last.text, "box", tuple(rivals))


def joined(gap: str) -> bool:
    """Is what stands between two boxes a mere "or" or comma (with `x =`, "maybe" and dollar signs)?"""
    if len(gap) > 80:
        return False
    plain = re.sub(r"\\(?:text|mbox|quad|qquad|[,;:! ()\[\]])|[${}~*`]", " ", gap)
    parts = re.findall(r"[A-Za-z]+|[^\sA-Za-z]", plain)
    joins = [part for part in parts if part.lower() in _JOINS]
    rest = [part for part in parts if part.lower() not in _JOINS | _FILLERS]
    return bool(joins) and all(
        len(part) == 1 and (part.isalpha() or part in "=_0123456789") for part in rest
    )


def phrase(text: str) -> list[Found]:
    """What follows the last "answer is", "Answer:" or "####"."""
    last = _last(_PHRASE, text)
    if last is None:
        return []
    rest = text[last.end() : last.end() + 4 * MAX_PHRASE].lstrip(" \t\r\n*_:")
    line = _first_line(rest)
    if not line or len(line) > MAX_PHRASE:
        return []
    sentence = first_sentence(line)
    readings = [sentence]
    for pattern in (_REMARK, _REASON):
        cut = pattern.search(sentence)
        if cut and cut.start() > 0:
            readings.insert(0, sentence[: cut.start()])
    if sentence.endswith("!"):
        readings.append(sentence.rstrip("!"))
    return [Found(each.strip(" *_`"), "phrase") for each in readings if each.strip(" *_`$")]


def _first_line(text: str) -> str:
    """The first line; a formula in dollar signs or displayed, or an environment, is one line."""
    for opening, closing in (("$$", "$$"), (r"\[", r"\]"), ("```", "```")):
        if text.startswith(opening):
            end = text.find(closing, len(opening))
            if 0 <= end <= MAX_PHRASE:
                return " ".join(text[len(opening) : end].split())
    if text.startswith("$"):
        end = text.find("$", 1)
        if 0 <= end <= MAX_PHRASE and "\n" in text[:end]:
            tail = text[end:].partition("\n")[0]
            return (" ".join(text[:end].split()) + tail).strip()
    begin = text.find(r"\begin{")
    line_end = text.find("\n")
    if begin >= 0 and (line_end < 0 or begin < line_end):
        end = text.find(r"\end{", begin)
        line_end = text.find("\n", end) if end >= 0 else line_end
    return (text if line_end < 0 else text[:line_end]).strip()


def first_sentence(line: str) -> str:
    """Up to a full stop that ends a sentence: followed by a space, outside of dollar signs, not in `a.m.` or `sq.`"""
    inside = False
    for index, each in enumerate(line):
        if each == "$" and (index == 0 or line[index - 1] != "\\"):
            inside = not inside
        if each == "." and not inside and (index + 1 == len(line) or line[index + 1] in " \t*"):
            before = re.split(r"[\s$}]", line[:index])[-1].lower()
            if index + 1 == len(line) or before not in _SHORT:
                return line[:index] if before not in ("a.m", "p.m") else line[: index + 1]
        if each == ";" and not inside and line[index + 1 : index + 2] == " ":
            continue
    # a currency sign that is never closed must not hide the end of the sentence
    if inside and line.count("$") == 1:
        return first_sentence(line.replace("$", ""))
    return line


# words of somebody who talks about an answer instead of giving it
_SPEAKS = re.compile(
    r"\bI\s+[a-z]{2,}|\b(?:[Ww]e|[Yy]ou|know|cannot|[Ss]orry|[Uu]nsure)\b|n['’]t\b"
)


def _is_bare(text: str) -> bool:
    """Could the whole response be one answer? No prose: few words, one line or one displayed formula."""
    lines = [line for line in text.splitlines() if line.strip()]
    formula = text.startswith(("$", "\\", "```")) or r"\begin{" in text
    if len(lines) > 1 and not formula and len(text) > SHORT:
        return False
    if not formula and _SPEAKS.search(text):
        return False
    return len(re.findall(r"(?<!\\)\b[A-Za-z]{3,}", text)) <= 6 or r"\text" in text


def last_number(text: str) -> str | None:
    last = _last(_NUMBER, text[-MAX_BARE:])
    return last[0] if last else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None
