"""Plain data: what goes in comes out, and whatever comes in does no harm."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.verifiers.code import plain


def _none(*_: object) -> dict[str, object]:
    raise plain.NotPlain("special")


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions(max_denominator=1000)
    | st.dates()
    | st.timedeltas()
)
hashable = st.recursive(
    scalars, lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=8,
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_round_trip(value: object) -> None:
    text = json.dumps(plain.Encoder(_none)(value))
    back = plain.Decoder(_none)(json.loads(text))
    assert back == value
    assert type(back) is type(value)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "t d s z i c b y r sl D F k q Counter OrderedDict defaultdict datetime timedelta callable".split()
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=20,
)


@given(trees)
@settings(max_examples=1000, deadline=None)
def test_decoder_gives_plain_data_or_refuses(tree: object) -> None:
    try:
        value = plain.Decoder(_none)(tree)
    except plain.NotPlain:
        return
    assert type(value).__module__ in ("builtins", "collections", "decimal", "fractions", "datetime")


class Lying(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__

    def __add__(self, other: int) -> int:
        return 0


class Endless(list):
    def __iter__(self):
        while True:
            yield 1


def test_subclasses_are_read_without_asking_them() -> None:
    assert plain.Encoder(_none)(Lying(7)) == 7
    assert plain.Encoder(_none)(Endless([1, 2])) == [1, 2]


@pytest.mark.parametrize(
    "node",
    [
        {"i": "0x" + "f" * 10**6},
        {"i": 5},
        {"t": 5},
        {"d": [[1]]},
        {"d": [[[], 1]]},
        {"s": [[1]]},
        {"F": [1, 0]},
        {"D": "x"},
        {"b": "zz"},
        {"t": [], "s": []},
        {},
    ],
    ids=str,
)
def test_malformed(node: object) -> None:
    with pytest.raises(plain.NotPlain):
        plain.Decoder(_none)(node)


def test_too_deep_both_ways() -> None:
    value: list[object] = []
    for _ in range(plain.DEPTH + 1):
        value = [value]
    with pytest.raises(plain.NotPlain):
        plain.Encoder(_none)(value)
    with pytest.raises(plain.NotPlain):
        plain.Decoder(_none)(value)


def test_changed_in_place_keeps_the_object() -> None:
    for old, new in (
        ([1], [2, 3]),
        ({"a": 1}, {"b": 2}),
        ({1}, {2}),
        (bytearray(b"a"), bytearray(b"bc")),
    ):
        plain.changed_in_place(old, new)
        assert old == new


def test_numbers_of_the_standard_library() -> None:
    for value in (Decimal("1.10"), Fraction(1, 3)):
        assert plain.Decoder(_none)(plain.Encoder(_none)(value)) == value
