"""The whole grammar: a string to a typed answer."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import product

from rlvr.verifiers.math.clean import clean
from rlvr.verifiers.math.congruences import congruence
from rlvr.verifiers.math.expressions import Expressions, expression
from rlvr.verifiers.math.literals import base_of
from rlvr.verifiers.math.nodes import (
    MINUS,
    ONE,
    Based,
    Call,
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
    names,
    replace,
)  # fmt: skip
from rlvr.verifiers.math.tokens import Mark, TooBig, Unreadable
from rlvr.verifiers.math.wholes import based, plain_words, whole_word, without_lead
from rlvr.verifiers.math.words import MEANINGFUL, NUMBERS, ONE_LETTER_UNITS, SCALES, UNIT_OF

MAX_CHARS = 4000  # of an answer; the longest of MATH has 200

_RELATIONS = {
    "=": "=", "==": "=", ":=": "=", "<": "<", ">": ">", r"\le": "<=", r"\ge": ">=", "<=": "<=", ">=": ">=",
    r"\ne": "!=", "!=": "!=", r"\in": "in", r"\approx": "~",
}  # fmt: skip
_SEPARATORS = (",", ";")
_CONNECTIVES = frozenset(
    {
        "because",
        "since",
        "so",
        "hence",
        "therefore",
        "where",
        "when",
        "which",
        "if",
        "for",
        "as",
        "but",
    }
)
_CLOSING = {"(": (")", "]"), "[": (")", "]")}


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The typed answer that `text` spells. Raises Unreadable (TooBig when a structural limit was met).

    >>> parse("1,\\\\!000").value
    Fraction(1000, 1)
    """
    if len(text) > MAX_CHARS:
        raise TooBig("long")
    text = without_lead(clean(text))
    whole = whole_word(text) or based(text) or congruence(text)
    return whole or Answers(text).answer()


