"""Are two expressions equal? Exact where fractions do; else at random points, to many digits.

Polynomials and fractions of them are compared at random rational points (Schwartz-Zippel): two different ones agree
with a chance below 10^-6 a point. Everything else is evaluated with mpmath to 60 digits, and once more with as many
digits as the smallest term needs. The points are drawn from a hash of both expressions.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from rlvr.verifiers.math.exact import Inexact, Undefined, exact
from rlvr.verifiers.math.nodes import MINUS, Add, Call, Mul, Node, Num, Pow, Sym, mentions, names
from rlvr.verifiers.math.tokens import TooBig

TOLERANCE = Fraction(
    1, 10**9
)  # relative; only for decimals of at least 10 digits against a number that has no such form
FLOAT_DIGITS = 17  # a decimal this long is taken as a printed double
POINTS = 4
SIGNS = ((1,), (-1,), (1, -1), (1,), (1,), (1, -1))  # of the variables, point by point
_COUNTING = ("factorial", "binom")
MAX_GAP = 20_000  # bits


def equal(a: Node, b: Node) -> bool:
    """Do `a` and `b` have the same value wherever both are real? Raises TooBig at a structural limit."""
    if isinstance(a, Num) and isinstance(b, Num):
        return a.value == b.value or _decimals(a, b)
    if a == b:
        return defined(a)
    free = sorted(names(a) | names(b))
    if Sym("oo") in (a, b) or _infinite(a) or _infinite(b):
        return _infinite(a) == _infinite(b) != 0
    try:
        if not free:
            x, y = exact(a, {}), exact(b, {})
            return x == y or _decimals(_literal(a, x), _literal(b, y))
        agreed = 0
        for point in _points(a, b, free, spread=10**6):
            try:
                if exact(a, point) != exact(b, point):
                    return False
            except Undefined:
                continue
            agreed += 1
        return agreed >= POINTS - 1
    except Inexact:
        return _numerically(a, b, free)
    except TooBig:
        if not free:
            raise
        return _numerically(a, b, free)  # 2^x at a large x
    except Undefined:
        return False


def _literal(node: Node, value: Fraction) -> Num:
    return node if isinstance(node, Num) else Num(value)


def _decimals(a: Num, b: Num) -> bool:
    """A long decimal against a number that it can only approach, and printed doubles."""
    for one, other in ((a, b), (b, a)):
        apart = abs(one.value - other.value)
        if one.digits >= FLOAT_DIGITS and apart <= abs(other.value) / 10**14:
            return True
        endless = not other.digits and _endless(other.value)
        if one.digits >= 10 and endless and apart <= abs(other.value) * TOLERANCE:
            return True
    return False


def _endless(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest > 1


def _infinite(node: Node) -> int:
    if node == Sym("oo"):
        return 1
    return -1 if node == Mul((MINUS, Sym("oo"))) else 0


def defined(node: Node) -> bool:
    """Has a constant expression a value? True too for what has variables or is too big to say."""
    if names(node) or _infinite(node):
        return True
    try:
        exact(node, {})
    except Undefined:
        return False
    except TooBig:
        return True
    except Inexact:
        from rlvr.verifiers.math.numeric import Evaluation

        try:
            Evaluation({}).value(node)
        except Undefined:
            return False
        except TooBig:
            return True
    return True


def _draw(a: Node, b: Node) -> random.Random:
    """The same numbers on every machine; not to be foreseen while an answer is written."""
    try:
        spelled = repr((a, b))
    except ValueError as error:  # Python spells no integer of more than 4300 digits
        raise TooBig("digits") from error
    return random.Random(hashlib.sha256(spelled.encode()).digest())


def _points(a: Node, b: Node, free: list[str], spread: int) -> Iterator[dict[str, Fraction]]:
    draw = _draw(a, b)
    if mentions(a, *_COUNTING) or mentions(b, *_COUNTING):  # defined for natural numbers only
        for _ in range(POINTS):
            yield {name: Fraction(draw.randint(1, 40)) for name in free}
        for _ in range(POINTS):
            yield {name: Fraction(draw.randint(20, 200)) for name in free}
        return
    for signs in SIGNS[:POINTS]:
        yield {
            name: draw.choice(signs) * Fraction(draw.randint(2, spread), draw.randint(2, 997))
            for name in free
        }


def _numerically(a: Node, b: Node, free: list[str]) -> bool:
    from rlvr.verifiers.math.numeric import Evaluation  # mpmath: only when fractions do not do

    bases = (0, 10) if mentions(a, "log") or mentions(b, "log") else (0,)
    loose = mentions(a, "deg") != mentions(b, "deg") and _trigonometric(a) and _trigonometric(b)
    for base in bases:
        for degrees in (True, False) if loose else (True,):
            if _agrees(a, b, free, Evaluation, base, degrees):
                return True
    return False


def _trigonometric(node: Node) -> bool:
    return mentions(node, "sin", "cos", "tan", "cot", "sec", "csc")


def _agrees(a: Node, b: Node, free: list[str], evaluation: type, base: int, degrees: bool) -> bool:
    draw = _draw(b, a)
    agreed = 0
    imaginary = "i" in _letters(a) | _letters(b)
    for signs in SIGNS if free else SIGNS[:1]:
        at = {
            name: draw.choice(signs) * Fraction(draw.randint(3_000, 30_000), 9973) for name in free
        }
        outcome = _at_point(a, b, at, evaluation, base, degrees, imaginary)
        if outcome is False:
            return False
        agreed += outcome is True
    if free and agreed < 2:  # these points may all lie outside the domain
        for size in (1, 1, 1, 1, 10, 10, 10, 10, 100, 100, 100, 100):
            at = {name: Fraction(size * draw.randint(-9_000, 9_000), 9973) for name in free}
            outcome = _at_point(a, b, at, evaluation, base, degrees, imaginary)
            if outcome is False:
                return False
            agreed += outcome is True
    return agreed >= (2 if free else 1)


def _letters(node: Node) -> set[str]:
    if isinstance(node, Sym):
        return {node.name}
    match node:
        case Add(parts) | Mul(parts) | Call(_, parts):
            return set().union(*(_letters(part) for part in parts))
        case Pow(base, exponent):
            return _letters(base) | _letters(exponent)
        case _:
            return set()


def _at_point(
    a: Node,
    b: Node,
    at: dict[str, Fraction],
    evaluation: type,
    base: int,
    degrees: bool,
    imaginary: bool,
) -> bool | None:
    """Same value here? None where the point says nothing: undefined, or off the real branch."""
    digits = 60
    while True:
        run = evaluation(at, digits, base, degrees)
        try:
            x, y = run.value(a), run.value(b)
        except Undefined:
            return None if at else False
        if run.left_reals and at and not imaginary:
            return None
        mp = run.mp
        if abs(x - y) > max(abs(x), abs(y)) * mp.mpf(10) ** (15 - digits):
            return not at and _approaches(a, b, abs(x - y), max(abs(x), abs(y)))
        if run.gap > MAX_GAP:
            raise TooBig("cancellation")
        wanted = 60 + int(run.gap * 0.31)
        if digits >= 2 * 60 and digits >= wanted:
            return True
        digits = max(120, wanted)


def _approaches(a: Node, b: Node, apart: Any, size: Any) -> bool:
    """A decimal of ten digits or more against an irrational number."""
    long = [each for each in (a, b) if isinstance(each, Num) and each.digits >= 10]
    return len(long) == 1 and bool(apart <= size / 10**9)
