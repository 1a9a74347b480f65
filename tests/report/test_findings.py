"""A finding where there is reason for one, silence where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from rlvr.report.findings import findings
from rlvr.report.headline import tiles
from rlvr.report.origins import Setting
from rlvr.report.read import Metrics
from rlvr.report.responses import survey

from .synthetic import eval_row, response, step_row

TWENTY = Setting("", "steps", "20", "flag")


def run(**series: Any) -> Metrics:
    """Twenty steps; a keyword is a function of the step's number, or a value."""
    return Metrics(
        [
            step_row(n, **{key: v(n) if callable(v) else v for key, v in series.items()})
            for n in range(1, 21)
        ],
        [],
    )


def test_a_healthy_run_has_none() -> None:
    assert findings(run(), survey([response(1)], 10), [TWENTY]) == []


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (run(broken_verdicts=lambda n: 3 * (n == 4)), "3 verdicts broken"),
        (run(informative_groups=lambda n: 0.5 * (n < 10)), "in the last 11 steps, with 40%"),
        (run(correct_rate=lambda n: 0.5 - 0.02 * n), "fell from 47.0% to 11.0%"),
        (run(informative_groups=0.1), "Only 10% of the groups"),
        (run(entropy=lambda n: 1.0 / n**2), "Entropy collapsed from 0.625 to 0.00"),
        (run(clip_fraction=0.5), "50% of the trained tokens were clipped"),
        (run(grad_norm=lambda n: 50.0 if n == 7 else 1.0), "in 1 step: 7."),
        (run(sampler_gap=0.2), "differ by 0.2 a token"),
        (run(truncated_rate=0.25), "25% of the latest responses"),
        (Metrics([step_row(3)], []), "at step 3 of 20"),
        (Metrics(run().steps, [], unreadable=1), "1 line of metrics.jsonl"),
        (
            Metrics(run().steps, [eval_row(10, 0.8), eval_row(20, 0.5)]),
            "fell from 80.0% at step 10 to 50.0%",
        ),
        (Metrics(run().steps, [eval_row(20, 0.5, unjudged=2)]), "2 held-out problems of"),
    ],
)
def test_finding(metrics: Metrics, words: str) -> None:
    (found,) = findings(metrics, survey([], 10), [TWENTY])
    assert words in found


@pytest.mark.parametrize(
    "metrics",
    [
        run(entropy=lambda n: 1.0 / n**2, correct_rate=0.99),  # solved: nothing left to explore
        Metrics(run().steps, [eval_row(10, 0.52), eval_row(20, 0.5)]),  # within the noise
        run(grad_norm=None, clip_fraction=None, entropy=None, informative_groups=None),
    ],
)
def test_no_finding(metrics: Metrics) -> None:
    assert findings(metrics, survey([], 10), [TWENTY]) == []


def test_broken_verdicts_say_why() -> None:
    rows = [response(1, status="broken", reward=None, detail="no database")] * 2 + [response(1)] * 2
    (found,) = findings(run(), survey(rows, 10), [])
    assert "2 verdicts broken (50.00% of responses)" in found
    assert found.endswith("Most often: no database")


def test_truncation_is_counted_where_it_was_not_measured() -> None:
    rows = [response(1, finish="length"), response(1)]
    (found,) = findings(run(), survey(rows, 10), [])
    assert found.startswith("50% of the latest responses")


def test_tiles_of_a_run() -> None:
    metrics = Metrics(run().steps, [eval_row(0, 0.1), eval_row(10, 0.9), eval_row(20, 0.8)])
    shown = {tile.label: (tile.value, tile.note) for tile in tiles(metrics, [TWENTY])}
    assert shown == {
        "Held-out accuracy: arithmetic, test": (
            "10.0% ± 3.9% → 80.0% ± 3.9%",
            "step 0 → 20; greedy 10.0% → 80.0%; best 90.0% at step 10",
        ),
        "Steps": ("20", "of 20"),
        "Reward, last step": ("0.4", "0.4 at step 1"),
        "Training time": ("40 s", ""),
        "Tokens sampled": ("20k", "500 a second"),
        "Tokens trained on": ("14k", "70% of those sampled"),
    }


def test_tiles_of_an_evaluation_alone() -> None:
    (tile,) = tiles(Metrics([], [eval_row(0, 1.0, stderr=0.0, problems=100)]), [])
    assert tile.value == "100% (97% to 100%)"
