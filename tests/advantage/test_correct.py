"""Importance weights of the trainer's old policy over the sampler's, by hand."""

from __future__ import annotations

import pytest
import torch

from rlvr.advantage.aggregate.token import TokenMean
from rlvr.advantage.correct.mis import Masked
from rlvr.advantage.correct.none import NoCorrection
from rlvr.advantage.correct.tis import Truncated
from rlvr.advantage.dr_grpo import DrGRPO
from rlvr.advantage.scores import Scores
from rlvr.advantage.select.all import All
from rlvr.advantage.weigh import weigh
from rlvr.mismatch import Mismatch

RATIOS = torch.tensor([0.3, 1.0, 2.5, 7.0])
ONE = torch.zeros(4, dtype=torch.int64)
PRODUCT, MEAN = 5.25, 5.25**0.25


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        (NoCorrection(), [1, 1, 1, 1]),
        (Truncated(), [0.3, 1, 2, 2]),
        (Truncated(cap=3), [0.3, 1, 2.5, 3]),
        (Truncated(cap=10, level="sequence"), [PRODUCT] * 4),
        (Truncated(cap=2, level="sequence"), [2] * 4),
        (Truncated(level="geometric"), [MEAN] * 4),
        (Masked(), [0, 1, 2.5, 0]),
        (Masked(level="geometric"), [MEAN] * 4),
        (Masked(high=1.2, level="geometric"), [0] * 4),
    ],
)
def test_by_hand(correct: NoCorrection | Truncated | Masked, expected: list[float]) -> None:
    found = correct(RATIOS.log(), ONE)
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_levels_are_by_response() -> None:
    found = Truncated(cap=100, level="sequence")(RATIOS.log(), torch.tensor([0, 0, 2, 2]))
    torch.testing.assert_close(found, torch.tensor([0.3, 0.3, 17.5, 17.5]).double())


def test_what_is_masked_leaves_the_normaliser_too() -> None:
    """Two prompts-mates of two tokens each; one token is masked: the mean is over the three left."""
    sampled = torch.tensor([-1.0, -1.0, -1.0, -1.0])
    own = sampled + torch.tensor([0.0, 0.0, 0.0, 3.0])
    scores = Scores(
        reward=torch.tensor([1.0, 0.0]).double(),
        correct=torch.tensor([True, False]),
        group=torch.tensor([0, 0]),
        length=torch.tensor([2, 2]),
        valid=torch.tensor([True, True]),
        prompts=1,
        truncated=torch.tensor([False, False]),
        logprob=own,
        sampled=sampled,
    )
    weights = weigh(scores, DrGRPO(), All(), TokenMean(), correct=Masked())
    torch.testing.assert_close(weights.scale, torch.tensor([1, 1, 1, 0]).double() / 3)
    torch.testing.assert_close(weights.weight, torch.tensor([0.5, 0.5, -0.5, 0]) / 3)
    truncated = weigh(scores, DrGRPO(), All(), TokenMean(), correct=Truncated(cap=2))
    torch.testing.assert_close(truncated.weight, torch.tensor([0.5, 0.5, -0.5, -1.0]) / 4)


def test_mismatch_by_hand() -> None:
    """r = 1 and r = e: k3 is 0 and e - 2; one of two tokens is off by more than a factor of two."""
    mismatch = Mismatch()
    counted = torch.tensor([True, True, False])
    mismatch.add(torch.tensor([-1.0, -1.0, 9.0]), torch.tensor([-1.0, -2.0, 0.0]), counted)
    assert mismatch.report() == {
        "sampler_gap": pytest.approx(0.5),
        "mismatch_kl": pytest.approx((torch.e - 2) / 2),
        "mismatch_extreme": 0.5,
    }
    assert set(Mismatch().report().values()) == {None}
