"""SQL cut into words and marks, in linear time, never failing: what is a comment, a string, a
statement.

Not covered: nested block comments (PostgreSQL) and triggers' inner statements. Both make a text
look like more than one statement, which is refused anyway. The engines themselves are asked before
anything is called allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHARED = r"""
  (?P<space>\s+)
| (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
| (?P<word>[^\W\d][\w$]*)
| (?P<number>\d[\w.]*)
"""
_TEXT = r"| (?P<text>'(?:[^']|'')*(?:'|\Z))"
_MARK = r"| (?P<mark>.)"
_NAME = r'| (?P<name>"(?:[^"]|"")*(?:"|\Z))'
_SQLITE_NAME = r'| (?P<name>"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))'
# E'..' and $tag$..$tag$ come before words, which would swallow the letter or the tag
_DOLLAR = r"(?P<escaped>[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)) |"

_SQLITE = re.compile(_SHARED + _TEXT + _SQLITE_NAME + _MARK, re.S | re.X)
_POSTGRES = re.compile(_DOLLAR + _SHARED + _TEXT + _NAME + _MARK, re.S | re.X)

READS = frozenset({"SELECT", "WITH", "VALUES"})
# what no query of a response may begin with, in any of the three dialects
_WRITES = """
ABORT ALTER ANALYZE ATTACH BEGIN CALL CHECKPOINT CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE
DECLARE DELETE DETACH DISCARD DO DROP END EXECUTE EXPORT GRANT IMPORT INSERT INSTALL LISTEN LOAD
LOCK MERGE NOTIFY PRAGMA PREPARE REASSIGN REFRESH REINDEX RELEASE REPLACE RESET REVOKE ROLLBACK
SAVEPOINT SECURITY SET START TRUNCATE UNLISTEN UPDATE USE VACUUM
"""
WRITES = frozenset(_WRITES.split())
# inside a statement: a write wherever it stands, unless it is a function's name
_INNER_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "DROP", "MERGE", "TRUNCATE", "ALTER"})


@dataclass(frozen=True, slots=True)
class Token:
    """One word or mark, and where it stands in the text."""

    kind: str  # word, number, text, escaped, name, mark
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        return self.text.upper() if self.kind == "word" else self.text


def tokens(sql: str, dialect: str = "sqlite") -> list[Token]:
    """All tokens but spaces and comments."""
    pattern = _SQLITE if dialect == "sqlite" else _POSTGRES
    return [
        Token(str(found.lastgroup), found.group(), found.start(), found.end())
        for found in pattern.finditer(sql)
        if found.lastgroup not in ("space", "comment")
    ]


def statements(sql: str, dialect: str = "sqlite") -> list[list[Token]]:
    """The statements between semicolons, empty ones left out."""
    parts: list[list[Token]] = [[]]
    for token in tokens(sql, dialect):
        if token.kind == "mark" and token.text == ";":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def verb(statement: list[Token]) -> str:
    """The first word of a statement in capitals, opening parentheses skipped; empty when there is
    none.
    """
    for token in statement:
        if token.kind == "word":
            return token.upper
        if token.text != "(":
            return ""
    return ""


def writes(statement: list[Token]) -> bool:
    """Whether the statement says in plain words that it changes something."""
    if verb(statement) in WRITES:
        return True
    if verb(statement) in READS and any(  # SELECT ... INTO makes a table
        token.kind == "word" and token.upper == "INTO" for token in statement
    ):
        return True
    following = [*statement[1:], None]
    return verb(statement) == "WITH" and any(
        token.upper in _INNER_WRITES
        and token.kind == "word"
        and (after is None or after.text != "(")
        and (before is None or before.text in ("(", ")"))
        for before, token, after in zip([None, *statement], statement, following, strict=False)
    )


def orders(sql: str, dialect: str = "sqlite") -> bool:
    """Whether ORDER BY stands outside all parentheses: the answer for text that no parser reads."""
    depth = 0
    last = ""
    for token in tokens(sql, dialect):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and last == "ORDER" and token.upper == "BY":
            return True
        last = token.upper
    return False
