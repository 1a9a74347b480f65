"""Every line of the tables is a case; a new case needs no Python."""

import time

import pytest

from rlvr.verifiers import corpora
from rlvr.verifiers.corpora import Labelled
from rlvr.verifiers.math import Math

SLOWEST = 2.0  # seconds, for hostile input, on a busy machine


@pytest.fixture(scope="module")
def judge() -> Math:
    """With its imports done, as in a worker."""
    made = Math()
    made.prepare()
    return made


@pytest.mark.parametrize(
    "case",
    list(corpora.math()),
    ids=lambda case: f"{case.status}: {case.reference} | {case.response}"[:70],
)
def test_case(case: Labelled, judge: Math) -> None:
    start = time.perf_counter()
    verdict = judge(case.response, case.reference)
    assert time.perf_counter() - start < SLOWEST
    wanted = {"wrong", "unparsed"} if case.status == "rejected" else {case.status}
    assert verdict.status in wanted, verdict
