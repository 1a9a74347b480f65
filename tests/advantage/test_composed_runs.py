"""Runs of several stages: taken up again bit for bit, their metrics, and explanations that add up."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import rlvr
from rlvr.api import Finished
from rlvr.lab import saved
from rlvr.lab.explanation import explain

pytestmark = pytest.mark.slow

# three problems that come back every step, so that a budget knows them from the second step on
SMALL: dict[str, Any] = {
    "task": {"name": "arithmetic", "levels": [1], "size": 3},
    "sampler": {"name": "transformers", "max_tokens": 28},
    "problems": 3,
    "responses": 8,
    "workers": 1,
    "eval": {"problems": 0},
    "checkpoint": {"every": 2},
}

# what is set, and metrics that tell what the stages did
COMPOSED: dict[str, tuple[dict[str, Any], str]] = {
    "stateful estimator": (
        {"advantage": {"name": "riskpo", "bundle": 2}, "clip": "gspo", "minibatches": 2},
        "advantage_quantiles advantage_exams advantage_leftover",
    ),
    "bounds and fit": (
        {"preset": "stable-offpolicy", "minibatches": 2},
        "advantage_a advantage_b advantage_alpha advantage_beta clip_low clip_high clip_share",
    ),
    "budget and schedule": (
        {"preset": "low-budget"},
        "budget_spent budget_unspent budget_problems_mixed select_kept_responses "
        "select_kept_tokens select_samples_share select_tokens_share",
    ),
    "own loss": (
        {"preset": "efficient-length"},
        "advantage_objective advantage_valid_prompts budget_spent clip_kl clip_hinge",
    ),
    "filter": ({"preset": "baseline"}, "filtered_groups"),
    "centred risk": (
        {"preset": "explore", "minibatches": 2},
        "advantage_quantiles clip_low clip_high clip_share",
    ),
}
ALWAYS = """tokens_per_informative tokens_broken tokens_single tokens_all_right tokens_all_wrong
tokens_dropped tokens_no_advantage tokens_unselected weights_kept_share weights_effective_responses
informative_groups""".split()


@pytest.fixture(scope="module", params=COMPOSED)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Four steps that nothing disturbed, and the metrics that belong to its stages."""
    settings, keys = COMPOSED[request.param]
    out = tmp_path_factory.mktemp("composed") / "run"
    return rlvr.train(out=out, steps=4, **SMALL, **settings), keys.split()


def timeless(run: Finished) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in run.metrics]


def responses(folder: Path) -> list[dict[str, Any]]:
    rows = saved.lines(folder / "rollouts.jsonl.zst")
    return [{k: v for k, v in row.items() if k != "seconds"} for _, row in rows]


def back_at_step_2(run: Finished, folder: Path) -> Path:
    """The run as a kill in its last steps leaves it: files that go on, no checkpoint after step 2."""
    shutil.copytree(run.folder, folder)
    shutil.rmtree(folder / "checkpoints" / "step-4")
    return folder


def test_taken_up_again_it_ends_bit_equal(whole, tmp_path: Path) -> None:
    run, _ = whole
    again = rlvr.train(out=back_at_step_2(run, tmp_path / "again"), resume=True)
    assert timeless(again) == timeless(run)
    assert responses(again.folder) == responses(run.folder)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (again.model / name).read_bytes() == (run.model / name).read_bytes()
    states = [json.loads((each.model / "state.json").read_text()) for each in (again, run)]
    assert states[0]["stages"] == states[1]["stages"]
    assert all("schema" in state for state in states[0]["stages"].values())


def test_metrics_say_what_each_stage_did(whole) -> None:
    run, keys = whole
    steps = run.metrics
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    for row in steps:
        for key in (*ALWAYS, *keys):
            assert key in row, key
        numbers = [each for value in row.values() for each in _flat(value)]
        assert all(math.isfinite(each) for each in numbers)
        fates = "broken single all_right all_wrong dropped no_advantage unselected".split()
        spent = row["tokens_trained"] + sum(row[f"tokens_{fate}"] for fate in fates)
        assert spent == row["tokens_sampled"]
    if "budget_spent" in keys:
        for row in steps:
            shares = {k: v for k, v in row.items() if k.startswith("budget_histogram_")}
            assert sum(shares.values()) == 3
            sampled = sum(int(k.rpartition("_")[2]) * v for k, v in shares.items())
            assert sampled == row["budget_spent"] == row["responses"]
    assert any(row["tokens_trained"] for row in steps)


def _flat(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, float)]


def test_every_response_of_every_step_is_explained_as_recorded(whole) -> None:
    run, _ = whole
    recorded = responses(run.folder)
    for row in recorded[:: max(len(recorded) // 12, 1)]:
        found = explain(run.folder, run.folder / "rollouts.jsonl.zst", row["step"], row["index"])
        assert found.adds_up, row
        assert found.recorded is not None
        product = [each.weight * each.clip_factor for each in found.tokens]
        assert product == pytest.approx([each.coefficient for each in found.tokens])


def test_a_schedule_keeps_the_horizon_it_was_launched_with(tmp_path: Path) -> None:
    out = tmp_path / "run"
    rlvr.train(out=out, steps=3, select="d3s", **SMALL)
    run = rlvr.train(out=out, resume=True, steps=5)
    shares = [row["select_samples_share"] for row in run.metrics]
    assert shares == pytest.approx([0.25, 0.375, 0.5, 0.5, 0.5])
    for row in responses(out)[::9]:
        found = explain(out, out / "rollouts.jsonl.zst", row["step"], row["index"])
        assert found.adds_up, row
        assert found.report["select"]["samples_share"] == pytest.approx(shares[row["step"] - 1])
