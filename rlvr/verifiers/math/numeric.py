"""The value of an expression at a point, to many digits, complex where it must be (mpmath).

Two dangers are watched. A term may vanish beside a much larger one (`42 + e^{-300}` is not 42): the largest gap between
the terms of any sum is kept, so that the caller can ask again with more digits. And a branch of a root or
logarithm may be taken that a reader would not mean (sqrt(x) for negative x): `left_reals` tells.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import mpmath

from rlvr.verifiers.math.exact import MAX_BITS, Inexact, Undefined, exact
from rlvr.verifiers.math.nodes import Add, Call, Mul, Node, Num, Pow, Sym
from rlvr.verifiers.math.tokens import TooBig

DIGITS = 60
MAX_MAGNITUDE = 20_000  # bits before the point of any real value
_here = threading.local()

_INVERSE = {"arcsec": "acos", "arccsc": "asin", "arccot": "atan"}
_NAMES = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    **{name: name for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch")},
}  # fmt: skip
_ANGLED = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_REALS_ONLY = frozenset({"arcsin", "arccos", "arcsec", "arccsc"})


def context(digits: int) -> Any:
    """This thread's own mpmath context: the global one would be shared by all threads."""
    if not hasattr(_here, "context"):
        _here.context = mpmath.MPContext()
    _here.context.dps = digits
    return _here.context


