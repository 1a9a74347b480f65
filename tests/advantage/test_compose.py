"""Which stages go together: every pair of the methods' table, and the presets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rlvr import assemble, config, registry
from rlvr.advantage.accounting import effective, waste
from rlvr.advantage.aggregate.token import TokenMean
from rlvr.advantage.compose import PRESETS, compose, constants
from rlvr.advantage.filters.dapo import Dynamic
from rlvr.advantage.grpo import GRPO
from rlvr.advantage.select.all import All
from rlvr.advantage.select.d3s import D3S
from rlvr.advantage.weigh import weigh
from rlvr.errors import UserError
from rlvr.lab.stages import STAGES, choose

from .steps import step  # noqa: TID251 (our own neighbour)

DEFAULTS = {**STAGES}


def composed(defaults: dict[str, str] | None = None, **names: str):
    flags = {stage: {"name": name} for stage, name in names.items()}
    return compose(config.resolve({**DEFAULTS, **(defaults or {})}, {}, flags=flags).stages)


@pytest.mark.parametrize(
    "names",
    [
        {"advantage": "drpo", "clip": "bapo"},
        {"advantage": "drpo", "clip": "dapo"},
        {"advantage": "riskpo", "filter": "dapo"},
    ],
)
def test_contradictions_name_both_sides_and_the_reason(names):
    with pytest.raises(UserError) as error:
        composed(**names)
    for name in names.values():
        assert name in str(error.value)
    assert ": " in str(error.value)


def test_defaults_give_way():
    assert composed({"filter": "dapo"}, advantage="riskpo").derived == {"filter": {"name": "none"}}
    derived = composed({"clip": "dapo"}, advantage="drpo").derived
    assert derived["clip"]["name"] == "loglik"
    assert derived["aggregate"] == {"name": "prompt_sum"}
    assert composed({"advantage": "riskpo"}, filter="dapo").derived == {
        "advantage": {"name": "grpo"}
    }


def test_a_run_centres_riskpo_and_the_laboratory_does_not():
    def baseline(**settings: str) -> config.Value:
        flags = {"advantage": {"name": "riskpo", **settings}}
        return assemble.resolve({}, flags).resolved.stages["advantage"].settings["baseline"]

    assert baseline() == config.Value("batch_mean", "derived")
    assert baseline(baseline="natural") == config.Value("natural", "flag")
    assert choose({"advantage": {"name": "riskpo"}})["advantage"].baseline == "natural"


def test_drpo_hands_its_hinge_to_the_clip_rule():
    stages = choose({"advantage": {"name": "drpo", "delta": "0.5", "beta": "7"}})
    assert (stages["clip"].delta, stages["clip"].beta) == (0.5, 7)
    assert stages.resolved.stages["clip"].origin == "derived"
    assert stages["advantage"].clip_rule()["name"] == "loglik"
    chosen = choose({"advantage": {"name": "drpo"}, "clip": {"name": "ppo"}})
    assert type(chosen["clip"]).__name__ == "PPO"
    assert len(chosen.warnings) == 1


def test_drpo_with_d3s_selects_inside_prompts_unless_told_otherwise():
    flags = {"advantage": {"name": "drpo"}, "select": {"name": "d3s"}}
    select = choose(flags)["select"]
    assert (select.mode, select.tokens, select.needs_entropy) == ("intra", 1.0, False)
    flags["select"]["mode"] = "cross"
    assert choose(flags)["select"].mode == "cross"


@pytest.mark.parametrize(
    ("stages", "answer"),
    [
        ({"advantage": "bnpo", "budget": "knapsack"}, {"advantage": {"correct_noise": "true"}}),
        ({"advantage": "riskpo", "clip": "bapo"}, {"advantage": {"baseline": "batch_mean"}}),
        ({"select": "d3s", "filter": "dapo"}, {"select": {"mode": "intra"}}),
    ],
)
def test_a_condition_that_is_met_says_so(stages, answer):
    flags = {stage: {"name": name} for stage, name in stages.items()}
    (asked,) = choose(flags).warnings
    assert "so it is set here" not in asked
    (key, value) = next((k, v) for tree in answer.values() for k, v in tree.items())
    assert f".{key} {value}" in asked  # the line names the very setting
    (told,) = choose(
        {stage: {**tree, **answer.get(stage, {})} for stage, tree in flags.items()}
    ).warnings
    assert told == f"{asked}; so it is set here"


def test_what_another_choice_sets_counts_unless_the_user_said_otherwise():
    flags = {"advantage": {"name": "drpo"}, "select": {"name": "d3s"}}
    assert choose(flags).warnings[0].endswith("so it is set here")
    flags["select"]["mode"] = "cross"
    assert not choose(flags).warnings[0].endswith("so it is set here")


def test_every_other_pair_is_legal():
    silent = 0
    for advantage in registry.names("advantage"):
        for clip in registry.names("clip"):
            for other in ({}, {"select": "d3s"}, {"budget": "knapsack"}, {"filter": "dapo"}):
                names = {"advantage": advantage, "clip": clip, **other}
                refused = (advantage == "drpo" and clip in ("bapo", "dapo")) or (
                    advantage == "riskpo" and other == {"filter": "dapo"}
                )
                if refused:
                    with pytest.raises(UserError):
                        composed(**names)
                else:
                    silent += not composed(**names).warnings
    assert silent > 60


@pytest.mark.parametrize("name", PRESETS)
def test_presets_resolve_without_contradiction(name):
    stages = choose({}, PRESETS[name])
    for stage, settings in PRESETS[name].items():
        assert stages.resolved.stages[stage].name == settings["name"]


def test_constants_go_to_the_stages_that_have_one():
    names = {"advantage": "drpo", "aggregate": "constant", "filter": "dapo", "clip": "ppo"}
    derived = constants(names, 100)
    assert {stage: tree["max_tokens"] for stage, tree in derived.items()} == {
        "advantage": 100,
        "aggregate": 100,
        "filter": 100,
    }
    flags: dict[str, Any] = {stage: {"name": name} for stage, name in names.items()}
    flags["clip"] = {"name": "loglik"}
    resolved = config.resolve(STAGES, {}, flags=flags, derived=derived)
    assert resolved.stages["aggregate"].build().max_tokens == 100
    assert constants({"advantage": "grpo", "aggregate": "token"}, 9) == {}


def test_every_built_in_is_a_frozen_dataclass_with_a_summary():
    for stage in (*STAGES, "kl"):
        for name in registry.names(stage):
            plugin = registry.load(stage, name)
            assert dataclasses.is_dataclass(plugin.target), name
            assert plugin.target.__dataclass_params__.frozen, name
            assert 20 < len(plugin.summary) <= 96, name


def test_tokens_are_accounted_for_once():
    scores = step(
        [1, 0, 0, 0],
        [1, 1],
        [0, 0],
        [1],
        [None, 1, 0],
        lengths=[3, 1, 2, 2, 4, 4, 5, 5, 6, 7, 1, 1],
    )
    keep = Dynamic()(scores)
    weights = weigh(scores, GRPO(), D3S(samples=0.5, tokens=1), TokenMean(), keep=keep)
    counts = waste(scores, weights)
    causes = [counts[key] for key in counts if key not in ("sampled", "per_informative")]
    assert sum(causes) == counts["sampled"] == 41
    assert (counts["broken"], counts["single"]) == (7, 6)
    assert (counts["all_right"], counts["all_wrong"]) == (8, 10)
    assert counts["per_informative"] == pytest.approx(41 / float(counts["trained"] or 0))


def test_effective_sample_size():
    scores = step([1, 0, 1, 0], lengths=[1] * 4)
    shares = effective(weigh(scores, GRPO(), All(), TokenMean()), scores)
    assert shares["effective_responses"] == pytest.approx(4)
    assert shares["kept_share"] == 1
    lone = step([1] + [0] * 7, lengths=[1] * 8)
    assert effective(weigh(lone, GRPO(), All(), TokenMean()), lone)[
        "effective_responses"
    ] == pytest.approx(3.5)
