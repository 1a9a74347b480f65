"""Comparing results, without any database."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr.verifiers.sql.permute import agrees_in_some_order
from rlvr.verifiers.sql.rows import Table, same_cell, same_multiset
from rlvr.verifiers.sql.wire import HEADER, pack, rows, unpack

CELLS = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, 1e300]),
    st.sampled_from(["", "a"]),
    st.binary(max_size=1),
)
TABLES = st.lists(st.tuples(CELLS, CELLS), max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, 1 + 5e-10, True),
        (1, 1 + 5e-9, False),
        (0, 1e-300, False),
        (0.0, -0.0, True),
        (2**53, 2**53 + 1, False),
        (2**53 + 1, float(2**53), False),
        (2**53, float(2**53), True),
        (2**60, float(2**60), True),
        (10**10, 10**10 + 1, False),
        (10**10, 1e10 + 1, True),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (True, 1, False),
        (False, None, False),
        (None, None, True),
        (None, 0, False),
        ("1", 1, False),
        ("1", b"1", False),
        (b"", "", False),
        (b"", None, False),
        ("é", "e\u0301", False),
        (Decimal("0.1"), 0.1, True),
        (Decimal("0.1"), Decimal("0.2"), False),
        (Decimal("3"), 3, True),
        (("date", "2020-01-01"), "2020-01-01", False),
        (("date", "2020-01-01"), ("date", "2020-01-01"), True),
        (10**400, 1.0, False),
    ],
)
def test_cells(one: object, other: object, same: bool) -> None:
    assert same_cell(one, other) is same
    assert same_cell(other, one) is same
    assert same_multiset([(one,), ("x",)], [("x",), (other,)]) is same


@given(TABLES, st.randoms(use_true_random=False))
def test_shuffled_rows_are_the_same_multiset(table: list, rng: random.Random) -> None:
    shuffled = table[:]
    rng.shuffle(shuffled)
    assert same_multiset(table, shuffled)
    assert Table(2, table).agrees(shuffled)
    swapped = [(b, a) for a, b in shuffled]
    assert agrees_in_some_order(Table(2, table), swapped)


@given(TABLES, TABLES)
def test_multisets_against_pairing_by_hand(one: list, other: list) -> None:
    left = other[:]
    for row in one:
        match = next((x for x in left if all(map(same_cell, row, x))), None)
        if match is None:
            break
        left.remove(match)
    else:
        assert same_multiset(one, other) is (not left)
        return
    assert not same_multiset(one, other)


def test_rounding_in_two_columns_at_once() -> None:
    rng = random.Random(5)
    one = [(rng.random(), rng.random(), i % 3) for i in range(2_000)]
    other = [(a * (1 + 1e-12), b * (1 - 1e-12), c) for a, b, c in one]
    rng.shuffle(other)
    assert same_multiset(one, other)
    other[7] = (other[7][0] * 1.001, *other[7][1:])
    assert not same_multiset(one, other)


def test_near_values_need_a_pairing() -> None:
    # 1 is near both, 1 + 1.5e-9 only near 1 + 0.8e-9
    one = [(1.0,), (1 + 1.5e-9,)]
    other = [(1 + 0.8e-9,), (1 - 0.5e-9,)]
    assert same_multiset(one, other)
    assert not same_multiset([(1.0,), (1 + 3e-9,)], other)


def test_ties_come_in_any_order_but_stay_in_their_place() -> None:
    table = Table(1, [("a",), ("b",), ("c",), ("d",)], blocks=(1, 3, 4))
    assert table.agrees([("a",), ("c",), ("b",), ("d",)])
    assert not table.agrees([("b",), ("a",), ("c",), ("d",)])
    assert not table.agrees([("a",), ("b",), ("d",), ("c",)])
    assert not table.agrees([("a",), ("b",), ("c",)])


def test_column_permutation_is_one_for_all_rows() -> None:
    table = Table(2, [(1, 2), (3, 4)])
    assert agrees_in_some_order(table, [(4, 3), (2, 1)])
    assert not agrees_in_some_order(table, [(1, 2), (4, 3)])
    ordered = Table(2, [(1, 2), (3, 4)], blocks=(1, 2))
    assert agrees_in_some_order(ordered, [(2, 1), (4, 3)])
    assert not agrees_in_some_order(ordered, [(4, 3), (2, 1)])


def test_many_alike_columns_end() -> None:
    width = 30
    table = Table(width, [tuple(range(width))] * 3)
    assert agrees_in_some_order(table, [tuple(reversed(range(width)))] * 3)
    alike = Table(width, [(1,) * width, (2,) * width])
    assert agrees_in_some_order(alike, [(2,) * width, (1,) * width])
    rng = random.Random(1)
    mixed = [tuple(rng.sample([0, 1] * 15, width)) for _ in range(2)]
    agrees_in_some_order(Table(width, mixed), [tuple(reversed(row)) for row in mixed])


@given(
    st.lists(
        st.tuples(CELLS, st.text(max_size=3), st.integers(), st.floats(allow_nan=False)), max_size=5
    )
)
def test_rows_survive_the_wire(table: list) -> None:
    packed = pack({"rows": table})
    assert int.from_bytes(packed[:HEADER], "big") == len(packed) - HEADER
    assert rows(unpack(packed[HEADER:])["rows"]) == table
