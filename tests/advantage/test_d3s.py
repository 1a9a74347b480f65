from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr.advantage.aggregate.token import TokenMean
from rlvr.advantage.grpo import GRPO
from rlvr.advantage.riskpo import RiskPO
from rlvr.advantage.select.all import All
from rlvr.advantage.select.d3s import D3S
from rlvr.advantage.select.variance import most_varied
from rlvr.advantage.weigh import weigh
from rlvr.errors import UserError

from .steps import GOLDEN, step  # noqa: TID251 (our own neighbour)

CASE = GOLDEN["d3s"]


def pick(values: list[float], n: int) -> list[float]:
    tensor = torch.tensor(values, dtype=torch.float64)
    keep = most_varied(tensor, torch.zeros(len(values), dtype=torch.int64), lambda _: n)
    return tensor[keep].tolist()


@pytest.mark.parametrize("case", CASE["cases"])
def test_golden_samples(case):
    chosen = pick(CASE["A"], case["n"])
    assert chosen == case["selected"]
    variance = torch.tensor(chosen, dtype=torch.float64).var(correction=0)
    assert float(variance) == pytest.approx(case["var_population"], abs=1e-4)


@pytest.mark.parametrize("case", CASE["cross"])
def test_golden_cross_groups(case):
    groups = [[1.0] * k + [0.0] * (8 - k) for k in CASE["cross_groups_successes_of_8"]]
    scores = step(*groups)
    advantage = GRPO(eps=0)(scores)
    selection = D3S(samples=case["n"] / 32, tokens=1)(scores, advantage, 1.0)
    assert int(selection.keep.sum()) == case["n"]
    variance = float(advantage[selection.keep].var(correction=0))
    assert variance == pytest.approx(case["var_population"], abs=1e-4)
    assert not bool(selection.keep[24:].any()), "the all-correct group is never used"


@pytest.mark.parametrize(("share", "kept"), [(0.2, [3, 1.5]), (0.4, [3, 1.5, 0.75])])
def test_golden_tokens(share, kept):
    case = CASE["token"]
    entropy = [h for row, m in zip(case["H"], case["mask"], strict=True) for h in row[: sum(m)]]
    scores = step([1, 0], lengths=[4, 3], entropy=entropy)
    advantage = torch.tensor(case["A"], dtype=torch.float64)
    selection = D3S(samples=1, tokens=share)(scores, advantage, 1.0)
    key = advantage.abs()[scores.response] * torch.tensor(entropy, dtype=torch.float64)
    assert sorted(key[selection.tokens].tolist(), reverse=True) == pytest.approx(kept)


def test_schedule():
    n, k = CASE["schedule"]["N"], CASE["schedule"]["K"]
    d3s = D3S(samples_start=n[0] / 32, samples=n[1] / 32, tokens_start=k[0], tokens=k[1])
    samples, tokens = d3s.shares(CASE["schedule"]["p"])
    assert samples * 32 == pytest.approx(CASE["schedule"]["N_s"])
    assert tokens == pytest.approx(CASE["schedule"]["K_p"])
    assert d3s.shares(7.0) == (1, 1)


values = st.lists(st.integers(-6, 6).map(lambda i: i / 2), min_size=2, max_size=8)


@given(values, st.integers(2, 8))
def test_it_is_the_best_of_all_subsets(sample, n):
    n = min(n, len(sample))
    best = max(
        float(torch.tensor(subset, dtype=torch.float64).var(correction=0))
        for subset in itertools.combinations(sample, n)
    )
    chosen = torch.tensor(pick(sample, n), dtype=torch.float64)
    assert len(chosen) == n
    assert float(chosen.var(correction=0)) == pytest.approx(best, abs=1e-9)
    whole = torch.tensor(sample, dtype=torch.float64)
    assert float(chosen.var()) >= float(whole.var()) - 1e-9
    assert pick([x + 3 for x in sample], n) == pytest.approx([x + 3 for x in chosen.tolist()])


