"""What `database` names: SQLite files by path, DuckDB files by path or `duckdb:///path`,
`postgresql://` servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

_POSTGRES = ("postgresql", "postgres")
_DUCK_MARK = (8, b"DUCK")  # offset and magic of a DuckDB file


class NoDatabase(Exception):
    """There is no such database, or no such kind; the text says which."""


@dataclass(frozen=True)
class Database:
    """Where to run a query: `scheme` picks the engine, `target` is its path or URL."""

    scheme: str
    target: str

    @property
    def name(self) -> str:
        """Short, without a password."""
        return (
            Path(urlsplit(self.target).path).name
            if self.scheme == "postgresql"
            else Path(self.target).name
        )


def find(named: object) -> list[Database]:
    """The databases of a case. Raises NoDatabase."""
    if isinstance(named, str | Path):
        named = [named]
    if not isinstance(named, Sequence) or not named:
        raise NoDatabase(
            "no database is named" if not named else "database is neither a path nor a list"
        )
    found = [_one(entry) for entry in named]
    if len({database.scheme for database in found}) > 1:
        raise NoDatabase("databases of different kinds in one case")
    return found


def _one(entry: object) -> Database:
    if not isinstance(entry, str | Path) or not str(entry).strip():
        raise NoDatabase(f"database {entry!r} is not a path")
    text = str(entry)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _file(Path(text).expanduser(), text)
    if scheme in _POSTGRES:
        return Database("postgresql", text)
    if scheme in ("sqlite", "duckdb", "file"):
        path = Path(unquote(rest.partition("?")[0].replace("//", "/", 1)))
        relative = Path(str(path).lstrip("/"))
        path = path if path.exists() or not relative.exists() else relative
        return _file(path, text, scheme)
    raise NoDatabase(f"no kind of database called '{scheme}', known: sqlite, duckdb, postgresql")


def _file(path: Path, text: str, scheme: str = "") -> Database:
    try:
        if not path.is_file():
            raise NoDatabase(f"no database {text}")
        if scheme not in ("sqlite", "duckdb"):
            offset, mark = _DUCK_MARK
            with path.open("rb") as file:
                scheme = "duckdb" if file.read(offset + len(mark))[offset:] == mark else "sqlite"
    except (OSError, ValueError) as error:
        raise NoDatabase(f"no database {text}: {error}") from error
    return Database(scheme, str(path.absolute()))
