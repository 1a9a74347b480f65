"""References beyond our own grammar (integrals, sums, congruences, cases): math-verify, behind structural limits.

Not covered: time. sympy may take long on an innocent-looking answer; the pool's deadline is what ends it. Only a
reference that our grammar cannot read comes here, so what a response says never decides which of the two judges it.
"""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from typing import Any

from rlvr.verifiers.math.clean import clean
from rlvr.verifiers.math.tokens import TooBig, Unreadable

MAX_CHARS = 300
MAX_NESTING = 8
MAX_DIGITS = 12  # of one number: exponents and arguments of factorials are numbers too
MAX_WORDS = 3  # plain words: more is prose, not a formula

_TOWER = re.compile(r"\^\s*\{?[^{}^]{0,20}\^")
_LONG_NUMBER = re.compile(rf"\d{{{MAX_DIGITS + 1},}}")
_LARGE_POWER = re.compile(r"\^\s*\{?\s*-?\d{4,}|\d{4,}\s*!|!\s*[!)]")
_WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{3,}\b")
# what our grammar leaves to math-verify; anything else it cannot read is no formula
_BEYOND = re.compile(
    r"\\(?:int|iint|oint|sum|prod|lim|equiv|pmod|bmod|mod|ldots|cdots|partial|nabla|cap|subset|subseteq|notin"
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
    """Raises Unreadable or TooBig unless the reference is a formula that is math-verify's to read."""
    if not _BEYOND.search(reference):
        raise Unreadable("no answer in our grammar, nor a formula beyond it")
    parsed(reference)


def same(gold: str, said: str) -> bool:
    """Does the formula `said` equal the reference `gold`? Raises Unreadable or TooBig."""
    if " ".join(clean(gold).split()) == " ".join(clean(said).split()):
        return True
    if any(costly in said and costly not in gold for costly in _COSTLY):
        raise TooBig("not worked out")
    return bool(
        loaded().verify(
            list(parsed(gold)), list(parsed(said)), timeout_seconds=None, raise_on_error=False
        )
    )
