"""References beyond our own grammar: integrals, sums, products and limits by math-verify, behind structural limits;
others (cases, dots, quantifiers) by their text, because math-verify takes a number out of them and drops the rest.

Not covered: time. sympy may take long on an innocent-looking answer; the pool's deadline is what ends it. Only a
reference that our grammar cannot read comes here, so what a response says never decides which of the two judges it.
"""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from typing import Any

from rlvr.verifiers.math.answers import parse
from rlvr.verifiers.math.clean import clean
from rlvr.verifiers.math.expressions import EXPRESSION
from rlvr.verifiers.math.tokens import TooBig, Unreadable

MAX_CHARS = 300
MAX_NESTING = 8
MAX_DIGITS = 12  # of one number: exponents and arguments of factorials are numbers too
MAX_WORDS = 3  # plain words: more is prose, not a formula

_TOWER = re.compile(r"\^\s*\{?[^{}^]{0,20}\^")
_LONG_NUMBER = re.compile(rf"\d{{{MAX_DIGITS + 1},}}")
_LARGE_POWER = re.compile(r"\^\s*\{?\s*-?\d{4,}|\d{4,}\s*!|!\s*[!)]")
_WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{3,}\b")
_VALUED = re.compile(r"\\(?:int|iint|oint|sum|prod|lim)(?![A-Za-z])")
# formulas that are compared by their text; anything else that our grammar cannot read is no formula
_BEYOND = re.compile(
    r"\\(?:equiv|pmod|bmod|mod|ldots|cdots|partial|nabla|cap|subset|subseteq|notin"
    r"|forall|exists|det|Re|Im|arg)(?![A-Za-z])|\\begin\{cases\}"
)
_COSTLY = (r"\int", r"\sum", r"\prod", r"\lim", r"\oint", r"\iint")


def loaded() -> Any:
    """math-verify, with sympy on plain Python integers: gmpy2 aborts the process on what Python refuses."""
    os.environ.setdefault("SYMPY_GROUND_TYPES", "python")
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    import math_verify

    return math_verify


def limited(text: str) -> str:
    """`text` cleaned, if it is small and flat enough to be evaluated. Raises TooBig or Unreadable."""
    if len(text) > MAX_CHARS:
        raise TooBig("long")
    text = clean(text)
    depth = deepest = 0
    for each in text:
        depth += (each in "{([") - (each in "})]")
        deepest = max(deepest, depth)
    if depth or not text:
        raise Unreadable("unbalanced brackets")
    if deepest > MAX_NESTING:
        raise TooBig("nested too deeply")
    if _TOWER.search(text) or _LONG_NUMBER.search(text) or _LARGE_POWER.search(text):
        raise TooBig("number")
    return text


@lru_cache(maxsize=1024)
def parsed(text: str) -> tuple[Any, ...]:
    """What math-verify makes of a formula. Raises Unreadable where it makes nothing of it."""
    text = limited(text)
    if len(_WORDS.findall(text)) > MAX_WORDS:
        raise Unreadable("prose")
    found = loaded().parse(rf"\boxed{{{text}}}", parsing_timeout=None, raise_on_error=False)
    if not found or isinstance(found[0], str):
        raise Unreadable("no formula")
    return tuple(found)


def check(reference: str) -> None:
    """Raises Unreadable or TooBig unless the reference is a formula that can be judged here."""
    if _VALUED.search(reference):
        parsed(reference)
    elif not _BEYOND.search(clean(reference)):
        raise Unreadable("no answer in our grammar, nor a formula beyond it")
    else:
        limited(reference)


def same(gold: str, said: str) -> bool:
    """Does the formula `said` equal the reference `gold`? Raises Unreadable or TooBig."""
    if " ".join(clean(gold).split()) == " ".join(clean(said).split()):
        return True
    if not _VALUED.search(gold):
        return False
    if any(costly in said and costly not in gold for costly in _COSTLY):
        raise TooBig("not worked out")
    if not _VALUED.search(said) and not isinstance(parse(said), EXPRESSION):
        return False  # math-verify would pick one of several values
    return bool(
        loaded().verify(
            list(parsed(gold)), list(parsed(said)), timeout_seconds=None, raise_on_error=False
        )
    )
