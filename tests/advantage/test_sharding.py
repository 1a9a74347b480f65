"""A step dealt over 1, 2 or 4 ranks, whole groups to each, and gathered in the ranks' order: the same numbers.

Every number that depends on the whole step must not depend on who held what, batch-wide statistics most of all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlvr import registry
from rlvr.advantage.aggregate.token import TokenMean
from rlvr.advantage.riskpo import RiskPO
from rlvr.advantage.scores import Scores
from rlvr.advantage.select.all import All
from rlvr.advantage.select.d3s import D3S
from rlvr.advantage.weigh import Weights, weigh
from rlvr.loss.clip.bapo import BAPO
from rlvr.loss.clip.inputs import TokenInputs

RANKS = (1, 2, 4)
ROWS = ("reward", "correct", "group", "length", "valid", "truncated")


def a_step(seed: int) -> Scores:
    """Thirteen ragged groups with empty responses, broken verdicts and graded rewards among them."""
    made = torch.Generator().manual_seed(seed)

    def draw(high: int, size: int) -> Tensor:
        return torch.randint(high, (size,), generator=made)

    group = torch.arange(13).repeat_interleave(draw(7, 13) + 1)
    n = len(group)
    length = draw(9, n)
    valid = draw(12, n) > 0
    reward = (draw(3, n).double() / 2) * valid
    logprob = -torch.rand(int(length.sum()), generator=made, dtype=torch.float64)
    return Scores(
        reward=reward,
        correct=reward == 1,
        group=group,
        length=length,
        valid=valid,
        prompts=13,
        truncated=draw(5, n) == 0,
        logprob=logprob,
        entropy=logprob.exp() + torch.rand(len(logprob), generator=made, dtype=torch.float64),
    )


def dealt(scores: Scores, ranks: int) -> tuple[Scores, Tensor, Tensor]:
    """As gathered from `ranks`: groups renumbered in that order; where responses and tokens came from."""
    hands = [range(rank, scores.prompts, ranks) for rank in range(ranks)]
    groups = [group for hand in hands for group in hand]
    rows = torch.cat([(scores.group == group).nonzero()[:, 0] for group in groups])
    tokens = torch.cat([(scores.response == int(row)).nonzero()[:, 0] for row in rows])
    number = torch.empty(scores.prompts, dtype=torch.int64)
    number[torch.tensor(groups)] = torch.arange(scores.prompts)
    changed = {name: getattr(scores, name)[rows] for name in ROWS}
    changed["group"] = number[changed["group"]]
    assert scores.logprob is not None
    assert scores.entropy is not None
    gathered = Scores(
        **changed,
        prompts=scores.prompts,
        logprob=scores.logprob[tokens],
        entropy=scores.entropy[tokens],
    )
    return gathered, rows, tokens


def assert_same(found: Weights, wanted: Weights, rows: Tensor, tokens: Tensor) -> None:
    assert torch.equal(found.kept, wanted.kept[rows])
    torch.testing.assert_close(found.advantage, wanted.advantage[rows], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.weight, wanted.weight[tokens], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.scale, wanted.scale[tokens], rtol=1e-6, atol=1e-6)


def made(stage: str, name: str) -> Any:
    if name == "riskpo":  # questions of one each: bundles are drawn in the step's order
        return RiskPO(bundle=1, quantiles=(0.25, 0.75))
    settings = {"max_tokens": 8} if name == "constant" else {}
    return registry.load(stage, name).target(**settings)


@pytest.mark.parametrize("name", registry.builtin("advantage"))
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("seed", range(5))
def test_estimators(name: str, ranks: int, seed: int) -> None:
    scores = a_step(seed)
    gathered, rows, tokens = dealt(scores, ranks)
    parts = All(), TokenMean()
    assert_same(
        weigh(gathered, made("advantage", name), *parts),
        weigh(scores, made("advantage", name), *parts),
        rows,
        tokens,
    )


@pytest.mark.parametrize("name", registry.builtin("aggregate"))
@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("seed", range(5))
def test_aggregations_and_d3s(name: str, ranks: int, seed: int) -> None:
    """D3S on advantages without ties: of equals it may keep either."""
    scores = a_step(seed)
    spread = torch.rand(
        len(scores.reward), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    scores = replace(scores, reward=spread * scores.valid)
    gathered, rows, tokens = dealt(scores, ranks)
    select = D3S(samples=0.5, tokens=0.5)
    aggregate = made("aggregate", name)
    assert_same(
        weigh(gathered, made("advantage", "reinforce_pp"), select, aggregate, progress=1.0),
        weigh(scores, made("advantage", "reinforce_pp"), select, aggregate, progress=1.0),
        rows,
        tokens,
    )


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("seed", range(5))
def test_bapo_and_the_sum_of_the_ranks_losses(ranks: int, seed: int) -> None:
    """Bounds are fitted on the gathered tokens; every rank's own loss then adds up to the whole's."""
    scores = a_step(seed)
    weights = weigh(scores, made("advantage", "bnpo"), All(), TokenMean())
    assert scores.logprob is not None
    noise = torch.randn(
        len(scores.logprob), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )

    def inputs(at: Tensor) -> TokenInputs:
        assert scores.logprob is not None
        response = scores.response[at]
        return TokenInputs(
            logp=(scores.logprob + 0.3 * noise)[at],
            old_logp=scores.logprob[at],
            weight=weights.weight[at].double(),
            scale=weights.scale[at].double(),
            segment=response,
        )

    every = torch.arange(len(scores.logprob))
    whole = BAPO().fit(inputs(every))
    _, _, tokens = dealt(scores, ranks)
    fitted = BAPO().fit(inputs(tokens))
    assert fitted.report["searched"]
    assert fitted.rule == whole.rule
    assert fitted.report["share"] == pytest.approx(whole.report["share"], abs=1e-6)
    hands = [every[(scores.group[scores.response] % ranks) == rank] for rank in range(ranks)]
    parts = sum(float(fitted.rule(inputs(hand)).sum()) for hand in hands)
    assert parts == pytest.approx(float(whole.rule(inputs(every)).sum()), abs=1e-6)
