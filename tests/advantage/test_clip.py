from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlvr import registry
from rlvr.loss.clip.bapo import BAPO
from rlvr.loss.clip.cispo import CISPO
from rlvr.loss.clip.contribution import Contribution, _bins, candidates
from rlvr.loss.clip.dapo import DAPO
from rlvr.loss.clip.gspo import GSPO
from rlvr.loss.clip.inputs import Rule, TokenInputs, clip_fraction
from rlvr.loss.clip.ppo import PPO
from rlvr.loss.clip.within import Within
from rlvr.loss.kl import K1, K2, K3, NoKL

from .steps import GOLDEN  # noqa: TID251 (our own neighbour)

SURROGATE, SEARCH = GOLDEN["surrogate"], GOLDEN["bapo"]


def tokens(ratio, weight, scale=None, segment=None, grad=False) -> TokenInputs:
    logp = torch.as_tensor(ratio, dtype=torch.float64).log() - 1
    return TokenInputs(
        logp=logp.requires_grad_(grad),
        old_logp=torch.full_like(logp, -1).detach(),
        weight=torch.as_tensor(weight, dtype=torch.float64),
        scale=torch.ones(len(ratio), dtype=torch.float64)
        if scale is None
        else torch.as_tensor(scale, dtype=torch.float64),
        segment=torch.zeros(len(ratio), dtype=torch.int64)
        if segment is None
        else torch.as_tensor(segment),
    )


@pytest.mark.parametrize(("ratio", "advantage", "objective"), SURROGATE["cases_ratio_adv_obj"])
def test_golden_surrogate(ratio, advantage, objective):
    rule = DAPO(eps_low=SURROGATE["eps_low"], eps_high=SURROGATE["eps_high"], dual=None)
    assert float(-rule(tokens([ratio], [advantage]))) == pytest.approx(objective)


def test_golden_dual_clip():
    ((ratio, advantage, objective),) = SURROGATE["dual_clip_3"]
    assert float(-PPO(dual=3)(tokens([ratio], [advantage]))) == pytest.approx(objective)


@given(
    st.lists(st.tuples(st.floats(0.05, 8), st.floats(-2, 2)), min_size=1, max_size=10),
    st.sampled_from([None, 3.0]),
)
def test_value_and_gradient_are_those_of_the_clipped_minimum(cases, dual):
    ratios, weights = zip(*cases, strict=True)
    edges = (0.8, 1.2, 3.0)
    ratios = [r for r in ratios if min(abs(r - e) for e in edges) > 1e-6] or [1.0]
    weights = weights[: len(ratios)]
    rule, given_ = PPO(dual=dual), tokens(ratios, weights, grad=True)
    (got,) = torch.autograd.grad(rule(given_).sum(), given_.logp)
    r = (given_.logp - given_.old_logp).exp()
    objective = torch.minimum(r * given_.weight, r.clamp(0.8, 1.2) * given_.weight)
    if dual is not None:
        lowest = torch.maximum(objective, dual * given_.weight)
        objective = torch.where(given_.weight < 0, lowest, objective)
    (want,) = torch.autograd.grad(-objective.sum(), given_.logp)
    assert rule(given_).tolist() == pytest.approx((-objective).tolist())
    assert got.tolist() == pytest.approx(want.tolist())
    live = given_.weight != 0
    assert (got == 0)[live].tolist() == rule.clipped(given_)[live].tolist()


