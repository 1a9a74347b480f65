"""Answers known by their whole spelling, before any grammar: a choice's letter, capitals, a numeral in a base."""

from __future__ import annotations

import re

from rlvr.verifiers.math.literals import base_of
from rlvr.verifiers.math.nodes import Based, Kind, Node, Seq, Sym, Text
from rlvr.verifiers.math.tokens import Unreadable
from rlvr.verifiers.math.words import (
    FUNCTIONS,
    GREEK,
    MEANINGFUL,
    NAMED,
    NUMBERS,
    SCALES,
    SHORT_UNITS,
)

KNOWN = (FUNCTIONS | GREEK | set(NAMED) | set(NUMBERS) | set(SCALES) | MEANINGFUL) - {"no"}


def plain_words(text: str) -> str:
    """Lower case, one space apart, without punctuation at the ends of words."""
    return " ".join(re.sub(r"[^\w\s'/+-]", " ", text.lower()).split())


ALL_REALS = frozenset({"all real numbers", "all reals", "the real numbers", "real numbers"})
NO_SOLUTION = frozenset({"no solution", "no solutions", "empty set", "the empty set"})
_WORD_WRAP = re.compile(
    r"\\(?:text|mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|boxed|textsf|texttt|bf|rm)(?![A-Za-z])"
)
_NUMERAL = re.compile(r"(-?)\s*\(?([0-9A-Z]+(?:\.[0-9A-Z]+)?)\)?_(?:(\d)|\(?([0-9a-z]+)\)?)")


def _unwrapped(text: str) -> str:
    return (
        _WORD_WRAP.sub("", text).replace("{", "").replace("}", "").replace("~", " ").strip(" .,:")
    )


def whole_word(text: str) -> Node | None:
    """Capitals side by side are a name (`ACF`), not a product; a letter in brackets is a choice."""
    bare = _unwrapped(text) if len(text) < 60 else ""
    letter = bare.strip("(). ")
    if len(letter) == 1 and letter.isalpha() and letter.isascii() and letter.isupper():
        return Sym(letter)
    if (
        bare.isascii()
        and bare.isalpha()
        and (
            (len(bare) > 1 and bare.isupper())
            or (len(bare) > 2 and bare.istitle() and bare.lower() not in NUMBERS)
            or bare.lower() in ("yes", "no", "true", "false")
        )
    ):
        return Text(bare.lower())
    if plain_words(bare) in ALL_REALS:
        return Sym("bbR")
    if plain_words(bare) in NO_SOLUTION:
        return Seq(Kind.SET, ())
    return Text(plain_words(bare)) if _is_words(bare) else None


def _is_words(bare: str) -> bool:
    """Two words or more, none of them mathematics."""
    words = bare.split()
    return 1 < len(words) <= 6 and all(
        len(word) > 1
        and word.isascii()
        and word.isalpha()
        and word.lower() not in KNOWN
        and word not in SHORT_UNITS
        for word in words
    )


# what precedes the answer proper within its box: \text{The area is } 12
_LEAD = re.compile(r"\\(?:text|mbox|textbf|mathrm)\s*\{([^{}]{1,60})\}\s*[:=]?\s*")
_LEAD_END = re.compile(r"(?:\b(?:is|are)|[:=])\s*$", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|never|no)\b|n't", re.IGNORECASE)


def without_lead(text: str) -> str:
    """`text` without a leading phrase in \\text that ends in "is", "are" or a colon."""
    found = _LEAD.match(text)
    if (
        found
        and _LEAD_END.search(found[1])
        and not _DENIED.search(found[1])
        and found.end() < len(text)
    ):
        return text[found.end() :]
    return text


_CHOICE = re.compile(r"\s*(?:\(([A-J])\)|([A-J])[.:)])[\s:.]*(\S.*)", re.DOTALL)
_OTHER_CHOICE = re.compile(r"\([A-J]\)|(?<![A-Za-z])[A-J][).:]|\b(?:or|and|not)\b")


def choice(text: str) -> tuple[str, str] | None:
    """(letter, what it stands for) of `(C) 12` and `C: Paris`; None for anything else, two choices too."""
    found = _CHOICE.fullmatch(_unwrapped(text)) if len(text) < 200 else None
    if found is None or _OTHER_CHOICE.search(found[3]):
        return None
    return found[1] or found[2], text[text.index(found[1] or found[2]) + 1 :].lstrip("}) :.")


def based(text: str) -> Node | None:
    """`152A_{11}`, `\\text{A5}_{11}`, `(2112)_{\\text{six}}`."""
    if "_" not in text or len(text) > 120:
        return None
    found = _NUMERAL.fullmatch(
        _unwrapped(text).replace(" ", "").replace("\\,", "").replace("\\!", "")
    )
    if not found or not any(each.isdigit() for each in found[2] + (found[3] or "")):
        return None
    if found[2].isalpha() and len(found[2]) == 1:
        return None  # a variable with an index
    digits, base = found[2], base_of(found[3] or found[4])
    if any(int(each, 36) >= base for each in digits.replace(".", "")):
        raise Unreadable("digit")
    return Based(digits, base, found[1] == "-")
