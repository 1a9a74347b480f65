"""Equations and inequalities: `x = 3` for 3, one equation for another up to scale, chains that hold."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from rlvr.verifiers.math.equal import equal
from rlvr.verifiers.math.nodes import (
    MINUS,
    Add,
    Call,
    Mul,
    Node,
    Num,
    Pow,
    Quantity,
    Relation,
    Seq,
    Sym,
    names,
)  # fmt: skip

EXPRESSION = (Num, Sym, Add, Mul, Pow, Call)
APPROXIMATE = 0.02  # relative: how far the two sides of an "approximately" sign may lie apart
_FLIP = {"<": "<", "<=": "<=", ">": "<", ">=": "<="}


def is_quantity(node: Node) -> bool:
    """What a question may ask the value of, though it is no name: `2x+y`, `f(2)+f(3)`, `a/b`; not `2x`."""
    found = names(node)
    return isinstance(node, EXPRESSION) and (
        len(found) > 1 or any(name[0] == "?" for name in found)
    )


def is_name(node: Node) -> bool:
    """What an answer may be called: `x`, `f(2)`, `AB`, `a+b`, `|z|`, `(x,y)`, `\\angle ABC`."""
    match node:
        case Sym():
            return True
        case Call(name, args):
            return name[0] == "?" or (name in ("abs", "sin", "cos", "tan") and is_name(args[0]))
        case Add(parts) | Mul(parts):
            return (
                all(isinstance(part, Sym) for part in parts)
                and len(set(parts)) == len(parts)
                and bool(names(node))
            )
        case Pow(Sym(), Num(value)):
            return value == 2  # never "x^2 = 9" for 3: the reference would have to be 9
        case Seq(_, items):
            return len(items) > 1 and all(isinstance(item, Sym) for item in items)
        case _:
            return False


def settled(
    relation: Relation, same: Callable[[Node, Node], bool], loose: bool = False
) -> tuple[Node | None, Node] | None:
    """(name or None, value) of `x = 5`, `x = 4 + 1 = 5`, `2 + 3 = 5`, `x \\in A`; None when it is no such statement.

    A chain whose values differ has no value. `loose`: the left side may be any quantity (`is_quantity`).
    """
    sides, ops = list(relation.sides), relation.ops
    if ops == ("in",):
        return (sides[0], sides[1]) if is_name(sides[0]) else None
    if any(op not in ("=", "~") for op in ops):
        return None
    name = None
    links = list(ops)
    if _called(sides[0]) or (loose and is_quantity(sides[0]) and not _variables(sides[-1])):
        name, sides, links = sides[0], sides[1:], links[1:]
    elif len(sides) == 2 and _called(sides[1]) and not _variables(sides[0]):  # 5 = x
        return sides[1], sides[0]
    for op, (left, right) in zip(links, pairwise(sides), strict=True):
        left, right = as_fraction(left), as_fraction(right)
        if op == "=" and not same(left, right):
            return None
        if op == "~" and not near(left, right):
            return None
    exact = [side for side, op in zip(sides, ["=", *links], strict=True) if op == "="]
    return name, exact[0] if exact else sides[0]


def _called(node: Node) -> bool:
    return is_name(node) and node not in (Sym("pi"), Sym("e"), Sym("i"), Sym("oo"))


def _variables(node: Node) -> bool:
    return bool(names(node))


def as_fraction(node: Node) -> Node:
    """`56\\%` within a chain is 56/100."""
    if isinstance(node, Quantity):
        hundredth = Pow(Num(Fraction(100)), MINUS)
        return Mul((node.value, hundredth)) if node.percent else node.value
    return node


def near(a: Node, b: Node) -> bool:
    from rlvr.verifiers.math.exact import Undefined
    from rlvr.verifiers.math.numeric import Evaluation

    if not (isinstance(a, EXPRESSION) and isinstance(b, EXPRESSION)):
        return False
    try:
        run = Evaluation({}, 30)
        x, y = run.value(a), run.value(b)
    except Undefined:
        return False
    return bool(abs(x - y) <= APPROXIMATE * max(abs(x), abs(y)))


def same_relation(a: Relation, b: Relation) -> bool:
    """Are two equations or chains of inequalities the same up to a constant factor and their direction?"""
    one, other = _links(a), _links(b)
    if one is None or other is None or len(one) != len(other):
        return False
    return any(
        all(
            p[0] == q[0] and _proportional(p[1], q[1], p[0])
            for p, q in zip(one, order, strict=True)
        )
        for order in ([other] if len(other) == 1 else [other, other[::-1]])
    )


def _links(relation: Relation) -> list[tuple[str, Node]] | None:
    """Each step as (`=`, `!=`, `<` or `<=`, left minus right with the smaller side first)."""
    links: list[tuple[str, Node]] = []
    for op, left, right in zip(relation.ops, relation.sides, relation.sides[1:], strict=False):
        left, right = as_fraction(left), as_fraction(right)
        if not (isinstance(left, EXPRESSION) and isinstance(right, EXPRESSION)):
            return None
        if op in (">", ">="):
            left, right = right, left
        op = _FLIP.get(op, op)
        if op in ("in", "~"):
            return None
        links.append((op, Add((left, Mul((MINUS, right))))))
    return links


def _proportional(f: Node, g: Node, op: str) -> bool:
    """f = c g with a constant c, positive for inequalities. f(p) g(x) = g(p) f(x) for all x, at a fixed point p."""
    from rlvr.verifiers.math.exact import Undefined
    from rlvr.verifiers.math.numeric import Evaluation

    free = sorted(names(f) | names(g))
    if names(f) != names(g):
        return False
    if not free or any(name[0] == "?" for name in free):
        return equal(f, g)
    at = {name: Fraction(7 + 5 * index, 3 + index) for index, name in enumerate(free)}
    run = Evaluation(at, 60)
    try:
        here, there = run.value(f), run.value(g)
    except Undefined:
        return False
    small = run.mp.mpf(10) ** -40
    if abs(here) < small or abs(there) < small:
        return equal(f, g)
    scale = here / there
    if run.mp.im(scale) != 0 or (op in ("<", "<=") and run.mp.re(scale) < 0):
        return False
    ratio = _rational(f, at), _rational(g, at)
    if ratio[0] is not None and ratio[1]:
        return equal(f, Mul((Num(ratio[0] / ratio[1]), g)))
    point = {name: Num(value) for name, value in at.items()}
    return equal(Mul((_put(f, point), g)), Mul((_put(g, point), f)))


def _rational(node: Node, at: dict[str, Fraction]) -> Fraction | None:
    from rlvr.verifiers.math.exact import Inexact, Undefined, exact
    from rlvr.verifiers.math.tokens import TooBig

    try:
        return exact(node, at)
    except (Inexact, Undefined, TooBig):
        return None


def _put(node: Node, point: dict[str, Num]) -> Node:
    from rlvr.verifiers.math.nodes import children, rebuilt

    if isinstance(node, Sym):
        return point.get(node.name, node)
    parts = children(node)
    return rebuilt(node, tuple(_put(part, point) for part in parts)) if parts else node
