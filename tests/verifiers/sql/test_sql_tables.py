"""The text tables in cases/."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sql_cases import table

from rlvr.verifiers.sql import Sql
from rlvr.verifiers.sql.extract import extract

QUICK = Sql(timeout=1.5)


@pytest.mark.parametrize(("reference", "response"), table("equal"))
def test_equal(shops: list[str], reference: str, response: str) -> None:
    verdict = Sql()(response, reference, database=shops)
    assert (verdict.status, verdict.reward) == ("correct", 1.0), verdict.detail


@pytest.mark.parametrize(("reference", "response"), table("different"))
def test_different(shops: list[str], reference: str, response: str) -> None:
    verdict = Sql()(response, reference, database=shops)
    assert (verdict.status, verdict.reward) == ("wrong", 0.0)
    assert verdict.detail


@pytest.mark.parametrize(("status", "reference", "response"), table("hostile"))
def test_hostile(shops: list[str], status: str, reference: str, response: str) -> None:
    before = [_fingerprint(path) for path in shops]
    verdict = QUICK(response, reference, database=shops)
    assert verdict.status == status.strip(), verdict.detail
    assert verdict.seconds < QUICK.timeout + 1.0
    assert [_fingerprint(path) for path in shops] == before


@pytest.mark.parametrize(("expected", "response"), table("extract"))
def test_extract(expected: str, response: str) -> None:
    assert extract(response) == (None if expected.strip() == "-" else expected)


def _fingerprint(path: str) -> tuple[str, int, list[str]]:
    """Content, time of change and the files beside it."""
    beside = sorted(entry.name for entry in Path(path).parent.iterdir())
    return (
        hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        Path(path).stat().st_mtime_ns,
        beside,
    )
