"""Does a typed answer say the same as a typed reference? The reference's shape decides what is asked."""

from __future__ import annotations

from fractions import Fraction

from rlvr.verifiers.math.equal import equal
from rlvr.verifiers.math.nodes import (
    Based,
    Call,
    Congruence,
    Kind,
    Matrix,
    Mul,
    Node,
    Num,
    Pow,
    Quantity,
    Ratio,
    Relation,
    Seq,
    Sym,
    Text,
    Union,
    mentions,
    names,
)  # fmt: skip
from rlvr.verifiers.math.regions import is_region, same_region, variable
from rlvr.verifiers.math.relations import EXPRESSION, as_fraction, same_relation, settled
from rlvr.verifiers.math.tokens import TooBig
from rlvr.verifiers.math.words import NUMBERS, measure

MAX_ITEMS = 100  # of a list, set or matrix
MAX_COMPARISONS = 400
HUNDRED = Fraction(100)


class Comparison:
    """One comparison of a reference with an answer; counts its steps so that no answer is slow."""

    def __init__(self) -> None:
        self.left = MAX_COMPARISONS

    def same(self, gold: Node, said: Node) -> bool:
        """Raises TooBig at a structural limit."""
        self.left -= 1
        if self.left < 0:
            raise TooBig("comparisons")
        if isinstance(gold, EXPRESSION) and isinstance(said, EXPRESSION):
            return equal(gold, said) or self.degrees(gold, said)
        if is_region(gold) or is_region(said):
            verdict = self.regions(gold, said)
            if verdict is not None:
                return verdict
        if isinstance(gold, Relation) or isinstance(said, Relation):
            return self.relations(gold, said)
        if isinstance(gold, Quantity) or isinstance(said, Quantity):
            return self.quantities(_measured(gold), _measured(said))
        match gold, said:
            case Seq(), Seq():
                return self.sequences(gold, said)
            case Seq(Kind.SET, (only,)), _:
                return self.same(only, said)
            case _, Seq(Kind.SET, (only,)):
                return self.same(gold, only)
            case Matrix(), Matrix():
                return self.matrices(gold, said)
            case Matrix(), Seq():
                rows = _rows(said)
                return rows is not None and self.matrices(gold, rows)
            case Based(), Based():
                return _plain(gold) == _plain(said)
            case Based(_, 10), _:
                return self.same(Num(Fraction(gold.digits) * (-1 if gold.negative else 1)), said)
            case _, Based(_, 10):
                return self.same(gold, Num(Fraction(said.digits) * (-1 if said.negative else 1)))
            case Congruence(), Congruence():
                one, other = (gold.residue, gold.modulus), (said.residue, said.modulus)
                return one == other and (gold.name == said.name or not (gold.name and said.name))
            case Ratio(), _:
                return self.ratios(gold, said)
            case _, Ratio():
                return self.ratios(said, gold)
            case Text(words), _:
                return _spelled(said) == words
            case _, Text(words):
                return _spelled(gold) == words
            case _:
                return False

    def degrees(self, gold: Node, said: Node) -> bool:
        """45 for 45 degrees, and pi/4 for 45 degrees."""
        match gold, said:
            case (Call("deg", (inside,)), other) | (other, Call("deg", (inside,))):
                if isinstance(other, Call) and other.name == "deg":
                    return equal(inside, other.args[0])
                turned = Mul((inside, Sym("pi"), Pow(Num(Fraction(180)), Num(Fraction(-1)))))
                return equal(inside, other) or equal(turned, other)
            case _:
                return False

    # -- quantities -------------------------------------------------------------------------------

    def quantities(self, gold: Quantity, said: Quantity) -> bool:
        """Units may be dropped, not changed; percent too, and it is a fraction only where the reference has it."""
        if gold.unit and said.unit and (gold.percent, said.percent) == (False, False):
            one, other = measure(gold.unit), measure(said.unit)
            if one is not None and other is not None:
                if one[0] != other[0]:
                    return False
                if one[1] != other[1] and one[1] is not None and other[1] is not None:
                    return self.same(_times(gold.value, one[1]), _times(said.value, other[1]))
        if gold.percent and not said.percent:
            return self.same(gold.value, said.value) or self.same(as_fraction(gold), said.value)
        return self.same(gold.value, said.value)

    # -- relations --------------------------------------------------------------------------------

    def relations(self, gold: Node, said: Node) -> bool:
        if isinstance(gold, Relation) and isinstance(said, Relation):
            one, other = settled(gold, self.same), settled(said, self.same)
            if one and other and one[0] is not None and other[0] is not None:
                if _same_name(one[0], other[0]):
                    return self.same(one[1], other[1])
                return same_relation(gold, said)
            if one and other and (one[0] is None or other[0] is None):
                return one[0] is None and self.same(one[1], other[1])
            return same_relation(gold, said)
        if isinstance(said, Relation):
            found = settled(said, self.same, loose=True)
            return found is not None and self.same(gold, found[1])
        assert isinstance(gold, Relation)
        found = settled(gold, self.same)
        return found is not None and self.same(found[1], said)

    def regions(self, gold: Node, said: Node) -> bool | None:
        """Intervals, unions and inequalities as sets of reals; None where this is not how to compare them."""
        if same_region(gold, said):
            one, other = variable(gold), variable(said)
            return one is None or other is None or _same_name(one, other)
        if isinstance(gold, Seq) and isinstance(said, Seq):
            return self.sequences(gold, said)
        if isinstance(gold, Relation) or isinstance(said, Relation):
            return None
        if isinstance(gold, Union) and isinstance(said, Union) and gold.minus == said.minus:
            return self.unordered(gold.parts, said.parts)
        return None if isinstance(gold, Sym | Text) or isinstance(said, Sym | Text) else False

    # -- several values ---------------------------------------------------------------------------

    def sequences(self, gold: Seq, said: Seq) -> bool:
        free = (Kind.LIST, Kind.SET)
        if gold.kind in free and said.kind in free:
            if gold.kind is Kind.SET and said.kind is Kind.SET:
                return self.covered(gold.items, said.items) and self.covered(said.items, gold.items)
            return self.unordered(*self.bare(gold.items, said.items))
        if gold.kind is Kind.TUPLE and said.kind is Kind.LIST:
            return self.ordered(gold.items, said.items)
        return gold.ends == said.ends and self.ordered(gold.items, said.items)

    def bare(
        self, gold: tuple[Node, ...], said: tuple[Node, ...]
    ) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """`x = 1, x = -2` is `1, -2`, and so is `x = 1, -2`: one name for all of them may be dropped."""
        if any(isinstance(item, Relation) for item in gold) and any(
            isinstance(item, Relation) for item in said
        ):
            return gold, said
        return self.unnamed(gold), self.unnamed(said)

    def unnamed(self, items: tuple[Node, ...]) -> tuple[Node, ...]:
        found = [settled(item, self.same) for item in items if isinstance(item, Relation)]
        called = {one[0] for one in found if one}
        if not found or None in found or len(called) != 1:
            return items
        rest = iter(found)
        return tuple(
            (next(rest) or (None, item))[1] if isinstance(item, Relation) else item
            for item in items
        )

    def ordered(self, gold: tuple[Node, ...], said: tuple[Node, ...]) -> bool:
        return (
            len(gold) == len(said) <= MAX_ITEMS
            and all(self.same(a, b) for a, b in zip(gold, said, strict=True))
        )  # fmt: skip

    def unordered(self, gold: tuple[Node, ...], said: tuple[Node, ...]) -> bool:
        if len(gold) != len(said) or len(gold) > MAX_ITEMS:
            return False
        rest = list(said)
        for item in gold:
            for index, other in enumerate(rest):
                if self.same(item, other):
                    del rest[index]
                    break
            else:
                return False
        return True

    def covered(self, items: tuple[Node, ...], by: tuple[Node, ...]) -> bool:
        if len(items) > MAX_ITEMS or len(by) > MAX_ITEMS:
            return False
        return all(any(self.same(item, other) for other in by) for item in items)

    def matrices(self, gold: Matrix, said: Matrix) -> bool:
        return (
            gold.determinant == said.determinant
            and len(gold.rows) == len(said.rows)
            and all(self.ordered(a, b) for a, b in zip(gold.rows, said.rows, strict=True))
        )

    def ratios(self, ratio: Ratio, other: Node) -> bool:
        values = [item.value for item in ratio.items]
        if isinstance(other, Ratio):
            theirs = [item.value for item in other.items]
            if ratio.unit and other.unit and ratio.unit != other.unit:
                return False
            if values == theirs:
                return True
            timed = ratio.unit or other.unit or len(values) > 2 or _clock(ratio) or _clock(other)
            return (
                not timed and all(theirs) and values[0] * theirs[1] == values[1] * theirs[0]
            )  # fmt: skip
        return (
            isinstance(other, Mul | Num)
            and len(values) == 2
            and bool(values[1])
            and not _clock(ratio)
            and (isinstance(other, Mul) or other.value.denominator > 1)
            and equal(Num(values[0] / values[1]), other)
        )


