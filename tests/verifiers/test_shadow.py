"""The second opinion: counted, recorded, never in the way."""

import json
import time
from pathlib import Path

import pytest

from rlvr.errors import UserError
from rlvr.types import Verdict
from rlvr.verifiers.pool import Case, Pool
from rlvr.verifiers.shadow import Shadow

MISC = Path(__file__).parent / "plugins" / "misc.py"


def test_disagreements_are_counted_by_direction_and_recorded(tmp_path):
    """The first opinion asks for equality, the second for a box."""
    record = tmp_path / "disagreements.jsonl"
    with Shadow("format", share=1.0, record=record) as shadow:
        with Pool(f"{MISC}:equal", workers=2, observe=shadow) as pool:
            cases = [
                Case(r"\boxed{1}", r"\boxed{1}", id="both"),
                Case("1", "1", id="only the first"),
                Case(r"\boxed{1}", "2", id="only the second"),
                Case("1", "2", id="neither"),
            ]
            list(pool.map(cases))
        assert shadow.wait(30)
        assert shadow.metrics() == {
            "shadow_compared": 4,
            "shadow_disagreement": 0.5,
            "shadow_only_first_accepts": 1,
            "shadow_only_second_accepts": 1,
            "shadow_broken": 0,
            "shadow_dropped": 0,
        }
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert {line["id"] for line in lines} == {"only the first", "only the second"}


def test_the_share_is_a_share_and_the_same_cases_every_time():
    cases = [Case(f"answer {number}") for number in range(4000)]

    def compared():
        with Shadow("format", share=0.1, bound=10_000) as shadow:
            for case in cases:
                shadow(case, Verdict.of(False))
            assert shadow.wait(60)
            return shadow.metrics()["shadow_compared"]

    first = compared()
    assert first is not None
    assert 320 < first < 480
    assert compared() == first


def test_a_slow_shadow_drops_instead_of_waiting():
    with Shadow(f"{MISC}:Obey", share=1.0, timeout=20.0, bound=3) as shadow:
        started = time.monotonic()
        for number in range(10):
            shadow(Case(f"sleep 0.2 {number}"), Verdict.of(True))
        assert time.monotonic() - started < 0.2
        assert shadow.wait(30)
        metrics = shadow.metrics()
    assert (metrics["shadow_compared"], metrics["shadow_dropped"]) == (3, 7)
    assert metrics["shadow_disagreement"] == 0.0


def test_broken_verdicts_are_no_disagreement():
    with Shadow(f"{MISC}:Obey", share=1.0) as shadow:
        shadow(Case("raise x"), Verdict.of(True))
        shadow(Case("ok"), Verdict.broken("first failed"))
        assert shadow.wait(30)
        metrics = shadow.metrics()
    assert (metrics["shadow_broken"], metrics["shadow_compared"]) == (1, 0)
    assert metrics["shadow_disagreement"] is None


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(UserError, match="share"):
        Shadow("format", share=share)