@given(st.lists(values, min_size=1, max_size=5))
def test_many_groups_at_once_are_each_group_alone(groups):
    flat = torch.tensor([*itertools.chain(*groups)], dtype=torch.float64)
    owner = torch.tensor([q for q, g in enumerate(groups) for _ in g])
    keep = most_varied(flat, owner, lambda m: max(2, m // 2))
    for q, group in enumerate(groups):
        assert flat[keep & (owner == q)].tolist() == pick(group, max(2, len(group) // 2))


def test_intra_keeps_both_ends_of_every_prompt():
    scores = step([1, 0, 0, 0], [1, 1, 0, 0])
    selection = D3S(samples=0.5, tokens=1, mode="intra")(scores, GRPO()(scores), 1.0)
    assert scores.prompt_sum(selection.keep).tolist() == [2, 2]
    assert scores.prompt_sum(selection.keep & scores.correct).tolist() == [1, 1]


def test_response_scope_keeps_a_share_of_each_response():
    scores = step([1, 0], lengths=[4, 2], entropy=[0.1, 2, 0.5, 0, 3, 1])
    advantage = torch.tensor([1.5, -0.5], dtype=torch.float64)
    selection = D3S(samples=1, tokens=0.5, scope="response")(scores, advantage, 1.0)
    assert selection.tokens.tolist() == [False, True, True, False, True, False]


@given(st.lists(st.floats(0, 3), min_size=6, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_token_sets_are_nested_and_counted(entropy, a, b):
    small, large = sorted((a, b))
    scores = step([1, 0], lengths=[4, 2], entropy=entropy)
    advantage = torch.tensor([1.5, -0.5], dtype=torch.float64)
    few, many = (D3S(samples=1, tokens=k)(scores, advantage, 1.0).tokens for k in (small, large))
    assert not bool((few & ~many).any())
    assert abs(int(few.sum()) - small * 6) < 1


def test_no_entropy_anywhere_is_a_repeatable_draw():
    scores = step([1, 0], lengths=[40, 40], entropy=[0.0] * 80)
    advantage = torch.tensor([1.0, -1.0], dtype=torch.float64)
    d3s = D3S(samples=1, tokens=0.25)
    first, second = (d3s(scores, advantage, 1.0).tokens for _ in range(2))
    assert int(first.sum()) == 20
    assert first.tolist() == second.tolist()
    assert 0 < int(first[:40].sum()) < 20


def test_everything_kept_is_the_identity():
    scores = step([1, 0, 0], [1, 1], lengths=[3, 1, 2, 2, 0], entropy=[1.0] * 8)
    every = weigh(scores, GRPO(), All(), TokenMean())
    kept = weigh(scores, GRPO(), D3S(samples=1, tokens=1), TokenMean())
    assert kept.weight.tolist() == every.weight.tolist()
    assert kept.kept.tolist() == every.kept.tolist()


def test_nothing_is_normalised_again_and_token_divides_by_kept_tokens():
    scores = step([1, 0, 0, 0], [1, 1, 0, 0], lengths=[2] * 8)
    weights = weigh(scores, GRPO(), D3S(samples=0.25, tokens=1), TokenMean())
    assert weights.advantage.tolist() == GRPO()(scores).tolist()
    assert weights.kept.tolist().count(True) == 2
    assert sorted(set(weights.scale.tolist())) == [0, 0.25]


def test_exams_are_kept_whole():
    scores = step([1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0], lengths=[1] * 16)
    risk = RiskPO(bundle=2, permute=False)
    unit = risk(scores).unit
    assert unit is not None
    weights = weigh(scores, risk, D3S(samples=0.5, tokens=1), TokenMean())
    for number in range(8):
        assert len(set(weights.kept[unit == number].tolist())) == 1
    assert weights.kept.sum() == 8


def test_missing_entropies_are_a_users_mistake():
    with pytest.raises(UserError, match="entrop"):
        D3S()(step([1, 0]), torch.tensor([1.0, -1.0]), 1.0)


@pytest.mark.parametrize("rewards", [[[1]], [[1, 1]], [[None, None]], [[1, None]], [[1, 0]]])
def test_edges(rewards):
    scores = step(*rewards)
    weights = weigh(scores, GRPO(), D3S(samples=0, tokens=1, samples_start=0), TokenMean())
    assert bool(weights.weight.isfinite().all())
    assert int(weights.kept.sum()) == min(2, int(scores.valid.sum()))
