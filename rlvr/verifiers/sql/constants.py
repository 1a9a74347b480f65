"""The constants that references compare columns with: a perturbed copy must hold rows that meet them,
and rows just beside them, or `age > 30` and `age >= 30` cannot be told apart.

Not covered: constants compared with anything but a plain column (`count(*) > 3`, `lower(name) = 'x'`), and
references that the parser does not know; their copies hold no planted rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from rlvr.verifiers.sql.order import DIALECTS

MOST = 24  # of one set of references
LONGEST = 200  # characters of a text
Constant = tuple[str, int | float | str]  # column, value
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)


@lru_cache(maxsize=4096)
def constants(references: tuple[str, ...], dialect: str) -> tuple[Constant, ...]:
    """(column in small letters, value), without repeats, in the order of the text."""
    found: dict[Constant, None] = {}
    for text in references:
        try:
            tree = sqlglot.parse_one(text, read=DIALECTS[dialect])
        except (SqlglotError, RecursionError):
            continue
        for column, literal in _compared(tree):
            value = _value(literal)
            if value is not None:
                found[(column.name.lower(), value)] = None
    return tuple(found)[:MOST]


def _compared(tree: exp.Expr) -> Iterator[tuple[exp.Column, exp.Expr]]:
    for node in tree.walk():
        match node:
            case exp.Between(this=exp.Column() as column):
                yield column, node.args["low"]
                yield column, node.args["high"]
            case exp.In(this=exp.Column() as column):
                for each in node.expressions:
                    yield column, each
            case exp.Like(this=exp.Column() as column) | exp.ILike(this=exp.Column() as column):
                yield column, _without_wildcards(node.expression)
            case exp.Binary(this=exp.Column() as column) if isinstance(node, _COMPARISONS):
                yield column, node.expression
            case exp.Binary(expression=exp.Column() as column) if isinstance(node, _COMPARISONS):
                yield column, node.this


def _without_wildcards(pattern: exp.Expr) -> exp.Expr:
    if not pattern.is_string:
        return pattern
    return exp.Literal.string(pattern.name.replace("%", "").replace("_", "a"))


def _value(node: exp.Expr) -> int | float | str | None:
    if isinstance(node, exp.Column) and not node.table and node.this.args.get("quoted"):
        return node.name[:LONGEST]  # SQLite takes "text" for a text where no such column is
    if node.is_string:
        return node.name[:LONGEST]
    negative = isinstance(node, exp.Neg)
    literal = node.this if negative else node
    if not isinstance(literal, exp.Literal):
        return None
    try:
        value = int(literal.name) if literal.name.isdigit() else float(literal.name)
    except ValueError:
        return None
    if not -(2**62) < value < 2**62:
        return None
    return -value if negative else value