def _clock(ratio: Ratio) -> bool:
    """Could it be a time of day? `4:30` may, `3:1` may not."""
    return 10 <= ratio.items[1].value < 60 and ratio.items[0].value <= 24


def _measured(node: Node) -> Quantity:
    if isinstance(node, Call) and node.name == "deg":
        return Quantity(node.args[0], "degree")
    return node if isinstance(node, Quantity) else Quantity(node)


def _times(node: Node, size: Fraction) -> Node:
    return Num(node.value * size, node.digits) if isinstance(node, Num) else Mul((node, Num(size)))


def _plain(numeral: Based) -> tuple[str, int, bool]:
    whole, _, part = numeral.digits.partition(".")
    return whole.lstrip("0") + "." + part.rstrip("0"), numeral.base, numeral.negative


def _rows(said: Seq) -> Matrix | None:
    """`[[1, 2], [3, 4]]` as a matrix."""
    rows = [
        item.items
        for item in said.items
        if isinstance(item, Seq) and item.ends == said.ends == "[]"
    ]
    if len(rows) != len(said.items) or any(len(row) != len(rows[0]) for row in rows):
        return None
    return Matrix(tuple(rows))


def _same_name(one: Node, other: Node) -> bool:
    return one == other or (
        isinstance(one, EXPRESSION)
        and isinstance(other, EXPRESSION)
        and names(one) == names(other)
        and not mentions(one, "?f")
        and equal(one, other)
    )


def _spelled(node: Node) -> str | None:
    """A node as the words of a Text would spell it."""
    match node:
        case Text(words):
            return words
        case Sym(name):
            return name.lower() if len(name) == 1 or name.isupper() else None
        case Mul(factors):
            letters = [
                each.name for each in factors if isinstance(each, Sym) and len(each.name) == 1
            ]
            return "".join(letters).lower() if len(letters) == len(factors) else None
        case Num(value):
            return next((word for word, number in NUMBERS.items() if number == value), None)
        case _:
            return None
