"""Words and statements of any text whatever."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.verifiers.sql import lexer
from rlvr.verifiers.sql.extract import extract
from rlvr.verifiers.sql.order import read

_MARKS = r"""SELECT| 1|'|"|`|[|]|--|/*|*/|;|```|sql|~~~|(|)|$$|$a$|E'|\|</think>| ORDER BY """
PIECES = st.lists(
    st.sampled_from([*_MARKS.split("|"), "\n", "\0", "\ud800", " ", "DROP TABLE t"]), max_size=40
).map("".join)


@settings(max_examples=300)
@given(st.one_of(PIECES, st.text(max_size=60)), st.sampled_from(["sqlite", "postgresql"]))
def test_any_text_is_read(text: str, dialect: str) -> None:
    found = lexer.tokens(text, dialect)
    assert all(text[token.start : token.end] == token.text for token in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    query = extract(text, dialect)
    assert query is None or query in text
    assert query is None or lexer.statements(query, dialect)


@settings(max_examples=100, deadline=None)
@given(PIECES)
def test_any_reference_is_read(text: str) -> None:
    assert isinstance(read(text, "sqlite").ordered, bool)


@pytest.mark.parametrize(
    "piece",
    ["'", '"', "(", "--", "/*", "```", "`", "[", "$a$", "''", "x ", ";", "</think>", "```sql\n"],
)
def test_time_grows_with_length_only(piece: str) -> None:
    text = "SELECT " + piece * (400_000 // len(piece))
    started = time.process_time()
    lexer.tokens(text, "sqlite")
    lexer.tokens(text, "postgresql")
    extract(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("SELECT 1", 1),
        ("SELECT 1;;", 1),
        ("SELECT ';'", 1),
        ('SELECT ";"', 1),
        ("SELECT 1 -- ;", 1),
        ("SELECT 1 /* ; */", 1),
        ("SELECT [;] FROM t", 1),
        ("SELECT `;` FROM t", 1),
        ("SELECT 'it''s;'", 1),
        ("SELECT 1; SELECT 2", 2),
        ("", 0),
        ("-- x", 0),
    ],
)
def test_statements(sql: str, count: int) -> None:
    assert len(lexer.statements(sql)) == count


def test_postgresql_strings() -> None:
    assert len(lexer.statements("SELECT $$;$$, $t$ ; $$ ; $t$, E'\\';'", "postgresql")) == 1
    assert len(lexer.statements("SELECT a[1]; SELECT b[1]", "postgresql")) == 2


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("WITH q AS (SELECT a FROM t ORDER BY a) SELECT a FROM q", False),
        ("SELECT a FROM t WHERE b = 'ORDER BY a'", False),
        ("SELECT a FROM t -- ORDER BY a", False),
        ('SELECT "ORDER BY a" FROM t', False),
        ("SELECT a FROM t UNION SELECT a FROM u ORDER BY a", True),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT group_concat(a ORDER BY a) FROM t", False),
        ("SELECT a FROM t ORDER\n/* x */ BY a LIMIT 3", True),
        ("SELECT a FROM t WHERE a IN (SELECT b FROM u ORDER BY b LIMIT 1)", False),
        ("VALUES (2), (1) ORDER BY 1", True),
    ],
)
def test_outermost_order(sql: str, ordered: bool) -> None:
    assert lexer.orders(sql) is ordered
    assert read(sql, "sqlite").ordered is ordered
