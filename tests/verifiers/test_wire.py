"""The protocol between pool and workers: whole, cut, too large, forged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr.types import Status, Verdict
from rlvr.verifiers import wire


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**63), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_survive_any_cutting(frames, step):
    stream = b"".join(wire.frame(job, payload) for job, payload in frames)
    reader = wire.Frames(1000)
    found = []
    for start in range(0, len(stream), step):
        found += reader.feed(stream[start : start + step])
    assert found == frames


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(wire.WireError, match="2000 bytes"):
        wire.Frames(1000).feed(wire.HEADER.pack(2000, 1))


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict.of(True),
        Verdict.broken("é \ud800"),
        Verdict(Status.FORBIDDEN, 0.0, "d", 0.5, "1/2", {"a": 1.0, "b": -0.5}, "strong"),
    ],
)
def test_a_verdict_arrives_as_it_was(verdict):
    packed = wire.pack_verdict(verdict, 7.5, True, "trace")
    assert wire.unpack_verdict(packed) == (verdict, 7.5, True, "trace")


GOOD = ["correct", 1.0, "", 0.1, None, {}, "", 7.5, False, ""]
FORGED = [
    (0, "splendid"),
    (0, 1),
    (1, None),
    (1, "1.0"),
    (1, True),
    (1, float("nan")),
    (1, float("inf")),
    (2, None),
    (3, "0.1"),
    (4, 5),
    (5, []),
    (5, {"a": "1"}),
    (5, {"a": {}}),
    (6, None),
    (7, None),
    (8, 0),
    (9, []),
]


def test_the_good_one_is_good():
    assert wire.unpack_verdict(json.dumps(GOOD).encode())[0].correct


@pytest.mark.parametrize(("place", "value"), FORGED)
def test_a_forged_value_is_refused(place, value):
    forged = [*GOOD]
    forged[place] = value
    with pytest.raises(wire.WireError):
        wire.unpack_verdict(json.dumps(forged).encode())


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"[1]", b"\xff", b"[" * 100_000, b"null"])
def test_nonsense_is_refused(payload):
    with pytest.raises(wire.WireError):
        wire.unpack_verdict(payload)
