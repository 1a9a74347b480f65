from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr import registry
from rlvr.advantage.aggregate.constant import Constant
from rlvr.advantage.aggregate.prompt import PromptMean
from rlvr.advantage.aggregate.prompt_sum import PromptSum
from rlvr.advantage.aggregate.sequence import SequenceMean
from rlvr.advantage.aggregate.sequence_sum import SequenceSum
from rlvr.advantage.aggregate.token import TokenMean
from rlvr.advantage.bnpo import BNPO
from rlvr.advantage.drpo import DRPO
from rlvr.advantage.filters.dapo import Dynamic
from rlvr.advantage.filters.none import NoFilter
from rlvr.advantage.filters.overlong import shaped
from rlvr.advantage.grpo import GRPO
from rlvr.advantage.riskpo import RiskPO
from rlvr.advantage.scores import Scores
from rlvr.advantage.select.all import All
from rlvr.advantage.select.d3s import D3S
from rlvr.advantage.weigh import weigh
from rlvr.errors import UserError
from rlvr.types import Finish, Group, Problem, Rollout, Verdict

from .steps import GOLDEN, step, values  # noqa: TID251 (our own neighbour)

CASE = GOLDEN["aggregation"]


def scale(scores: Scores, aggregate) -> list[float]:
    return aggregate(scores, scores.valid[scores.response]).tolist()


@pytest.mark.parametrize(
    ("aggregate", "key"),
    [
        (TokenMean(), "token_mean"),
        (SequenceMean(), "seq_mean_token_mean"),
        (SequenceSum(), "seq_mean_token_sum"),
        (Constant(max_tokens=8), "const_len_8"),
    ],
)
def test_golden_aggregation(aggregate, key):
    losses = [*itertools.chain(*CASE["token_losses"])]
    scores = step([1, 0], lengths=[len(row) for row in CASE["token_losses"]])
    got = sum(w * x for w, x in zip(scale(scores, aggregate), losses, strict=True))
    assert got == pytest.approx(CASE[key], abs=1e-6)


@pytest.mark.parametrize(
    ("aggregate", "key"),
    [
        (TokenMean(), "token_mean"),
        (SequenceMean(), "seq_mean_token_mean"),
        (PromptMean(), "prompt_mean"),
    ],
)
def test_golden_ragged_aggregation(aggregate, key):
    ragged = CASE["ragged"]
    scores = step([0, 0], [0, 0, 0], lengths=ragged["L"])
    losses = [
        loss
        for loss, length in zip(ragged["seq_loss"], ragged["L"], strict=True)
        for _ in range(length)
    ]
    got = sum(w * x for w, x in zip(scale(scores, aggregate), losses, strict=True))
    assert got == pytest.approx(ragged[key], abs=1e-6)


def test_normalisers_count_zero_advantages_and_leave_broken_out():
    scores = step([1, 0, None], [1, 1], lengths=[2, 0, 5, 1, 1])
    assert scale(scores, TokenMean()) == [0.25] * 2 + [0] * 5 + [0.25] * 2
    assert scale(scores, SequenceMean()) == [1 / 8] * 2 + [0] * 5 + [0.25] * 2
    assert scale(scores, PromptMean()) == [1 / 8] * 2 + [0] * 5 + [0.25] * 2
    assert scale(scores, PromptSum()) == [1 / 4] * 2 + [0] * 5 + [0.5] * 2


@pytest.mark.parametrize("name", registry.names("aggregate"))
def test_an_empty_step_has_no_weights(name):
    settings = {"max_tokens": 8} if name == "constant" else {}
    aggregate = registry.load("aggregate", name).target(**settings)
    for scores in (step([None, None]), step([1, 0], lengths=[0, 0])):
        weights = weigh(scores, GRPO(), All(), aggregate)
        assert not bool(weights.weight.any())


def test_dapo_looks_at_correctness_and_keeps_single_responses():
    scores = step(
        [1, 0.5],
        [0, 1],
        [1],
        [None, None],
        [1, None],
        correct=[True, True, False, True, True, False, False, True, False],
    )
    assert Dynamic()(scores).tolist() == [False, True, True, False, True]
    assert NoFilter()(scores).tolist() == [True, True, True, False, True]
    assert Dynamic().rounds > 0
    assert NoFilter().rounds == 0


