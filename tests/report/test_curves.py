"""The curves of a page, as data."""

from __future__ import annotations

from typing import Any

import pytest

from rlvr.report import curves as curves_module
from rlvr.report.curves import Curves, curves
from rlvr.report.read import Metrics
from rlvr.report.responses import survey

from .synthetic import eval_row, response, step_row


def panel(drawn: Curves, title: str) -> dict[str, Any]:
    (found,) = [each for each in drawn.panels if each["title"] == title]
    return found


def test_curves_of_the_contract_are_there() -> None:
    metrics = Metrics([step_row(1), step_row(2, kl=0.1)], [eval_row(0, 0.1), eval_row(2, 0.3)])
    drawn = curves(metrics, survey([response(1), response(2)], 10).ended)
    assert [each["title"] for each in drawn.panels] == [
        "Accuracy: arithmetic, test",
        "pass@k: arithmetic, test",
        "Reward",
        "How responses ended",
        "Informative groups",
        "Entropy",
        "Response length",
        "Clip fraction",
        "Gradient norm",
        "KL",
        "Learning rate",
        "Broken verdicts",
        "Tokens a step",
        "Time by stage",
    ]
    assert drawn.missing == ["Truncated responses", "Sampler gap"]
    assert panel(drawn, "KL")["series"][0]["y"] == [None, 0.1]


def test_accuracy_has_its_interval_and_greedy_beside_it() -> None:
    evals = [eval_row(0, 0.0, stderr=0.02), eval_row(2, 0.3, stderr=None, accuracy_greedy=None)]
    drawn = curves(Metrics([step_row(1), step_row(2)], evals), [])
    sampled, greedy = panel(drawn, "Accuracy: arithmetic, test")["series"]
    assert sampled["y"] == [0.0, 0.3]
    assert sampled["low"] == [0.0, None]
    assert sampled["high"] == [pytest.approx(0.0392), None]
    assert greedy["y"] == [0.0, None]
    assert drawn.axes[sampled["axis"]] == {
        "step": [0, 2],
        "seconds": [0, 4.0],
        "tokens": [0, 2000],
    }


def test_every_task_has_its_own_panel() -> None:
    evals = [eval_row(0, 0.1), eval_row(0, 0.2, task="gsm8k")]
    titles = [each["title"] for each in curves(Metrics([], evals), []).panels]
    assert [title for title in titles if title.startswith("Accuracy")] == [
        "Accuracy: arithmetic, test",
        "Accuracy: gsm8k, test",
    ]


def test_time_that_no_stage_accounts_for_is_other() -> None:
    drawn = curves(Metrics([step_row(1)], []), [])
    series = {each["name"]: each["y"] for each in panel(drawn, "Time by stage")["series"]}
    assert series == {"sample": [0.5], "verify": [0.25], "learn": [1.0], "other": [0.25]}


def test_shares_of_endings_add_up() -> None:
    rows = [response(1), response(1, status="wrong"), response(2, status="odd one")]
    drawn = curves(Metrics([step_row(1), step_row(2)], []), survey(rows, 10).ended)
    series = {each["name"]: each["y"] for each in panel(drawn, "How responses ended")["series"]}
    assert series == {"correct": [0.5, 0.0], "wrong": [0.5, 0.0], "odd one": [0.0, 1.0]}


def test_other_numeric_keys_appear_by_prefix_and_constants_by_name() -> None:
    steps = [
        step_row(n, clip_low=0.1 * n, advantage_mu=n, same=7, note="text", flag=True)
        for n in (1, 2)
    ]
    drawn = curves(Metrics(steps, []), [])
    extras = {each["title"]: each["group"] for each in drawn.panels if "group" in each}
    assert extras == {"advantage_mu": "advantage", "clip_low": "clip"}
    assert drawn.constant == {"same": 7.0}


def test_many_steps_are_drawn_as_means_with_their_extremes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curves_module, "POINTS", 2)
    steps = [step_row(n, entropy=e) for n, e in enumerate([1.0, 3.0, None, 5.0, 9.0], start=1)]
    drawn = curves(Metrics(steps, []), [])
    (entropy,) = panel(drawn, "Entropy")["series"]
    assert drawn.axes["steps"]["step"] == [3, 5]
    assert drawn.axes["steps"]["seconds"] == [6.0, 10.0]
    assert (entropy["y"], entropy["low"], entropy["high"]) == ([2.0, 7.0], [1.0, 5.0], [3.0, 9.0])


def test_reward_that_is_correctness_is_drawn_once() -> None:
    (one,) = panel(curves(Metrics([step_row(1)], []), []), "Reward")["series"]
    assert one["name"] == "reward = judged correct"
    two = panel(curves(Metrics([step_row(1, reward_mean=0.9)], []), []), "Reward")["series"]
    assert [each["name"] for each in two] == ["reward", "judged correct"]


def test_nothing_recorded_draws_nothing() -> None:
    assert curves(Metrics([], []), []).panels == []
