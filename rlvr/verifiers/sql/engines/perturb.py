"""A copy of a database with other content and the same rules, so that a query with the answer
written into it fails.

Rows go away, values of a column change places, some take the value of another row or a number in
between, and the constants that the references compare with stand in some rows, their neighbours in
others. Kept: declared constraints (keys, NOT NULL, CHECK, foreign keys), and what the data
suggests: a column without nulls or repeats stays so, and a column whose values all stand in
another table's key is treated as a reference to it.

Not covered: dependencies between columns that no constraint states (a country and its code part
ways), virtual tables, rowids. The same seed gives the same copy everywhere.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DROPPED = 0.2  # share of rows removed from each table
CHANGED = 0.3  # share of a column's values replaced
KEEP_AT_LEAST = 3  # rows; smaller tables lose none
PLANTED = 2  # rows that hold a constant, at least
_Value = None | int | float | str | bytes
_Plant = Sequence[tuple[str, int | float | str]]


@dataclass
class Column:
    name: str
    nullable: bool
    key: bool = (
        False  # part of a primary key, a unique index or a reference: values stay with their rows
    )
    distinct: bool = False  # no value stands twice


@dataclass
class TableData:
    """A table in memory: `rows[i][j]` belongs to `columns[j]`; generated columns are left out."""

    name: str
    columns: list[Column]
    rows: list[list[_Value]]
    unique: list[tuple[str, ...]] = field(default_factory=list)

    def index(self, name: str) -> int:
        return [column.name.lower() for column in self.columns].index(name.lower())

    def pick(self, names: tuple[str, ...]) -> list[tuple[_Value, ...]]:
        """These columns of all rows."""
        places = [self.index(name) for name in names]
        return [tuple(row[j] for j in places) for row in self.rows]

    def values(self, name: str) -> list[_Value]:
        j = self.index(name)
        return [row[j] for row in self.rows]


@dataclass(frozen=True)
class Reference:
    """Columns of `child` hold values of columns of `parent`."""

    child: str
    child_columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


def perturb(connection: sqlite3.Connection, seed: int, plant: _Plant = ()) -> None:
    """Change a private, writable copy in place. Raises sqlite3.Error when it cannot be
    rewritten.

    `plant`: (column in small letters, value) that rows of every table with such a column shall hold.
    """
    rng = random.Random(seed)
    connection.execute("PRAGMA foreign_keys=OFF")
    for (trigger,) in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {_quote(trigger)}")
    tables = {table.name.lower(): table for table in _tables(connection)}
    references = _declared(connection, tables) + _suggested(tables)
    _mark_keys(tables, references)
    originals = {name: [list(row) for row in table.rows] for name, table in tables.items()}
    _drop_rows(tables, references, plant, rng)
    for name, table in tables.items():
        kept = [list(row) for row in table.rows]
        _change_values(table, originals[name], rng)
        changed = [list(row) for row in table.rows]
        _plant_values(table, plant, rng)
        _write_first(connection, table, (table.rows, changed, kept))


def _tables(connection: sqlite3.Connection) -> list[TableData]:
    names = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
        "AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name"
    ).fetchall()
    return [_table(connection, name) for (name,) in names]


def _table(connection: sqlite3.Connection, name: str) -> TableData:
    info = connection.execute(f"PRAGMA table_xinfo({_quote(name)})").fetchall()
    stored = [
        row for row in info if row[6] == 0
    ]  # hidden is 0: neither generated nor of a virtual table
    columns = [
        Column(row[1], nullable=not row[3] and not row[5], key=bool(row[5])) for row in stored
    ]
    listed = ", ".join(_quote(column.name) for column in columns)
    found = connection.execute(f"SELECT {listed} FROM {_quote(name)}").fetchall()
    table = TableData(name, columns, [list(row) for row in found])
    primary = tuple(row[1] for row in sorted(stored, key=lambda row: row[5]) if row[5])
    if primary:
        table.unique.append(primary)
    for _, index, unique, *_ in connection.execute(f"PRAGMA index_list({_quote(name)})").fetchall():
        parts = [
            row[2] for row in connection.execute(f"PRAGMA index_info({_quote(index)})").fetchall()
        ]
        if unique and all(parts):
            table.unique.append(tuple(parts))
        elif unique:  # an expression: nothing in this table may change places
            for column in columns:
                column.key = True
    for column in columns:
        filled = [value for value in table.values(column.name) if value is not None]
        column.distinct = len(set(filled)) == len(filled)
        column.nullable &= len(filled) < len(table.rows)
    return table


def _declared(connection: sqlite3.Connection, tables: dict[str, TableData]) -> list[Reference]:
    found: list[Reference] = []
    for table in tables.values():
        groups: dict[int, list[tuple[str, str, str | None]]] = {}
        for row in connection.execute(f"PRAGMA foreign_key_list({_quote(table.name)})").fetchall():
            groups.setdefault(row[0], []).append((row[2], row[3], row[4]))
        for parts in groups.values():
            parent = tables.get(parts[0][0].lower())
            if parent is None:
                continue
            targets = tuple(part[2] or "" for part in parts)
            if not all(targets):
                targets = parent.unique[0] if parent.unique else ()
            known = {column.name.lower() for column in parent.columns}
            if len(targets) == len(parts) and all(target.lower() in known for target in targets):
                child_columns = tuple(part[1] for part in parts)
                found.append(Reference(table.name, child_columns, parent.name, targets))
    return found


def _suggested(tables: dict[str, TableData]) -> list[Reference]:
    """A column named like the single key column of another table, all of whose values stand
    there.
    """
    keys = {
        (table.name, unique[0]): set(table.values(unique[0]))
        for table in tables.values()
        for unique in table.unique
        if len(unique) == 1
    }
    found: list[Reference] = []
    for table in tables.values():
        for column in table.columns:
            values = {value for value in table.values(column.name) if value is not None}
            for (parent, key), held in keys.items():
                alike = column.name.lower() in (key.lower(), f"{parent}_{key}".lower())
                if parent != table.name and alike and values and values <= held:
                    found.append(Reference(table.name, (column.name,), parent, (key,)))
    return found


def _mark_keys(tables: dict[str, TableData], references: list[Reference]) -> None:
    for table in tables.values():
        for names in table.unique:
            for name in names:
                table.columns[table.index(name)].key = True
    for reference in references:
        for name, columns in (
            (reference.child, reference.child_columns),
            (reference.parent, reference.parent_columns),
        ):
            table = tables[name.lower()]
            for column in columns:
                table.columns[table.index(column)].key = True


def _drop_rows(
    tables: dict[str, TableData], references: list[Reference], plant: _Plant, rng: random.Random
) -> None:
    """Remove rows, and then those left without the row they refer to (if they had one before).

    A key that a reference names stays: it cannot be planted later.
    """
    dangling = {reference: _orphans(tables, reference) for reference in references}
    for table in tables.values():
        if len(table.rows) > KEEP_AT_LEAST:
            drawn = rng.sample(range(len(table.rows)), max(1, int(DROPPED * len(table.rows))))
            removed = set(drawn) - _named_rows(table, plant)
            table.rows = [row for i, row in enumerate(table.rows) if i not in removed]
    changed = True
    while changed:
        changed = False
        for reference in references:
            bad = _orphans(tables, reference) - dangling[reference]
            if bad:
                child = tables[reference.child.lower()]
                keys = child.pick(reference.child_columns)
                kept = zip(child.rows, keys, strict=True)
                child.rows = [row for row, key in kept if key not in bad]
                changed = True


def _named_rows(table: TableData, plant: _Plant) -> set[int]:
    """Rows whose key is one of the constants."""
    wanted = set(plant)
    keys = [j for j, column in enumerate(table.columns) if column.key]
    return {
        i
        for i, row in enumerate(table.rows)
        if any((table.columns[j].name.lower(), row[j]) in wanted for j in keys)
    }


def _orphans(tables: dict[str, TableData], reference: Reference) -> set[tuple[_Value, ...]]:
    child, parent = tables[reference.child.lower()], tables[reference.parent.lower()]
    given, held = child.pick(reference.child_columns), parent.pick(reference.parent_columns)
    return {values for values in set(given) - set(held) if None not in values}


def _change_values(table: TableData, before: list[list[_Value]], rng: random.Random) -> None:
    for j, column in enumerate(table.columns):
        if column.key or len(table.rows) < 2:
            continue
        pool = [row[j] for row in before]
        values = [row[j] for row in table.rows]
        if rng.random() < 0.5:
            rng.shuffle(values)
        if not column.distinct:
            values = [_other(value, pool, rng) for value in values]
        for row, value in zip(table.rows, values, strict=True):
            row[j] = value


def _other(value: _Value, pool: list[_Value], rng: random.Random) -> _Value:
    """Sometimes a value from another row, or a whole number between two of the column's."""
    if rng.random() >= CHANGED:
        return value
    chosen = rng.choice(pool)
    if type(value) is int and type(chosen) is int:
        return rng.randint(min(value, chosen), max(value, chosen))
    return chosen