def every_rule() -> list[Rule]:
    return [registry.load("clip", name).target() for name in registry.names("clip")]


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: type(rule).__name__)
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_at_ratio_one_the_gradient_is_minus_the_weight(rule, weights):
    """Checked by differences of the loss, not by the library's own derivative."""
    base = tokens([1.0] * len(weights), weights, segment=[i // 3 for i in range(len(weights))])
    used = rule.fit(base).rule if rule.needs_fit else rule
    logp = base.logp.clone().requires_grad_()
    moved = TokenInputs(logp, base.old_logp, base.weight, base.scale, base.segment)
    (got,) = torch.autograd.grad(used(moved).sum(), logp)
    assert got.tolist() == pytest.approx([-w for w in weights])
    if isinstance(rule, CISPO | GSPO):
        return  # their values are not what their gradients descend
    h = 1e-6
    for i, w in enumerate(weights):
        step = torch.zeros_like(logp)
        step[i] = h

        def loss(at: torch.Tensor) -> float:
            each = TokenInputs(at, base.old_logp, base.weight, base.scale, base.segment)
            return float(used(each).sum())

        with torch.no_grad():
            slope = (loss(logp + step) - loss(logp - step)) / (2 * h)
        assert slope == pytest.approx(-w, abs=1e-6)


def test_gspo_is_the_sequence_objective():
    rule = GSPO(eps_low=0.2, eps_high=0.2)
    ratio = [1.1, 1.3, 0.9, 2.0, 3.0, 0.6]
    segment, scale = [0, 0, 0, 1, 1, 2], [1 / 9] * 3 + [1 / 6] * 2 + [1 / 3]
    advantage = torch.tensor([1.0, -0.5, -2.0], dtype=torch.float64)
    weight = advantage[torch.tensor(segment)] * torch.tensor(scale, dtype=torch.float64)
    given_ = tokens(ratio, weight, scale, segment, grad=True)
    (got,) = torch.autograd.grad(rule(given_).sum(), given_.logp)
    logs = given_.logp - given_.old_logp
    means = torch.stack([logs[:3].mean(), logs[3:5].mean(), logs[5:].mean()])
    s = means.exp()
    objective = torch.minimum(s * advantage, s.clamp(0.8, 1.2) * advantage).mean()
    (want,) = torch.autograd.grad(-objective, given_.logp)
    assert float(rule(given_).sum().detach()) == pytest.approx(float(-objective.detach()))
    assert got.tolist() == pytest.approx(want.tolist())


def test_gspo_leaves_dropped_tokens_out_of_the_mean():
    kept = tokens([1.1, 9.0], [0.5, 0.0], scale=[1.0, 0.0])
    alone = tokens([1.1], [0.5])
    rule = GSPO(eps_low=0.5, eps_high=0.5)
    assert rule.ratio(kept)[0] == pytest.approx(float(rule.ratio(alone)[0]))


def test_cispo_caps_the_ratio_and_keeps_every_gradient():
    given_ = tokens([0.1, 1.0, 9.0], [1.0, -1.0, 1.0], grad=True)
    (got,) = torch.autograd.grad(CISPO(high=2.0)(given_).sum(), given_.logp)
    assert got.tolist() == pytest.approx([-0.1, 1.0, -2.0])
    assert float(clip_fraction(CISPO(high=2.0), given_)) == pytest.approx(1 / 3)


def test_clip_fraction_counts_tokens_with_a_weight():
    given_ = tokens([1.5, 1.5, 0.5, 1.0], [1.0, 0.0, 1.0, 0.0])
    assert float(clip_fraction(PPO(), given_)) == 0.5
    assert float(clip_fraction(PPO(), tokens([1.5], [0.0]))) == 0


def test_far_ratios_stay_finite():
    given_ = TokenInputs(
        torch.tensor([0.0, -200.0], requires_grad=True),
        torch.tensor([-200.0, 0.0]),
        torch.tensor([-1.0, 1.0]),
        torch.ones(2),
        torch.zeros(2, dtype=torch.int64),
    )
    for rule in every_rule():
        used = rule.fit(given_).rule if rule.needs_fit else rule
        (grad,) = torch.autograd.grad(used(given_).sum(), given_.logp)
        assert bool(grad.isfinite().all())


# BAPO


def bapo_tokens() -> TokenInputs:
    positive, negative = SEARCH["ratio_pos_A+1"], SEARCH["ratio_neg_A-1"]
    return tokens(positive + negative, [1.0] * len(positive) + [-1.0] * len(negative))


@pytest.mark.parametrize("case", SEARCH["shares"])
def test_golden_shares(case):
    given_ = bapo_tokens()
    low, high = case["bounds"]
    ratio = (given_.logp - given_.old_logp).exp()
    found = Contribution.of(ratio, given_.weight, [low], [high])
    assert found.positive[case["mode"]][0] == pytest.approx(case["P"])
    assert found.negative[case["mode"]][0] == pytest.approx(case["N"])
    assert found.share(0, 0, case["mode"]) == pytest.approx(case["share"], abs=1e-6)


@pytest.mark.parametrize("case", SEARCH["search_lo_hi_share_steps"], ids=str)
def test_golden_search(case):
    rule = BAPO(target=case["rho0"], order=case["order"], mode=case["mode"])
    report = rule.fit(bapo_tokens()).report
    got = [report[key] for key in ("low", "high", "share", "steps")]
    assert got == pytest.approx(case["result"], abs=1e-6)


def test_one_sided_steps():
    ratio = [0.7, 1.1, 1.6]
    worst = BAPO().fit(tokens(ratio, [-1.0] * 3)).report
    assert (worst["low"], worst["high"], worst["steps"]) == pytest.approx((0.9, 3.0, 51))
    best = BAPO().fit(tokens(ratio, [1.0] * 3)).report
    assert (best["low"], best["high"], best["steps"], best["share"]) == (0.6, 1.2, 0, 1)


@pytest.mark.parametrize("weight", [[1.0, -3.0], [0.0, 0.0]])
def test_on_policy_or_without_advantage_there_is_no_search(weight):
    report = BAPO(target=1.0).fit(tokens([1.0, 1.0], weight)).report
    assert (report["low"], report["high"], report["searched"]) == (0.6, 1.2, False)


def test_bounds_of_no_width_are_a_fixed_clip_and_target_zero_never_searches():
    fixed = BAPO(low_start=0.8, low_max=0.8, high_start=1.2, high_max=1.2, dual=None)
    assert fixed.fit(bapo_tokens()).rule == Within(0.8, 1.2)
    assert BAPO(target=0).fit(bapo_tokens()).report["steps"] == 0


def test_dropped_tokens_and_the_scale_do_not_matter():
    given_ = bapo_tokens()
    extra = tokens([2.9, 0.61], [0.0, 0.0], scale=[0.0, 0.0])
    joined = TokenInputs(
        *(
            torch.cat([getattr(given_, name), getattr(extra, name)])
            for name in ("logp", "old_logp", "weight", "scale", "segment")
        )
    )
    factor = torch.arange(1, 13, dtype=torch.float64)
    scaled = tokens((given_.logp + 1).exp(), given_.weight * factor, scale=factor)
    want = BAPO().fit(given_).report
    assert BAPO().fit(joined).report == want
    assert BAPO().fit(scaled).report == pytest.approx(want)


@given(
    st.lists(st.tuples(st.floats(0.1, 4), st.sampled_from([-2.0, -1.0, 1.0, 3.0])), min_size=1),
    st.sampled_from(["active", "surrogate"]),
)
def test_shares_are_the_direct_sums_and_monotone(cases, mode):
    ratio = torch.tensor([r for r, _ in cases], dtype=torch.float64)
    weight = torch.tensor([w for _, w in cases], dtype=torch.float64)
    lows, highs = candidates(0.6, 0.9, 0.1), candidates(1.2, 3.0, 0.6)
    found = Contribution.of(ratio, weight, lows, highs)
    up = weight > 0
    for i, low in enumerate(lows):
        for j, high in enumerate(highs):
            if mode == "active":
                p = (ratio * weight)[up & (ratio <= high)].sum()
                n = -(ratio * weight)[~up & (ratio >= low)].sum()
            else:
                p = (ratio.clamp(max=high) * weight)[up].sum()
                n = -(ratio.clamp(min=low) * weight)[~up].sum()
            want = float(p / (p + n)) if n > 0 else 1.0
            assert found.share(i, j, mode) == pytest.approx(want)
    by_high = [found.share(0, j, mode) for j in range(len(highs))]
    assert by_high == sorted(by_high)
    by_low = [found.share(i, 0, mode) for i in range(len(lows))]
    rising = mode == "active"
    assert all(
        (b >= a - 1e-12) if rising else (b <= a + 1e-12) for a, b in itertools.pairwise(by_low)
    )


@pytest.mark.parametrize(
    "settings",
    [{"low_start": 0.95}, {"high_start": 4.0}, {"low_step": 0.0}, {"target": 2.0}, {"dual": 0.5}],
)
def test_bad_bapo_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        BAPO(**settings)


def test_bad_epsilon_is_refused():
    with pytest.raises(ValueError, match="ratio"):
        PPO(eps_low=2.0)


# KL


def test_kl_values_and_gradients():
    logp = torch.tensor([-1.0, -3.0], dtype=torch.float64, requires_grad=True)
    given_ = TokenInputs(
        logp,
        logp.detach(),
        torch.zeros(2, dtype=torch.float64),
        torch.tensor([1.0, 0.5], dtype=torch.float64),
        torch.zeros(2, dtype=torch.int64),
        ref_logp=torch.tensor([-1.5, -2.0], dtype=torch.float64),
    )
    assert float(K3(beta=1.0)(given_)[0].detach()) == pytest.approx(
        SURROGATE["k3_lpnew_-1_lpref_-1.5"], abs=1e-6
    )
    d = torch.tensor([-0.5, 1.0], dtype=torch.float64)
    for term, slope in ((K1, torch.ones(2)), (K2, -d), (K3, 1 - d.exp())):
        (got,) = torch.autograd.grad(term(beta=2.0)(given_).sum(), logp)
        assert got.tolist() == pytest.approx((2 * given_.scale * slope).tolist())
    assert not bool(NoKL()(given_).any())


@given(
    st.lists(st.one_of(st.floats(0, 5), st.sampled_from([0.6, 0.62, 0.9, 1.2, 3.0])), min_size=1),
    st.sampled_from([(0.6, 0.9, 0.02), (1.2, 3.0, 0.05), (0.5, 0.93, 0.1), (1.0, 1.0, 0.1)]),
    st.booleans(),
)
def test_fast_bins_are_bucketize(values, bounds, right):
    x = torch.tensor(values, dtype=torch.float64)
    edges = torch.tensor(candidates(*bounds), dtype=torch.float64)
    want = torch.bucketize(x, edges, right=right)
    assert _bins(x, edges, right=right).tolist() == want.tolist()


@pytest.mark.parametrize("rule", every_rule(), ids=lambda rule: type(rule).__name__)
def test_rules_compile_into_one_graph(rule):
    given_ = tokens([1.5, 0.7, 1.0], [1.0, -1.0, 0.5], segment=[0, 0, 1], grad=True)
    used = rule.fit(given_).rule if rule.needs_fit else rule

    def loss(logp: torch.Tensor) -> torch.Tensor:
        each = TokenInputs(logp, given_.old_logp, given_.weight, given_.scale, given_.segment)
        return used(each).sum()

    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert float(compiled(given_.logp).detach()) == pytest.approx(float(loss(given_.logp).detach()))
