"""From a cleaned string to tokens: numbers with their thousands separators, letters, functions, words, separators."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rlvr.verifiers.math import words

MAX_TOKENS = 1500
MAX_DIGITS = 1000  # of one literal


class Unreadable(Exception):
    """The string is not an answer this grammar knows."""


class TooBig(Unreadable):
    """A structural limit was met: length, nesting, size of a number."""


class Mark(StrEnum):
    NUMBER = "number"
    SYMBOL = "symbol"  # one variable or constant
    FUNCTION = "function"
    COMMAND = "command"
    WORD = "word"  # outside mathematics: a unit, a name
    JOIN = "join"  # or, and
    OPERATOR = "operator"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    mark: Mark
    text: str
    spaced: bool = False  # white space stands before it


_GROUP = r"(?:,\\!|\{,\}(?:\\!)?|\\[,;: ]|~)"
_TOKEN = re.compile(
    r"(?P<space>(?:\s|\\[,;:!> ]|~)+)"
    r"|(?P<repeating>\d*\.\d*(?:\\overline|\\bar|\\overbar)\s*(?:\{\s*\d+\s*\}|\d)"
    r"|\d*\.\d*\\dot\s*(?:\{\d\}|\d)(?:\d*\\dot\s*(?:\{\d\}|\d))?|\d+\.\(\d+\)|0\.\d+\(\d+\))"
    rf"|(?P<explicit>\d{{1,3}}(?:{_GROUP}\s*\d{{3}}(?!\d))+(?:\.\d+)?)"
    r"|(?P<grouped>[1-9]\d{0,2}(?:(?:,\d{3}(?!\d))+(?!,\d)|(?: \d{3}(?!\d))+(?! ?[\d/]))(?:\.\d+)?)"
    r"|(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+(?![A-Za-z]))?)"
    r"|(?P<textual>\\(?:text|mbox|textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mathbf|mathit"
    r"|mathsf|mathtt|boldsymbol|bm|hbox|fbox|boxed|operatorname|rm|bf|emph|underline|boldmath)\*?"
    r"(?![A-Za-z]))"
    r"|(?P<command>\\(?:[A-Za-z]+\*?|.))"
    r"|(?P<letters>[A-Za-z](?:\.[A-Za-z](?![A-Za-z]))+\.?|[A-Za-z]+)"
    r"|(?P<operator>\*\*|<=|>=|!=|==|:=|.)",
    re.DOTALL,
)
# what these hold is mathematics in another typeface, unless it is a word
_TYPEFACES = frozenset(
    ["mathbf", "mathit", "boldsymbol", "bm", "fbox", "boxed", "rm", "bf", "underline", "boldmath"]
)


def tokens(text: str) -> list[Token]:
    """The tokens of a cleaned string, closed by an END. Raises Unreadable or TooBig."""
    found: list[Token] = []
    _scan(text, found, depth=0)
    found.append(Token(Mark.END, ""))
    return found


def _scan(text: str, out: list[Token], depth: int) -> None:
    if depth > 8:
        raise TooBig("nested text")
    at, spaced, brackets = 0, False, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:  # cannot happen: the last alternative takes anything
            raise Unreadable(text[at])
        if found.lastgroup == "grouped" and brackets and "," in found[0]:
            found = re.compile(r"(?P<number>\d+)").match(text, at) or found
        kind, word, at = found.lastgroup, found[0], found.end()
        if len(out) > MAX_TOKENS or len(word) > MAX_DIGITS:
            raise TooBig("long")
        if kind == "space":
            spaced = True
            continue
        if kind == "textual":
            inside, at = _argument(text, at)
            _typed(word.rstrip("*")[1:], inside, out, depth)
        elif kind == "letters":
            _letters(word, out, spaced)
        elif kind == "command":
            out.append(_command(word, spaced))
        elif kind == "operator":
            brackets += (word in "([") - (word in ")]")
            out.append(Token(Mark.OPERATOR, word, spaced))
        elif kind == "repeating":
            out.append(Token(Mark.NUMBER, word, spaced))
        else:
            plain = re.sub(r"[^0-9.eE+-]", "", word)
            out.append(Token(Mark.NUMBER, plain, spaced))
        if kind == "command" and word in (r"\{", r"\}", r"\langle", r"\rangle"):
            brackets += 1 if word in (r"\{", r"\langle") else -1
        spaced = False


def _argument(text: str, at: int) -> tuple[str, int]:
    """The `{...}` that follows, without its braces, and where it ends; nothing when there is none."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text) or text[at] != "{":
        return "", at
    depth, start = 0, at + 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return text[start:at], at + 1
        at += 1
    raise Unreadable("unbalanced braces")


def _typed(face: str, inside: str, out: list[Token], depth: int) -> None:
    """What stands in \\text{...} and its kin: mathematics when it has no words, else words."""
    bare = inside.strip(" ~")
    if not bare:
        return
    if face == "mathrm" and bare in ("i", "e"):
        out.append(Token(Mark.SYMBOL, bare))
        return
    if face == "operatorname" or (bare in words.FUNCTIONS and bare != "min"):
        mark = Mark.FUNCTION if bare in words.FUNCTIONS else Mark.SYMBOL
        out.append(Token(mark, bare))
    elif face in _TYPEFACES or not re.search("[A-Za-z]", inside) or "\\" in inside:
        out.append(Token(Mark.OPERATOR, "{"))
        _scan(inside, out, depth + 1)
        out.append(Token(Mark.OPERATOR, "}"))
    else:
        for piece in re.finditer(
            r"\d+(?:,\d{3})*(?:\.\d+)?|[A-Za-z](?:\.[A-Za-z](?![A-Za-z]))+\.?|[A-Za-z]+|[^\s~]",
            inside,
        ):
            word = piece[0]
            if word[0].isdigit():
                out.append(Token(Mark.NUMBER, word.replace(",", ""), True))
            elif word[0].isalpha() and word.isascii():
                out.append(_word(word))
            else:
                out.append(Token(Mark.OPERATOR, word, True))


def _word(word: str) -> Token:
    if word.lower() in ("or", "and"):
        return Token(Mark.JOIN, word.lower(), True)
    if word == "to":
        return Token(Mark.OPERATOR, ":", True)
    return Token(Mark.WORD, word, True)


def _letters(run: str, out: list[Token], spaced: bool) -> None:
    """A run of letters outside of \\text: a function, a name, a unit, a word, or variables side by side."""
    previous = out[-1] if out else None
    low = run.lower()
    if low in ("or", "and"):
        out.append(Token(Mark.JOIN, low, spaced))
    elif run == "to" and previous is not None and previous.mark is Mark.NUMBER:
        out.append(Token(Mark.OPERATOR, ":", spaced))
    elif run == "min" and previous is not None and previous.mark is Mark.NUMBER:
        out.append(Token(Mark.WORD, run, spaced))
    elif run in words.FUNCTIONS or run in words.SAME_FUNCTION:
        out.append(Token(Mark.FUNCTION, words.SAME_FUNCTION.get(run, run), spaced))
    elif run in words.NAMED or (run in words.GREEK and len(run) > 2):
        out.append(Token(Mark.SYMBOL, words.NAMED.get(run, run), spaced))
    elif "." in run or _is_word(run, spaced, previous):
        out.append(Token(Mark.WORD, run, spaced))
    elif run[:3] in words.FUNCTIONS and 3 < len(run) <= 5:  # sinx
        out.append(Token(Mark.FUNCTION, run[:3], spaced))
        _letters(run[3:], out, False)
    else:
        if len(run) > 40:
            raise TooBig("long")
        for index, letter in enumerate(run):
            out.append(Token(Mark.SYMBOL, letter, spaced and index == 0))


def _is_word(run: str, spaced: bool, previous: Token | None) -> bool:
    after_value = previous is not None and (
        previous.mark in (Mark.NUMBER, Mark.SYMBOL) or previous.text in (")", "}", r"\%", "%")
    )
    after_word = previous is not None and previous.mark is Mark.WORD
    if after_word:
        return True
    if run in words.SHORT_UNITS and after_value and previous and previous.mark is not Mark.SYMBOL:
        return True
    if run.lower() in words.NUMBERS or run.lower() in words.SCALES:
        return True
    if len(run) == 3:
        return (
            spaced and previous is not None and previous.mark is Mark.NUMBER and run.islower()
        ) or (run.istitle() and run.lower() in words.NUMBERS)
    return len(run) >= 4 and not run.isupper() and not _VOWELS.isdisjoint(run.lower())


_VOWELS = frozenset("aeiouy")

_COMMAND_NAMES = {
    "times": "*", "cdot": "*", "%": "%", "_": "_",
}  # fmt: skip


def _command(word: str, spaced: bool) -> Token:
    name = word[1:].rstrip("*") or word[1:]
    if name in words.FUNCTIONS and name not in ("sqrt", "binom"):
        return Token(Mark.FUNCTION, name, spaced)
    if name in words.NAMED:
        return Token(Mark.SYMBOL, words.NAMED[name], spaced)
    if name in words.GREEK:
        return Token(Mark.SYMBOL, name, spaced)
    if name in _COMMAND_NAMES:
        return Token(Mark.OPERATOR, _COMMAND_NAMES[name], spaced)
    return Token(Mark.COMMAND, "\\" + name, spaced)