class Evaluation:
    """One evaluation at one point. `log_base` is what a bare log means."""

    def __init__(
        self,
        at: Mapping[str, Fraction],
        digits: int = DIGITS,
        log_base: int = 0,
        degrees: bool = True,
    ) -> None:
        self.mp = context(digits)
        self.at = at
        self.log_base = log_base
        self.degrees = degrees  # does the degree sign count inside sines and cosines
        self.gap = 0  # bits
        self.left_reals = False

    def value(self, node: Node) -> Any:
        """An mpmath number. Raises Undefined or TooBig."""
        mp = self.mp
        match node:
            case Num(value):
                return mp.mpf(value.numerator) / value.denominator
            case Sym(name):
                return self.symbol(name)
            case Add(terms):
                return self.total([self.value(term) for term in terms])
            case Mul(factors):
                result = mp.mpf(1)
                for factor in factors:
                    result = self.small(result * self.value(factor))
                return result
            case Pow(base, exponent):
                return self.power(base, exponent)
            case Call(name, args):
                return self.small(self.call(name, args))
            case _:
                raise Undefined(type(node).__name__)

    def symbol(self, name: str) -> Any:
        mp = self.mp
        if name in self.at:
            value = self.at[name]
            return mp.mpf(value.numerator) / value.denominator
        if name == "pi":
            return +mp.pi
        if name == "e":
            return +mp.e
        if name == "i":
            return mp.mpc(0, 1)
        raise Undefined(name)

    def small(self, value: Any) -> Any:
        mp = self.mp
        if not mp.isfinite(value):
            raise Undefined("not finite")
        if value != 0 and abs(mp.mag(value)) > MAX_MAGNITUDE:
            raise TooBig("magnitude")
        return value

    def total(self, values: list[Any]) -> Any:
        mp = self.mp
        sizes = [int(mp.mag(value)) for value in values if value != 0]
        if sizes:
            self.gap = max(self.gap, max(sizes) - min(sizes))
        result = values[0]
        for value in values[1:]:
            result = result + value
        return result

    def power(self, base: Node, exponent: Node) -> Any:
        mp = self.mp
        x = self.value(base)
        y = self.value(exponent)
        if x == 0:
            if mp.re(y) > 0:
                return mp.mpf(0)
            raise Undefined("power of zero")
        if abs(y) * (abs(int(mp.mag(x))) + 1) > MAX_MAGNITUDE:
            raise TooBig("power")
        if mp.im(x) == 0 and mp.re(x) < 0 and mp.im(y) == 0 and not mp.isint(y):
            self.left_reals = True
        if mp.im(y) == 0 and mp.isint(y):
            return self.small(x ** int(mp.re(y)))
        return self.small(x**y)

    def call(self, name: str, args: tuple[Node, ...]) -> Any:
        mp = self.mp
        if name[0] == "?":
            return self.unknown(name, [self.value(each) for each in args])
        if name in _ANGLED and len(args) == 1:
            x = self.angle(args[0])
            if abs(int(mp.mag(x)) if x != 0 else 0) > 200:
                raise TooBig("angle")
            if mp.im(x) == 0 and name != "sin" and name != "cos":
                other = mp.cos(x) if name in ("tan", "sec") else mp.sin(x)
                if abs(other) < mp.mpf(10) ** (10 - mp.dps):
                    raise Undefined(name)
            return getattr(mp, name)(x)
        x = self.value(args[0])
        if name == "deg":
            return x
        if name == "abs":
            return abs(x)
        if name == "root":
            return self.root(x, self.value(args[1]))
        if name in ("log", "ln"):
            return self.log(name, x, args)
        if mp.im(x) != 0 or (len(args) > 1 and name not in ("max", "min")):
            return self.rest(name, x, args)
        if name in _INVERSE:
            self.left_reals |= name in _REALS_ONLY and abs(x) < 1
            if x == 0:
                raise Undefined(name)
            return getattr(mp, _INVERSE[name])(1 / x)
        if name in _NAMES:
            self.left_reals |= name in _REALS_ONLY and abs(x) > 1
            if name.endswith("h") and abs(x) > MAX_MAGNITUDE:
                raise TooBig(name)
            return getattr(mp, _NAMES[name])(x)
        return self.rest(name, x, args)

    def angle(self, node: Node) -> Any:
        """An argument of sine and the like, where `30^\\circ` means 30 pi/180 (also inside sums and products)."""
        if not self.degrees:
            return self.value(node)
        match node:
            case Call("deg", (inside,)):
                return self.value(inside) * self.mp.pi / 180
            case Add(terms):
                return self.total([self.angle(term) for term in terms])
            case Mul(factors):
                result = self.mp.mpf(1)
                for factor in factors:
                    result = result * self.angle(factor)
                return result
            case _:
                return self.value(node)

    def root(self, x: Any, degree: Any) -> Any:
        mp = self.mp
        if not mp.isint(degree) or not 2 <= mp.re(degree) <= 1000:
            raise Undefined("root")
        n = int(mp.re(degree))
        if mp.im(x) == 0 and mp.re(x) < 0:
            if n % 2:
                return -mp.root(-mp.re(x), n)
            self.left_reals = True
        return mp.root(x, n)

    def log(self, name: str, x: Any, args: tuple[Node, ...]) -> Any:
        mp = self.mp
        if x == 0:
            raise Undefined("log of zero")
        if mp.im(x) == 0 and mp.re(x) < 0:
            self.left_reals = True
        if len(args) == 2:
            base = mp.log(self.value(args[1]))
        else:
            base = mp.log(self.log_base) if self.log_base and name == "log" else mp.mpf(1)
        if base == 0:
            raise Undefined("log to base one")
        return mp.log(x) / base

    def rest(self, name: str, x: Any, args: tuple[Node, ...]) -> Any:
        mp = self.mp
        if mp.im(x) == 0 and name in ("floor", "ceil"):
            nearest = mp.nint(x)
            if abs(x - nearest) < mp.mpf(10) ** (20 - mp.dps):
                return nearest
            return getattr(mp, name)(x)
        if name in ("max", "min"):
            values = [self.value(each) for each in args]
            if all(mp.im(each) == 0 for each in values):
                return (max if name == "max" else min)(mp.re(each) for each in values)
        try:
            value = exact(Call(name, args), self.at)
        except Inexact as error:
            raise Undefined(name) from error
        if value.numerator.bit_length() > MAX_BITS:
            raise TooBig(name)
        return mp.mpf(value.numerator) / value.denominator

    def unknown(self, name: str, values: list[Any]) -> Any:
        """f(x) for an f nobody knows: a number fixed by the name and the arguments to 30 digits."""
        mp = self.mp
        spelled = name + ";".join(mp.nstr(mp.mpmathify(each), 30) for each in values)
        return 1 + mp.mpf(int(hashlib.sha256(spelled.encode()).hexdigest()[:24], 16)) / 16**24
