"""What an answer is made of: small immutable trees, compared by value and hashed by value.

Two layers. Expressions (`Num` to `Call`) have a value at a point. Answers (`Seq` to `Text`) are what a question can ask
for: lists, sets, tuples, intervals, matrices, equations, quantities with a unit, numerals in a base, words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Num:
    """A rational number. `digits`: significant digits of a literal with a decimal point, else 0."""

    value: Fraction
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable by its full name (`x`, `x_1`, `alpha`) or a constant (`pi`, `e`, `i`, `oo`)."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mul:
    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pow:
    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A known function (`sin`, `root`, `deg`, ...) or an unknown one, whose name then starts with `?`."""

    name: str
    args: tuple[Node, ...]


class Kind(StrEnum):
    LIST = "list"  # bare, order free
    SET = "set"  # order and repetition free
    TUPLE = "tuple"  # ( ) or angle brackets, order fixed; also an open interval
    INTERVAL = "interval"  # at least one square bracket


@dataclass(frozen=True, slots=True)
class Seq:
    kind: Kind
    items: tuple[Node, ...]
    ends: str = ""  # the two brackets, "" for lists and sets


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Node, ...], ...]
    determinant: bool = False


@dataclass(frozen=True, slots=True)
class Union:
    """Parts joined by a cup; with `minus`, the first part without the others."""

    parts: tuple[Node, ...]
    minus: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """`sides[0] ops[0] sides[1] ops[1] ...` with ops of `= < <= > >= != in ~`."""

    sides: tuple[Node, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Congruence:
    """All numbers that leave this residue; `name` is what is said to be one of them, if anything."""

    name: str
    residue: int  # from 0 to below the modulus
    modulus: int


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value as written before a unit, a percent sign or both."""

    value: Node
    unit: str = ""
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Based:
    """A numeral with the subscript of its base; digits are upper case."""

    digits: str
    base: int
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Ratio:
    """Numbers between colons, a ratio or a time of day; `unit` is `am`, `pm` or empty."""

    items: tuple[Num, ...]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Words, lower case, one space apart."""

    words: str


Node = (
    Num | Sym | Add | Mul | Pow | Call
    | Seq | Matrix | Union | Relation | Congruence | Quantity | Based | Ratio | Text
)  # fmt: skip

CONSTANTS = frozenset({"pi", "e", "i", "oo"})
ZERO, ONE, MINUS = Num(Fraction(0)), Num(Fraction(1)), Num(Fraction(-1))


def negative(node: Node) -> Node:
    if isinstance(node, Num):
        return Num(-node.value, node.digits)
    if isinstance(node, Quantity):
        return Quantity(negative(node.value), node.unit, node.percent)
    if isinstance(node, Based):
        return Based(node.digits, node.base, not node.negative)
    return Mul((MINUS, node))


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Add(parts) | Mul(parts) | Call(_, parts) | Seq(_, parts) | Union(parts):
            return parts
        case Pow(base, exponent):
            return (base, exponent)
        case Relation(sides):
            return sides
        case Matrix(rows):
            return tuple(cell for row in rows for cell in row)
        case Quantity(value):
            return (value,)
        case _:
            return ()


def rebuilt(node: Node, parts: tuple[Node, ...]) -> Node:
    """The same node over other children, given in the order of `children`."""
    match node:
        case Add():
            return Add(parts)
        case Mul():
            return Mul(parts)
        case Call(name):
            return Call(name, parts)
        case Pow():
            return Pow(parts[0], parts[1])
        case Seq(kind, _, ends):
            return Seq(kind, parts, ends)
        case Union(_, minus):
            return Union(parts, minus)
        case Relation(_, ops):
            return Relation(parts, ops)
        case Matrix(rows, determinant):
            width = len(rows[0])
            return Matrix(
                tuple(parts[at : at + width] for at in range(0, len(parts), width)), determinant
            )
        case Quantity(_, unit, percent):
            return Quantity(parts[0], unit, percent)
        case _:
            return node


def replace(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    parts = children(node)
    return rebuilt(node, tuple(replace(part, old, new) for part in parts)) if parts else node


def names(node: Node) -> frozenset[str]:
    """The variables of an expression and the functions nobody knows (`?f`), constants left out."""
    if isinstance(node, Sym):
        return frozenset() if node.name in CONSTANTS else frozenset({node.name})
    own = {node.name} if isinstance(node, Call) and node.name[0] == "?" else ()
    return frozenset(own).union(*(names(part) for part in children(node)))


def mentions(node: Node, *functions: str) -> bool:
    if isinstance(node, Call) and node.name in functions:
        return True
    return any(mentions(part, *functions) for part in children(node))
