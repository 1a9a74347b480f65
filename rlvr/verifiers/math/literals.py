"""Number tokens as exact rationals, and the bases of numerals."""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr.verifiers.math.nodes import Num
from rlvr.verifiers.math.tokens import TooBig, Unreadable
from rlvr.verifiers.math.words import NUMBERS


def base_of(text: str) -> int:
    text = text.strip("()").lower().removeprefix("base")
    base = int(text) if text.isdigit() and len(text) < 3 else NUMBERS.get(text, 0)
    if not 2 <= base <= 36:
        raise Unreadable("base")
    return base


MAX_EXPONENT = 1000  # of ten, after an e

_REPEATING = re.compile(
    r"(\d*)\.(\d*?)(?:\\(?:overline|bar|overbar)\s*\{?\s*(\d+)\s*\}?|\((\d+)\))"
)


def literal(text: str) -> Num:
    """A number token as an exact rational: 12, .5, 1e-7, 0.1\\overline{6}, 0.\\dot{3}, 0.(3)."""
    found = _REPEATING.fullmatch(text)
    if found is None and r"\dot" in text:
        digits = re.sub(r"[\s{}]", "", text)
        first = digits.index(r"\dot")
        found = _REPEATING.fullmatch(
            digits[:first] + r"\overline{" + digits[first:].replace(r"\dot", "") + "}"
        )
    if found:
        whole, fixed, loop = found[1] or "0", found[2], found[3] or found[4]
        scale = 10 ** len(fixed)
        rest = Fraction(int(loop), (10 ** len(loop) - 1) * scale)
        return Num(int(whole) + Fraction(int(fixed or 0), scale) + rest)
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent.lstrip("+-")) > 5 or abs(int(exponent or 0)) > MAX_EXPONENT:
        raise TooBig("exponent")
    places = len(mantissa.replace(".", "").lstrip("0")) if "." in mantissa else 0
    return Num(Fraction(text), places)
