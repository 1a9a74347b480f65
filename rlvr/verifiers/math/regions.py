"""Sets of real numbers: intervals, their unions, inequalities, all reals, all but some points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from rlvr.verifiers.math.equal import equal
from rlvr.verifiers.math.exact import Undefined
from rlvr.verifiers.math.nodes import (
    Call,
    Kind,
    Node,
    Relation,
    Seq,
    Sym,
    Union,
    names,
    negative,
)  # fmt: skip

INFINITY = Sym("oo")
MAX_PIECES = 40
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_REALS = {Sym("bbR"), Sym("R")}


@dataclass(frozen=True, slots=True)
class Piece:
    """From `low` to `high`; an end belongs to the piece or not."""

    low: Node
    high: Node
    low_in: bool
    high_in: bool


def is_region(node: Node) -> bool:
    """Does this say a set of reals in so many words? A bare pair `(1,2)` does not: it may be a point."""
    match node:
        case Union():
            return True
        case Relation(sides, ops):
            return any(op in ("<", ">", "<=", ">=", "!=") for op in ops) or (
                ops == ("in",) and (is_region(sides[1]) or _interval(sides[1]) is not None)
            )
        case Seq(Kind.INTERVAL, items):
            return len(items) == 2 and not any(isinstance(item, Seq) for item in items)
        case Seq(Kind.TUPLE, items):
            return len(items) == 2 and any(_is_infinite(item) for item in items)
        case Seq(Kind.LIST, items):
            return len(items) > 0 and all(
                isinstance(item, Relation) and is_region(item) for item in items
            )
        case _:
            return node in _REALS


def variable(node: Node) -> Node | None:
    """What an inequality or membership speaks of; None for a plain interval."""
    match node:
        case Relation(sides, ops):
            if ops == ("in",):
                return sides[0]
            return next((side for side in sides if _is_name(side)), None)
        case Seq(Kind.LIST, items):
            found = {variable(item) for item in items}
            return found.pop() if len(found) == 1 else None
        case _:
            return None


def same_region(a: Node, b: Node) -> bool:
    """The same set of reals? False where either cannot be put in order. Raises TooBig at a structural limit."""
    one, other = pieces(a), pieces(b)
    if one is None or other is None:
        return False
    one, other = merged(one), merged(other)
    return (
        one is not None
        and other is not None
        and len(one) == len(other)
        and all(
            p.low_in == q.low_in
            and p.high_in == q.high_in
            and equal(p.low, q.low)
            and equal(p.high, q.high)
            for p, q in zip(one, other, strict=True)
        )
    )


def pieces(node: Node) -> list[Piece] | None:
    match node:
        case Union(parts, minus):
            return _without(parts) if minus else _joined([pieces(part) for part in parts])
        case Relation(sides, ops):
            if ops == ("in",):
                return pieces(sides[1])
            return _inequality(sides, ops)
        case Seq(Kind.SET, items):
            return [Piece(item, item, True, True) for item in items]
        case Seq(Kind.LIST, items):
            return _joined([pieces(item) for item in items])
        case _:
            if node in _REALS:
                return [Piece(negative(INFINITY), INFINITY, False, False)]
            piece = _interval(node)
            return None if piece is None else [piece]


def _joined(parts: list[list[Piece] | None]) -> list[Piece] | None:
    found: list[Piece] = []
    for part in parts:
        if part is None:
            return None
        found.extend(part)
    return found if len(found) <= MAX_PIECES else None


def _interval(node: Node) -> Piece | None:
    if isinstance(node, Seq) and node.kind in (Kind.TUPLE, Kind.INTERVAL) and len(node.items) == 2:
        low, high = node.items
        return Piece(
            low,
            high,
            node.ends[0] == "[" and not _is_infinite(low),
            node.ends[1] == "]" and not _is_infinite(high),
        )
    return None


def _is_infinite(node: Node) -> bool:
    return node == INFINITY or node == negative(INFINITY)


def _is_name(node: Node) -> bool:
    return isinstance(node, Sym) or (isinstance(node, Call) and node.name[0] == "?")


def _inequality(sides: tuple[Node, ...], ops: tuple[str, ...]) -> list[Piece] | None:
    """`x > 3`, `3 < x`, `1 <= x < 2`, `x != 3`."""
    low, high, low_in, high_in = negative(INFINITY), INFINITY, False, False
    if len(sides) == 2:
        left, right = sides
        op = ops[0]
        if not _is_name(left) or names(right):
            left, right, op = right, left, _MIRROR.get(op, "")
        if not _is_name(left) or names(right):
            return None
        if op == "!=":
            return [Piece(low, right, False, False), Piece(right, high, False, False)]
        if op in ("<", "<="):
            return [Piece(low, right, False, op == "<=")]
        if op in (">", ">="):
            return [Piece(right, high, op == ">=", False)]
        return [Piece(right, right, True, True)] if op == "=" else None
    if len(sides) != 3 or not _is_name(sides[1]) or names(sides[0]) or names(sides[2]):
        return None
    first, second = ops
    if first in (">", ">=") and second in (">", ">="):
        sides, first, second = sides[::-1], _MIRROR[second], _MIRROR[first]
    if first not in ("<", "<=") or second not in ("<", "<="):
        return None
    left, right, low_in, high_in = sides[0], sides[2], first == "<=", second == "<="
    return [
        Piece(left, right, low_in and not _is_infinite(left), high_in and not _is_infinite(right))
    ]


def _without(parts: tuple[Node, ...]) -> list[Piece] | None:
    """All reals without some points."""
    if len(parts) != 2 or parts[0] not in _REALS:
        return None
    holes = parts[1]
    if not isinstance(holes, Seq) or holes.kind is not Kind.SET or len(holes.items) > MAX_PIECES:
        return None
    order = sort_key()
    try:
        points = sorted(holes.items, key=order)
    except Undefined:
        return None
    ends = [negative(INFINITY), *points, INFINITY]
    return [Piece(low, high, False, False) for low, high in pairwise(ends)]


def sort_key() -> Callable[[Node], float]:
    """A node's place on the real line. Raises Undefined for what has none."""
    from rlvr.verifiers.math.numeric import Evaluation

    def key(node: Node) -> float:
        if node == INFINITY:
            return float("inf")
        if node == negative(INFINITY):
            return float("-inf")
        run = Evaluation({}, 30)
        value = run.value(node)
        if run.mp.im(value) != 0:
            raise Undefined("complex")
        try:
            return float(run.mp.re(value))
        except OverflowError as error:
            raise Undefined("large") from error

    return key


def merged(found: list[Piece]) -> list[Piece] | None:
    """In order, with touching and overlapping pieces made one. None where the ends are not real numbers."""
    key = sort_key()
    try:
        order = sorted(found, key=lambda piece: (key(piece.low), not piece.low_in, key(piece.high)))
        result: list[Piece] = []
        for piece in order:
            low, high = key(piece.low), key(piece.high)
            if low > high or (low == high and not (piece.low_in and piece.high_in)):
                return None  # an empty or reversed interval is not an answer
            if result and _touch(result[-1], piece, key):
                last = result.pop()
                far = key(last.high)
                if high > far or (high == far and piece.high_in):
                    last = Piece(last.low, piece.high, last.low_in, piece.high_in)
                piece = last
            result.append(piece)
    except Undefined:
        if len(found) == 1:
            return found  # a single interval with variables at its ends
        return None
    return result


def _touch(left: Piece, right: Piece, key: Callable[[Node], float]) -> bool:
    end, start = key(left.high), key(right.low)
    return start < end or (start == end and (left.high_in or right.low_in))
