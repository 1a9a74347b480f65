"""Standard output: line by line, trailing space ignored, numbers by value."""

from __future__ import annotations

import pytest

from rlvr.verifiers.code.compare import difference

SAME = [
    ("1\n2\n", "1\n2"),
    ("1 \n2\t\n\n", "1\n2\n"),
    ("1\r\n2\r\n", "1\n2\n"),
    ("1.0", "1"),
    ("1e3 x", "1000.00 x"),
    (".5", "0.50"),
    ("+7", "7"),
    ("-0", "0"),
    ("1e999999999", "1e999999999"),
    ("", "\n"),
    ("12345678901234567890123", "12345678901234567890123.0"),
]
OTHER = [
    ("1", "2"),
    ("0.1", "0.10000000000000001"),
    ("1\n\n2", "1\n2"),
    (" 1", "1"),
    ("1 2", "12"),
    ("1_000", "1000"),
    ("0x10", "16"),
    ("nan", "NaN"),
    ("inf", "Infinity"),
    ("\u0661", "1"),
    ("", "1"),
    ("1", ""),
    ("9" * 20000, "9" * 20000 + ".0"),
    ("1e999999999", "2e999999999"),
]


@pytest.mark.parametrize(("output", "expected"), SAME)
def test_same(output: str, expected: str) -> None:
    assert difference(output, expected) == ""


@pytest.mark.parametrize(("output", "expected"), OTHER)
def test_other(output: str, expected: str) -> None:
    assert difference(output, expected)
