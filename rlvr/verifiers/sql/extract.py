"""The query in a response: the last fenced block that holds one, else the whole text when it is
one.

Not covered: a query in the middle of prose without a fence, or in a block of another language.
"""

from __future__ import annotations

import re

from rlvr.verifiers.sql.lexer import READS, WRITES, Token, statements, verb

LONGEST = 100_000  # characters of a query; longer ones are no answer
_TAGS = frozenset({"sql", "sqlite", "sqlite3", "duckdb", "postgresql", "postgres", "psql", "pgsql"})
_PLAIN_TAGS = frozenset({"", "text", "txt", "code", "plaintext", "query"})
_FENCE = re.compile(r"(`{3,}|~{3,})")
_TAG = re.compile(r"[ \t]*(\w*)")


def extract(response: str, dialect: str = "sqlite") -> str | None:
    """The query, without fences and without trailing semicolons; None when there is none.

    >>> extract("<think>SELECT 0</think> Here: ```sql\\nSELECT 1;\\n```")
    'SELECT 1'
    """
    text = response.rsplit("</think>", 1)[-1]
    blocks = _blocks(text)
    tagged = [body for tag, body in blocks if tag in _TAGS and not _empty(body, dialect)]
    if tagged:
        return _trim(tagged[-1], dialect)
    plain = [body for tag, body in blocks if tag in _PLAIN_TAGS and _is_query(body, dialect)]
    if plain:
        return _trim(plain[-1], dialect)
    bare = text.strip()
    if len(bare) > 2 and bare[0] == bare[-1] == "`" and bare.count("`") == 2:
        bare = bare[1:-1]
    return _trim(bare, dialect) if not blocks and _is_query(bare, dialect) else None


def _blocks(text: str) -> list[tuple[str, str]]:
    """(tag in small letters, body) of every fenced block; one that is never closed goes to the end
    of the text.
    """
    found: list[tuple[str, str]] = []
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence.group()[0] == opening.group()[0] and len(fence.group()) >= len(opening.group()):
            found.append(_block(text[opening.end() : fence.start()]))
            opening = None
    if opening is not None:
        found.append(_block(text[opening.end() :]))
    return found


def _block(inside: str) -> tuple[str, str]:
    tag = _TAG.match(inside)
    word = tag.group(1).lower() if tag else ""
    if tag and word in _TAGS | _PLAIN_TAGS:
        return word, inside[tag.end() :]
    first_line, newline, rest = inside.partition("\n")
    if newline and " " not in first_line.strip() and word.upper() not in READS | WRITES:
        return word, rest  # a block of some other language
    return "", inside


def _is_query(text: str, dialect: str) -> bool:
    """Whether the text begins as a statement does, so that prose that begins with 'With' does not
    count.
    """
    parts = statements(text[: LONGEST + 1], dialect)
    if not parts:
        return False
    first = verb(parts[0])
    if first == "WITH":
        words = [token.upper for token in parts[0][:60]]
        return "AS" in words and "(" in words
    if first in READS or first == "EXPLAIN":
        return True
    if first == "FROM":  # DuckDB's short form
        return dialect == "duckdb"
    return first in WRITES and _is_write(parts[0])


_WRITE_FOLLOWERS = {
    "INSERT": {"INTO", "OR"},
    "DELETE": {"FROM"},
    "REPLACE": {"INTO"},
    "CREATE": {
        *("TABLE", "TEMP", "TEMPORARY", "VIEW", "INDEX", "UNIQUE", "TRIGGER", "VIRTUAL", "OR"),
        *("UNLOGGED", "MATERIALIZED", "FUNCTION", "PROCEDURE", "MACRO", "SEQUENCE", "SCHEMA"),
        *("TYPE", "ROLE", "USER", "DATABASE", "EXTENSION"),
    },
    "DROP": {"TABLE", "VIEW", "INDEX", "TRIGGER", "SCHEMA", "DATABASE"},
    "ALTER": {"TABLE", "VIEW", "INDEX", "ROLE", "USER", "DATABASE", "SYSTEM"},
}


_PROSE_WORDS = "a an by in it me of that the these this to up with your"
_PROSE = frozenset(_PROSE_WORDS.split())


def _is_write(statement: list[Token]) -> bool:
    """Whether it looks like a statement: a sentence may begin with "Use the table"."""
    first = statement[0].upper
    if len(statement) == 1:
        return True
    second = statement[1]
    if first in _WRITE_FOLLOWERS:
        return second.upper in _WRITE_FOLLOWERS[first]
    if first == "COPY" and second.text == "(":
        return True
    return second.kind in ("word", "text", "escaped", "name") and second.text.lower() not in _PROSE


def _empty(text: str, dialect: str) -> bool:
    return not statements(text[: LONGEST + 1], dialect)


def _trim(text: str, dialect: str) -> str:
    parts = statements(text[: LONGEST + 1], dialect)
    if len(parts) != 1 or len(text) > LONGEST:
        return text.strip()
    return text[parts[0][0].start : parts[0][-1].end]
