"""The value of an expression as a rational number, where it has one that arithmetic on fractions can find."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import comb, factorial, gcd, isqrt, lcm

from rlvr.verifiers.math.nodes import Add, Call, Mul, Node, Num, Pow, Sym
from rlvr.verifiers.math.tokens import TooBig

MAX_BITS = 100_000  # of a numerator or denominator
MAX_FACTORIAL = 2000
MAX_CHOOSE = 5000


class Inexact(Exception):
    """Needs real or complex arithmetic."""


class Undefined(Exception):
    """Has no value here: a division by zero, a factorial of a fraction."""


def exact(node: Node, at: Mapping[str, Fraction]) -> Fraction:
    """The value with variables as in `at`. Raises Inexact, Undefined or TooBig."""
    match node:
        case Num(value):
            return value
        case Sym(name):
            if name in at:
                return at[name]
            raise Inexact(name)
        case Add(terms):
            return checked(sum((exact(term, at) for term in terms), Fraction(0)))
        case Mul(factors):
            product = Fraction(1)
            for factor in factors:
                product = checked(product * exact(factor, at))
            return product
        case Pow(base, exponent):
            return power(exact(base, at), exact(exponent, at))
        case Call(name, args):
            return call(name, [exact(each, at) for each in args])
        case _:
            raise Undefined(type(node).__name__)


def checked(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise TooBig("number")
    return value


def power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        if base < 0:
            raise Inexact("power")
        return power(root(base, exponent.denominator), Fraction(exponent.numerator))
    if base == 0 and exponent <= 0:
        raise Undefined("power of zero")
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and size * abs(exponent) > MAX_BITS:
        raise TooBig("power")
    if abs(base) == 1:
        exponent = Fraction(int(exponent) % 2)
    return base ** int(exponent)


def root(value: Fraction, degree: int) -> Fraction:
    """The exact non-negative root. Raises Inexact where it is irrational."""
    if degree == 2:
        over, under = isqrt(value.numerator), isqrt(value.denominator)
    elif degree <= 64 and max(value.numerator, value.denominator).bit_length() < 900:
        over = round(float(value.numerator) ** (1 / degree))
        under = round(float(value.denominator) ** (1 / degree))
    else:
        raise Inexact("root")
    if over**degree != value.numerator or under**degree != value.denominator:
        raise Inexact("root")
    return Fraction(over, under)


def whole(value: Fraction, limit: int) -> int:
    if value.denominator != 1 or value < 0:
        raise Undefined("not a natural number")
    if value > limit:
        raise TooBig("argument")
    return int(value)


def call(name: str, args: list[Fraction]) -> Fraction:
    first = args[0]
    if name == "factorial":
        return Fraction(factorial(whole(first, MAX_FACTORIAL)))
    if name == "binom" and len(args) == 2:
        return Fraction(comb(whole(first, MAX_CHOOSE), whole(args[1], MAX_CHOOSE)))
    if name == "abs":
        return abs(first)
    if name == "floor":
        return Fraction(first.__floor__())
    if name == "ceil":
        return Fraction(first.__ceil__())
    if name == "max":
        return max(args)
    if name == "min":
        return min(args)
    if name in ("gcd", "lcm"):
        if any(each.denominator != 1 for each in args):
            raise Undefined(name)
        numbers = [int(each) for each in args]
        return Fraction(gcd(*numbers) if name == "gcd" else lcm(*numbers))
    if name == "root" and args[1].denominator == 1 and args[1] >= 2:
        if first < 0 and args[1] % 2:
            return -root(-first, int(args[1]))
        if first >= 0:
            return root(first, int(args[1]))
    raise Inexact(name)
