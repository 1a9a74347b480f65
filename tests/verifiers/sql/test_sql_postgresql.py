"""The same verifier against a real PostgreSQL server, started here."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import account, binaries, serve
from sql_cases import HERE, table

from rlvr.verifiers.sql import Sql

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
pytestmark = pytest.mark.skipif(
    not (binaries() and account()),
    reason="no PostgreSQL server, or no account to run it",
)

COUNT = "SELECT count(*) FROM singer"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    # not below the tests' own folder: the server's account could not reach it
    with tempfile.TemporaryDirectory(prefix="rlvr-pg-") as folder:
        os.chmod(folder, 0o755)
        with serve(Path(folder)) as address:
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute((HERE / "shop.postgresql.sql").read_text())
            yield address


@pytest.mark.parametrize(("status", "reference", "response"), table("postgresql"))
def test_cases(url: str, status: str, reference: str, response: str) -> None:
    verifier = Sql(timeout=3.0)
    started = time.monotonic()
    verdict = verifier(response, reference, database=url)
    assert verdict.status == status, verdict.detail
    assert time.monotonic() - started < 4.0
    with psycopg.connect(url) as connection:
        assert connection.execute(COUNT).fetchone() == (4,)
        assert connection.execute("SELECT last_value, is_called FROM counter").fetchone() == (
            1,
            False,
        )
    assert verifier(COUNT, COUNT, database=url).correct


def test_no_server_is_broken() -> None:
    verdict = Sql(timeout=3.0)(
        "SELECT 1", "SELECT 1", database="postgresql://nobody:secret@127.0.0.1:1/none"
    )
    assert verdict.status == "broken"
    assert "secret" not in verdict.detail


def test_a_lost_connection_is_made_again(url: str) -> None:
    verifier = Sql(timeout=4.0)
    assert verifier(COUNT, COUNT, database=url).correct
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    verifier("SELECT 2", "SELECT 2", database=url)
    assert verifier("SELECT 3", "SELECT 3", database=url).correct


def test_perturbed_copies_are_refused(url: str) -> None:
    assert Sql(perturb=1)(COUNT, COUNT, database=url).status == "broken"
