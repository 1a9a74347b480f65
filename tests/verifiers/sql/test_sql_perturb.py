"""Perturbed copies: their rules are kept, they are the same everywhere, they find written-down answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sql_cases import build, table

from rlvr.verifiers.sql import Sql
from rlvr.verifiers.sql.engines.perturb import perturb

Connect = Callable[[], sqlite3.Connection]
RULES = """
CREATE TABLE city (code TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, people INTEGER CHECK (people > 0));
CREATE TABLE road (a TEXT REFERENCES city, b TEXT REFERENCES city (code), km REAL NOT NULL CHECK (km < 900),
  opened INTEGER, closed INTEGER, CHECK (closed IS NULL OR closed >= opened), PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE visit (id INTEGER PRIMARY KEY, code TEXT, stars INTEGER, double AS (stars * 2), note TEXT);
CREATE UNIQUE INDEX once ON visit (note) WHERE note IS NOT NULL;
CREATE TRIGGER shout AFTER INSERT ON visit BEGIN SELECT RAISE(ABORT, 'trigger'); END;
CREATE VIRTUAL TABLE words USING fts5(body);
"""


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens databases in memory; closed when the test ends."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            closing(sqlite3.connect(":memory:", isolation_level=None))
        )


def fill(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.executescript(RULES.replace("CREATE TRIGGER", "-- CREATE TRIGGER"))
    for i in range(20):
        connection.execute("INSERT INTO city VALUES (?, ?, ?)", (f"c{i}", f"City {i}", 10 * i + 5))
    for i in range(60):
        opened = 1900 + i
        closed = None if i % 3 else opened + i % 7
        road = (f"c{i % 20}", f"c{(i * 7 + i // 20) % 20}", i * 1.5, opened, closed)
        connection.execute("INSERT INTO road VALUES (?, ?, ?, ?, ?)", road)
        connection.execute(
            "INSERT INTO visit (code, stars, note) VALUES (?, ?, ?)",
            (f"c{i % 20}", i % 5, f"n{i}" if i % 2 else None),
        )
    connection.execute("INSERT INTO words VALUES ('red apple')")
    connection.execute(
        "CREATE TRIGGER shout AFTER INSERT ON visit BEGIN SELECT RAISE(ABORT, 'trigger'); END"
    )
    return connection


def dump(connection: sqlite3.Connection) -> list[str]:
    return [line for line in connection.iterdump() if line.startswith("INSERT")]


@pytest.mark.parametrize("seed", range(12))
def test_rules_are_kept(seed: int, connect: Connect) -> None:
    connection = fill(connect())
    before = dump(connection)
    perturb(connection, seed)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    after = dump(connection)
    assert len(after) < len(before)
    assert set(after) - set(before)
    assert connection.execute("SELECT count(*) FROM city").fetchone() == (16,)
    assert connection.execute(
        "SELECT count(*) FROM words WHERE words MATCH 'apple'"
    ).fetchone() == (1,)
    # what the data suggests: visit.code stands in city, note does not repeat, stars has no nulls
    assert connection.execute(
        "SELECT count(*) FROM visit WHERE code NOT IN (SELECT code FROM city)"
    ).fetchone() == (0,)
    assert connection.execute(
        "SELECT count(*) FROM visit WHERE stars IS NULL OR double <> stars * 2"
    ).fetchone() == (0,)
    assert connection.execute(
        "SELECT count(note) - count(DISTINCT note) FROM visit"
    ).fetchone() == (0,)


def test_the_same_seed_gives_the_same_copy(connect: Connect) -> None:
    copies = [fill(connect()) for _ in range(3)]
    for connection, seed in zip(copies, (1, 1, 2), strict=True):
        perturb(connection, seed)
    assert dump(copies[0]) == dump(copies[1])
    assert dump(copies[0]) != dump(copies[2])


def test_odd_tables_do_not_stop_it(connect: Connect) -> None:
    connection = connect()
    connection.executescript(
        'CREATE TABLE "a ""b" ("x y", "select");'
        "CREATE TABLE empty (a);"
        "CREATE TABLE self (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES self);"
        "CREATE TABLE lost (id INTEGER PRIMARY KEY, gone INTEGER REFERENCES nowhere (id));"
        "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, a);"
        "INSERT INTO self VALUES (1, NULL), (2, 1), (3, 1), (4, 2), (5, 9);"
        "INSERT INTO counted (a) VALUES (1), (x'00'), ('t'), (NULL), (2.5);"
        'INSERT INTO "a ""b" VALUES (1, 2), (3, 4), (5, 6), (7, 8);'
    )
    for seed in range(5):
        perturb(connection, seed)
    assert connection.execute('SELECT count(*) FROM "a ""b"').fetchone()[0] == 3


def test_a_written_down_answer_fails(shops: list[str]) -> None:
    reference = "SELECT name FROM singer WHERE age > 30"
    written = "VALUES ('Bob'), ('Eva'), ('Bob')"
    assert Sql()(written, reference, database=shops[0]).correct
    verdict = Sql(perturb=2)(written, reference, database=shops[0])
    assert verdict.status == "wrong"
    assert "perturbed" in verdict.detail
    assert Sql(perturb=2)(reference, reference, database=shops[0]).correct


@pytest.mark.parametrize(
    ("reference", "response"),
    [
        ("SELECT id FROM singer WHERE age > 60", "SELECT id FROM singer WHERE age >= 60"),
        ("SELECT id FROM singer WHERE age >= 53", "SELECT id FROM singer WHERE age > 53"),
        ("SELECT id FROM singer WHERE age >= 53", "SELECT id FROM singer WHERE age >= 54"),
        ("SELECT id FROM singer WHERE country = 'JP'", "SELECT id FROM singer WHERE id > 99"),
        ('SELECT id FROM singer WHERE country = "JP"', "SELECT id FROM singer WHERE 1 = 0"),
        (
            "SELECT id FROM singer WHERE country IN ('US', 'JP')",
            "SELECT id FROM singer WHERE country = 'US'",
        ),
        (
            "SELECT id FROM singer WHERE name LIKE '%zz%'",
            "SELECT id FROM singer WHERE name LIKE 'zzz%'",
        ),
        (
            "SELECT id FROM singer WHERE age BETWEEN 70 AND 80",
            "SELECT id FROM singer WHERE age > 70 AND age < 80",
        ),
        (
            "SELECT id FROM singer WHERE country = 'JP' AND age = 77",
            "SELECT id FROM singer WHERE 0",
        ),
        ("SELECT count(*) FROM concert WHERE tickets < 0 OR price = 99.5", "SELECT 0"),
    ],
)
def test_the_constants_of_the_reference_stand_in_the_copies(
    shops: list[str], reference: str, response: str
) -> None:
    assert Sql()(response, reference, database=shops[0]).correct
    assert Sql(perturb=2)(response, reference, database=shops[0]).status == "wrong"
    assert Sql(perturb=2)(reference, reference, database=shops[0]).correct


def test_constants_are_planted_within_the_rules(connect: Connect) -> None:
    plant = [("name", "City 1"), ("km", 950.0), ("stars", 77), ("opened", 1800), ("code", "c3")]
    for seed in range(6):
        connection = fill(connect())
        perturb(connection, seed, plant)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT 1 FROM visit WHERE stars = 77").fetchone() == (1,)
        assert connection.execute("SELECT 1 FROM city WHERE code = 'c3'").fetchone() == (1,)


@pytest.mark.parametrize(("reference", "response"), table("equal"))
def test_equal_queries_stay_equal(shops: list[str], reference: str, response: str) -> None:
    if "LIMIT" in reference + response or "31" in response:
        pytest.skip("equal only while nothing ties")
    verdict = Sql(perturb=3)(response, reference, database=shops)
    assert verdict.correct, verdict.detail


def test_where_no_copy_tells_the_verdict_says_so(shops: list[str]) -> None:
    verdict = Sql(perturb=2)("SELECT 1", "SELECT 1", database=shops[0])
    assert verdict.correct
    assert "no perturbed copy" in verdict.detail


def test_the_file_itself_is_left_alone(tmp_path: Path) -> None:
    path = build(tmp_path / "shop.sqlite", "shop_a.sql")
    before = path.read_bytes()
    query = "SELECT count(*) FROM singer"
    assert Sql(perturb=3)(query, query, database=str(path)).correct
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["shop.sqlite"]