def _plant_values(table: TableData, plant: _Plant, rng: random.Random) -> None:
    """One row meets all constants of its columns at once, others hold one each, or its neighbours."""
    if len(table.rows) < KEEP_AT_LEAST:
        return
    together = rng.randrange(len(table.rows))
    for j, column in enumerate(table.columns):
        if column.key:
            continue
        values = [row[j] for row in table.rows]
        numbers = all(type(value) is not str for value in values)
        wanted = [
            value
            for name, value in plant
            if name == column.name.lower() and isinstance(value, str) != numbers
        ]
        for place, value in enumerate(wanted):
            if place == 0 and not (column.distinct and value in values):
                table.rows[together][j] = value
            for new in (*[value] * PLANTED, *_beside(value)):
                taken = column.distinct and any(row[j] == new for row in table.rows)
                row = rng.choice(table.rows)
                if not taken and row is not table.rows[together]:
                    row[j] = new


def _beside(value: int | float | str) -> Iterable[int | float | str]:
    """Values that a comparison with the next operator or the next number tells apart."""
    return () if isinstance(value, str) else (value - 1, value + 1)


def _write_first(
    connection: sqlite3.Connection, table: TableData, choices: Sequence[list[list[_Value]]]
) -> None:
    """The first of these contents that the table's constraints allow; CHECKs may span columns."""
    for rows in choices[:-1]:
        table.rows = rows
        try:
            _write(connection, table)
        except sqlite3.IntegrityError:
            continue
        return
    table.rows = choices[-1]
    _write(connection, table)


def _write(connection: sqlite3.Connection, table: TableData) -> None:
    listed = ", ".join(_quote(column.name) for column in table.columns)
    marks = ", ".join("?" * len(table.columns))
    connection.execute("BEGIN")
    try:
        connection.execute(f"DELETE FROM {_quote(table.name)}")
        connection.executemany(
            f"INSERT INTO {_quote(table.name)} ({listed}) VALUES ({marks})", table.rows
        )
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
