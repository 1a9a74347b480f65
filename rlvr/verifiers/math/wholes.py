"""Answers known by their whole spelling, before any grammar: a choice's letter, capitals, a numeral in a base."""

from __future__ import annotations

import re

from rlvr.verifiers.math.literals import base_of
from rlvr.verifiers.math.nodes import Based, Node, Sym, Text
from rlvr.verifiers.math.tokens import Unreadable


def plain_words(text: str) -> str:
    """Lower case, one space apart, without punctuation at the ends of words."""
    return " ".join(re.sub(r"[^\w\s'/+-]", " ", text.lower()).split())


ALL_REALS = frozenset({"all real numbers", "all reals", "the real numbers", "real numbers"})
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
    if bare.isascii() and bare.isalpha() and len(bare) > 1 and bare.isupper():
        return Text(bare.lower())
    if plain_words(bare) in ALL_REALS:
        return Sym("bbR")
    return None


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