def test_overlong_penalty_and_removal():
    lengths = [16384, 17408, 18432, 20480, 30000]
    scores = step([1] * 5, lengths=lengths, truncated=[False] * 4 + [True])
    penalised = shaped(Dynamic(overlong="penalty"), scores)
    assert penalised.reward.tolist() == pytest.approx([1, 0.75, 0.5, 0, 0])
    assert bool(penalised.correct.all())
    dropped = shaped(NoFilter(overlong="drop"), scores)
    assert dropped.valid.tolist() == [True] * 4 + [False]
    assert shaped(NoFilter(), scores) is scores


def test_the_filter_drops_prompts_before_the_estimator_but_not_from_bnpos_fit():
    scores = step([1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0])
    keep = Dynamic()(scores)
    filtered = weigh(scores, BNPO(), All(), TokenMean(), keep=keep)
    assert filtered.report["advantage"]["mean"] == pytest.approx((0.25 + 1 + 0.5) / 3)
    assert filtered.kept.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert filtered.scale.sum() == pytest.approx(1)


def test_scores_of_groups():
    def rollout(reward: float | None, length: int) -> Rollout:
        verdict = Verdict.broken("no database") if reward is None else Verdict.of(reward)
        return Rollout(
            (1,), torch.arange(length), torch.full((length,), -0.5), "", Finish.LENGTH, 0, verdict
        )

    groups = [
        Group(Problem("a", "?"), (rollout(1.0, 2), rollout(None, 3))),
        Group(Problem("b", "?"), (rollout(0.0, 0),)),
    ]
    scores = Scores.of(groups)
    assert scores.group.tolist() == [0, 0, 1]
    assert scores.valid.tolist() == [True, False, True]
    assert scores.correct.tolist() == [True, False, False]
    assert scores.response.tolist() == [0, 0, 1, 1, 1]
    assert scores.logprob is not None
    assert scores.token_mean(scores.logprob).tolist() == [-0.5, -0.5, 0]
    unjudged = Group(Problem("c", "?"), (replace(rollout(1.0, 1), verdict=None),))
    with pytest.raises(ValueError, match="verdict"):
        Scores.of([unjudged])


@dataclass(frozen=True)
class Wrong:
    values: tuple[float, ...]

    def __call__(self, scores: Scores) -> torch.Tensor:
        return torch.tensor(self.values)


@pytest.mark.parametrize(("bad", "word"), [((1.0,), "shape"), ((1.0, float("nan")), "finite")])
def test_a_plugin_that_misbehaves_is_named(bad, word):
    with pytest.raises(UserError, match=f"Wrong.*{word}"):
        weigh(step([1, 0]), Wrong(bad), All(), TokenMean())


def test_what_a_plugin_says_of_a_broken_verdict_does_not_matter():
    weights = weigh(step([1, None, 0]), Wrong((1.0, float("nan"), 2.0)), All(), TokenMean())
    assert weights.advantage.tolist() == [1, 0, 2]
    assert weights.weight.tolist() == [0.5, 0, 1]


# properties of every built-in estimator

rewards = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=5), min_size=1, max_size=6
)
ESTIMATORS = [name for name in registry.names("advantage") if name != "riskpo"]


def prepared(groups: list[list[float | None]]) -> Scores:
    n = sum(map(len, groups))
    lengths = [i % 3 for i in range(n)]
    return step(*groups, lengths=lengths, logprob=[-0.1 * i for i in range(sum(lengths))])


def permuted(scores: Scores, order: torch.Tensor) -> Scores:
    tokens = torch.cat([(scores.response == int(i)).nonzero().squeeze(1) for i in order])
    assert scores.logprob is not None
    rows = ("reward", "correct", "group", "length", "valid", "truncated")
    changed = {name: getattr(scores, name)[order] for name in rows}
    return Scores(**changed, prompts=scores.prompts, logprob=scores.logprob[tokens])


