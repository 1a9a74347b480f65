"""What the reference's outermost ORDER BY asks for: whether there is one, and a query that numbers
its ties.

Rows that tie on the sort keys may come in any order, and the keys may be no part of the select
list (`SELECT name FROM t ORDER BY age`). So the database is asked itself: `dense_rank() OVER
(ORDER BY the same terms)` as one more, last column. That respects collations, nulls and
expressions. The caller checks that the probe returns the reference's own rows before using it.

Not covered: SELECT DISTINCT where one row stands for several keys outside the select list (the
reference's sequence is the right one then), and a LIMIT that cuts through a tie
(the rows the reference kept are the right ones).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from rlvr.verifiers.sql import lexer

DIALECTS = {"sqlite": "sqlite", "duckdb": "duckdb", "postgresql": "postgres"}
_RANK = "rlvr_tie"
# its warnings are about texts that are judged by their words then
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Order:
    """`ordered`: the outermost query orders. `tree` is None where only the words could be read."""

    sql: str
    dialect: str
    ordered: bool
    tree: exp.Expr | None = None

    def probe(self, width: int) -> str | None:
        """A query returning the `width` columns and the number of the tie; None where no such
        query is known.
        """
        order = self.tree.args.get("order") if self.tree else None
        if not self.ordered or order is None or self.tree is None:
            return None
        terms: list[exp.Ordered] = list(order.expressions)
        outputs = [_output(term, self.tree, width) for term in terms]
        if all(index is not None for index in outputs):
            return self._around(terms, [index for index in outputs if index is not None], width)
        if isinstance(self.tree, exp.Select):
            return self._beside(terms, outputs)
        return None

    def _around(self, terms: list[exp.Ordered], outputs: list[int], width: int) -> str:
        """All keys are output columns: the reference, untouched, inside a table expression with
        numbered columns.
        """
        ranked = [
            _with_key(term, exp.column(f"c{index}"))
            for term, index in zip(terms, outputs, strict=True)
        ]
        by = ", ".join(term.sql(DIALECTS[self.dialect]) for term in ranked)
        names = ", ".join(f"c{i}" for i in range(width))
        return (
            f"WITH rlvr_rows({names}) AS (\n{self.sql}\n)\n"
            f"SELECT {names}, dense_rank() OVER (ORDER BY {by}) AS {_RANK} FROM rlvr_rows"
        )

    def _beside(self, terms: list[exp.Ordered], outputs: list[int | None]) -> str | None:
        """Some key is no output column: the reference with one more column."""
        assert isinstance(self.tree, exp.Select)
        selects = self.tree.selects
        aliases = {item.alias.lower(): item.unalias() for item in selects if item.alias}
        ranked: list[exp.Ordered] = []
        for term, index in zip(terms, outputs, strict=True):
            if index is None:
                key = _key(term).copy()
                key = key.transform(lambda node: _open_alias(node, aliases))
            elif index < len(selects) and not any(item.is_star for item in selects):
                key = selects[index].unalias().copy()
            else:
                return None
            ranked.append(_with_key(term, key))
        window = exp.Window(
            this=exp.Anonymous(this="dense_rank"), order=exp.Order(expressions=ranked)
        )
        tree = self.tree.copy()
        tree.select(exp.alias_(window, _RANK), copy=False)
        return tree.sql(DIALECTS[self.dialect])


def read(sql: str, dialect: str) -> Order:
    """Read a reference that the engine accepts; text that the parser does not know is judged by
    its words.
    """
    try:
        tree = sqlglot.parse_one(sql, read=DIALECTS[dialect])
    except (SqlglotError, RecursionError):
        return Order(sql, dialect, lexer.orders(sql, dialect))
    while isinstance(tree, exp.Subquery) and not tree.args.get("order"):
        tree = tree.this
    if not isinstance(tree, exp.Query | exp.Values):
        return Order(sql, dialect, lexer.orders(sql, dialect))
    return Order(sql, dialect, tree.args.get("order") is not None, tree)


def _key(term: exp.Ordered) -> exp.Expr:
    """The term's expression without its collation."""
    key: exp.Expr = term.this.this if isinstance(term.this, exp.Collate) else term.this
    return key


def _with_key(term: exp.Ordered, key: exp.Expr) -> exp.Ordered:
    """The same term (direction, place of nulls, collation) of another expression."""
    term = term.copy()
    if isinstance(term.this, exp.Collate):
        term.this.set("this", key)
    else:
        term.set("this", key)
    return term


def _output(term: exp.Ordered, tree: exp.Expr, width: int) -> int | None:
    """The position of the output column that this term sorts by, where that is sure."""
    key = _key(term)
    if isinstance(key, exp.Literal) and not key.is_string and key.this.isdigit():
        return int(key.this) - 1 if 0 < int(key.this) <= width else None
    first = tree
    while isinstance(first, exp.SetOperation):
        first = first.this
    if isinstance(first, exp.Subquery):
        first = first.unnest()
    selects = first.selects if isinstance(first, exp.Query) else []
    if len(selects) != width or any(item.is_star for item in selects):
        return None
    plain = isinstance(key, exp.Column) and not key.table
    for named in (
        [item.alias.lower() for item in selects],
        [item.alias_or_name.lower() for item in selects]
        if isinstance(tree, exp.SetOperation)
        else [],
    ):
        if plain and key.name.lower() in named:
            return named.index(key.name.lower())
    return next((i for i, item in enumerate(selects) if item.unalias() == key), None)


def _open_alias(node: exp.Expr, aliases: dict[str, exp.Expr]) -> exp.Expr:
    """A column that is the name of an output column, replaced by what that name stands for."""
    if isinstance(node, exp.Column) and not node.table and node.name.lower() in aliases:
        return exp.paren(aliases[node.name.lower()].copy())
    return node