class Answers(Expressions):
    """Reads what a question can ask for; see `nodes`."""

    def answer(self) -> Node:
        items = self.listing()
        if self.token.mark is not Mark.END:
            raise Unreadable(f"unexpected {self.token.text}")
        return items[0] if len(items) == 1 else Seq(Kind.LIST, tuple(items))

    def listing(self, expand: bool = True) -> list[Node]:
        """Elements between commas, semicolons, `or` and `and`; each plus-minus written out."""
        items: list[Node] = []
        while True:
            item = self.relation()
            items.extend(_both_signs(item) if expand else [item])
            separated = False
            while self.takes(*_SEPARATORS) or self.token.mark is Mark.JOIN:
                self.at += self.token.mark is Mark.JOIN
                separated = True
            if not separated or (self.token.mark is Mark.END and items):
                return items

    def relation(self) -> Node:
        self.takes(r"\approx")
        sides, ops = [self.union()], []
        while self.token.text in _RELATIONS and self.token.mark in (Mark.OPERATOR, Mark.COMMAND):
            ops.append(_RELATIONS[self.next().text])
            if ops[-1] in "<>" and self.takes("="):
                ops[-1] += "="
            sides.append(self.union())
        return Relation(tuple(sides), tuple(ops)) if ops else sides[0]

    def union(self) -> Node:
        first = self.quantity()
        if self.sees(r"\setminus"):
            self.at += 1
            return Union((first, self.quantity()), minus=True)
        parts = [first]
        while self.takes(r"\cup"):
            parts.append(self.quantity())
        return Union(tuple(parts)) if len(parts) > 1 else first

    def quantity(self) -> Node:
        if self.token.mark is Mark.WORD:
            return self.text()
        outer, self.money = self.money, False
        node = self.sum()
        money, self.money = self.money, outer
        if self.sees(":") and isinstance(node, Num):
            return self.ratio(node)
        if self.takes(r"\$"):
            money = True
        percent = self.takes("%")
        if percent and self.tokens[self.at].mark is Mark.WORD:
            return Quantity(node, self.unit(node)[1], True)
        node, unit, named_percent = *self.unit(node), False
        if unit in ("percent", "per cent"):
            unit, named_percent = "", True
        if isinstance(node, Based) or not (percent or named_percent or unit or money):
            return node
        expression(node)
        return Quantity(node, unit or ("dollar" if money else ""), percent or named_percent)

    def unit(self, node: Node) -> tuple[Node, str]:
        """The words after a value: its scale (`million`) goes into the value, the rest is the unit."""
        words: list[str] = []
        if self.sees("^") and self.ahead().text in ("{", "th", "st", "nd", "rd"):
            self.at += 1
            self.takes("{")
            if self.token.mark is not Mark.WORD:
                raise Unreadable("exponent")
        elif self.token.mark is Mark.SYMBOL and self.unit_letter(node):
            letter = self.next().text
            return node, letter + "/" + self.next().text if self.takes("/") else letter
        while True:
            if self.token.mark is Mark.WORD:
                word = self.next().text
                low = word.lower().replace(".", "")
                if low in MEANINGFUL and not (
                    low == "square" or (words and low in ("squared", "cubed"))
                ):
                    if low == "base" and not words:
                        return self.in_base(node), ""
                    raise Unreadable(word)
                if not words and low in SCALES and isinstance(node, Num):
                    node = Num(node.value * SCALES[low])
                elif low not in ("of", "the", "a", "an"):
                    words.append(
                        low if low in ("am", "pm") or low in UNIT_OF else word.replace(".", "")
                    )
            elif words and self.takes("^"):
                words[-1] += "^" + self.raw_group()
            elif words and self.sees("/") and self.unit_follows():
                self.at += 1
                words[-1] += "/" + self.next().text
            elif words and self.sees("*") and self.ahead().mark is Mark.WORD:
                self.at += 1
            elif words and (self.takes("}") or self.takes(".")):
                continue
            else:
                break
        if len(words) > 5:
            raise Unreadable("prose")
        return node, " ".join(words)

    def unit_follows(self) -> bool:
        after = self.ahead()
        return after.mark is Mark.WORD or after.text in ONE_LETTER_UNITS

    def in_base(self, node: Node) -> Node:
        token = self.next()
        if not isinstance(node, Num) or node.value.denominator != 1:
            raise Unreadable("base")
        return Based(str(abs(node.value)), base_of(token.text), node.value < 0)

    def text(self) -> Node:
        """Words at the start of an element: an answer in words, or the name before an equals sign."""
        words: list[str] = []
        while self.token.mark in (Mark.WORD, Mark.NUMBER, Mark.SYMBOL) or self.sees(
            "-", "'", ".", "/"
        ):
            words.append(self.next().text)
            if len(words) > 8:
                raise Unreadable("prose")
        if len(words) > 1 and not _CONNECTIVES.isdisjoint(word.lower() for word in words):
            raise Unreadable("prose")
        if self.sees("="):
            return Sym("name " + " ".join(words).lower())
        if len(words) == 1:
            if len(words[0]) == 1:
                return Sym(words[0])
            if words[0].lower() in NUMBERS:
                return Num(Fraction(NUMBERS[words[0].lower()]))
        return Text(plain_words(" ".join(words)))

    def ratio(self, first: Num) -> Node:
        items = [first]
        while self.takes(":"):
            item = self.sum()
            if not isinstance(item, Num):
                raise Unreadable("ratio")
            items.append(item)
        _, unit = self.unit(first)
        return Ratio(tuple(items), unit if unit in ("am", "pm") else "")

    # -- brackets ---------------------------------------------------------------------------------

    def brackets(self, opening: str) -> Node:
        bars, self.bars = self.bars, 0
        if opening == "{":
            items = self.listing(expand=False)
            if self.sees(r"\over", r"\choose"):
                items = [self.stacked(self.next().text, items)]
            self.needs("}")
            self.bars = bars
            if len(items) == 1:
                return items[0]
            return Seq(Kind.LIST, tuple(each for item in items for each in _both_signs(item)))
        items = self.listing(expand=False)
        closing = self.next().text
        self.bars = bars
        if closing not in _CLOSING[opening]:
            raise Unreadable("brackets")
        ends = opening + closing
        if len(items) == 1:
            if ends not in ("()", "[]"):
                raise Unreadable("brackets")
            inside = items[0]
            return inside.value if isinstance(inside, Quantity) and not inside.percent else inside
        return Seq(Kind.TUPLE if ends == "()" else Kind.INTERVAL, tuple(items), ends)

    def stacked(self, name: str, top: list[Node]) -> Node:
        """`{1 \\over 2}` and `{5 \\choose 2}`."""
        over, under = expression(top[0]), expression(self.sum())
        if len(top) != 1:
            raise Unreadable(name)
        return (
            Call("binom", (over, under)) if name == r"\choose" else Mul((over, Pow(under, MINUS)))
        )

    def command(self, name: str) -> Node:
        if name == r"\{":
            return self.set()
        if name == r"\emptyset":
            return Seq(Kind.SET, ())
        if name == r"\begin":
            return self.matrix()
        if name == r"\langle":
            items = self.listing(expand=False)
            self.needs(r"\rangle")
            return Seq(Kind.TUPLE, tuple(items), "()")
        return super().command(name)

    def set(self) -> Node:
        if self.takes(r"\}"):
            return Seq(Kind.SET, ())
        if self.token.mark is Mark.SYMBOL and self.ahead().text in ("|", ":"):
            self.at += 2  # {x | x > 3}: the condition says it all
            condition = self.relation()
            self.needs(r"\}")
            return condition
        items = self.listing()
        self.needs(r"\}")
        return Seq(Kind.SET, tuple(items))

    def matrix(self) -> Node:
        kind = self.raw_group()
        if kind == "array":
            self.raw_group()  # the columns' alignment
        elif kind.removesuffix("*") not in (
            "pmatrix",
            "bmatrix",
            "matrix",
            "vmatrix",
            "smallmatrix",
        ):
            raise Unreadable(kind)
        rows: list[list[Node]] = [[]]
        while not self.sees(r"\end"):
            rows[-1].append(self.relation())
            if self.takes(r"\\"):
                rows.append([])
            elif not self.takes("&") and not self.sees(r"\end"):
                raise Unreadable("matrix")
        self.at += 1
        if self.raw_group() != kind:
            raise Unreadable("matrix")
        if not rows[-1]:
            rows.pop()
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise Unreadable("matrix")
        return Matrix(tuple(tuple(row) for row in rows), kind == "vmatrix")


def _both_signs(node: Node) -> list[Node]:
    signs = sorted(name for name in names(node) if name[0] == "±")
    if len(signs) > 3:
        raise TooBig("signs")
    found = []
    for choice in product((ONE, MINUS), repeat=len(signs)):
        each = node
        for name, sign in zip(signs, choice, strict=True):
            each = replace(each, Sym(name), sign)
        found.append(each)
    return found