@pytest.mark.parametrize("name", ESTIMATORS)
@given(rewards, st.randoms())
def test_permutation_and_finiteness(name, groups, random):
    scores = prepared(groups)
    order = [*range(len(scores.reward))]
    random.shuffle(order)
    estimator = registry.load("advantage", name).target()
    plain = weigh(scores, estimator, All(), TokenMean())
    mixed = weigh(permuted(scores, torch.tensor(order)), estimator, All(), TokenMean())
    assert mixed.advantage.tolist() == pytest.approx(plain.advantage[order].tolist(), abs=1e-9)
    assert not bool(plain.advantage[~scores.valid].any())
    assert bool(plain.weight.isfinite().all())


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n not in ("reinforce_pp", "bnpo")])
@given(rewards)
def test_groups_are_judged_alone(name, groups):
    """Any sharding that keeps groups whole gives the same numbers."""
    estimator = registry.load("advantage", name).target()
    whole = values(estimator(prepared(groups)))
    start = token = 0
    for group in groups:
        everything = prepared(groups)
        n = len(group)
        size = int(everything.length[start : start + n].sum())
        assert everything.logprob is not None
        alone = step(
            group,
            lengths=everything.length[start : start + n].tolist(),
            logprob=everything.logprob[token : token + size].tolist(),
        )
        assert values(estimator(alone)) == pytest.approx(whole[start : start + n], abs=1e-9)
        start, token = start + n, token + size


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "bnpo", "drpo"])
@given(rewards)
def test_degenerate_groups_get_exactly_zero(name, groups):
    scores = prepared(groups)
    got = torch.tensor(values(registry.load("advantage", name).target()(scores)))
    assert not bool(got[scores.degenerate].any())


@given(
    rewards,
    *(st.sampled_from(registry.names(stage)) for stage in ("advantage", "select", "aggregate")),
)
def test_a_step_with_broken_verdicts_is_the_step_without_them(groups, estimator, select, aggregate):
    """Ragged groups are what is left of rectangular ones, through every stage."""
    whole = prepared(groups)
    judged = [[r for r in group if r is not None] for group in groups]
    tokens = whole.valid[whole.response]
    assert whole.logprob is not None
    bare = step(
        *(group for group in judged if group),
        lengths=whole.length[whole.valid].tolist(),
        logprob=whole.logprob[tokens].tolist(),
    )
    whole, bare = (replace(each, entropy=-each.logprob) for each in (whole, bare))
    results = [
        weigh(
            scores,
            registry.load("advantage", estimator).target(),
            registry.load("select", select).target(),
            registry.load("aggregate", aggregate).target(),
        )
        for scores in (whole, bare)
    ]
    with_broken, without = results
    assert torch.equal(with_broken.kept[whole.valid], without.kept)
    torch.testing.assert_close(with_broken.advantage[whole.valid], without.advantage)
    torch.testing.assert_close(with_broken.weight[tokens], without.weight)
    assert not bool(with_broken.weight[~tokens].any())


@given(rewards, st.randoms())
def test_riskpo_of_single_questions_and_d3s_do_not_mind_the_order(groups, random):
    scores = prepared(groups)
    order = [*range(len(scores.reward))]
    random.shuffle(order)
    mixed = permuted(scores, torch.tensor(order))
    estimator = RiskPO(bundle=1, quantiles=(0.25, 0.75))
    plain, other = (torch.tensor(values(estimator(each))) for each in (scores, mixed))
    assert other.tolist() == pytest.approx(plain[order].tolist())
    # responses that differ have one best selection, whatever their order
    spread = torch.linspace(-1, 2, len(order), dtype=torch.float64) ** 3
    spread = torch.where(scores.valid, spread, 0.0)
    select = D3S(samples=0.4, tokens=1)
    kept, again = select(scores, spread, 1.0).keep, select(mixed, spread[order], 1.0).keep
    assert torch.equal(again, kept[order])


@given(rewards, st.integers(1, 3))
def test_riskpo_is_finite_and_leaves_broken_out(groups, size):
    scores = prepared(groups)
    weights = weigh(scores, RiskPO(bundle=size), All(), TokenMean())
    assert bool(weights.weight.isfinite().all())
    assert not bool(weights.advantage[~scores.valid].any())


def test_identities_of_the_group_family():
    scores = step([1, 0, 0, 0], [1, 1, 0, 0])
    names = ("rloo", "dr_grpo")
    rloo, centred = (values(registry.load("advantage", n).target()(scores)) for n in names)
    assert rloo == pytest.approx([4 / 3 * a for a in centred])
    moved = replace(scores, reward=scores.reward * 3 + 2)
    assert values(GRPO(eps=0)(moved)) == pytest.approx(values(GRPO(eps=0)(scores)))


def test_drpo_weights_are_the_coefficients_of_mean_log_likelihoods():
    scores = prepared([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0]])
    weights = weigh(scores, DRPO(), All(), PromptSum())
    for i in range(6):
        own = weights.weight[scores.response == i].sum()
        wanted = weights.advantage[i] / 2 if int(scores.length[i]) else 0
        assert float(own) == pytest.approx(float(wanted))
