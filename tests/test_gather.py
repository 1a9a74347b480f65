"""What a step trains on: batches that wait, groups trained again, long responses continued, stragglers cancelled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard

import rlvr
from rlvr.errors import UserError
from rlvr.samplers.sampler import Limits
from rlvr.stock import Sampled, Stock
from rlvr.types import Finish, Group, Problem, Request, Rollout, Status, Verdict

SMALL: dict[str, Any] = {
    "problems": 3,
    "responses": 4,
    "workers": 1,
    "eval": {"problems": 0},
    "checkpoint": {"every": 2},
    "seed": 3,
}


def run(out: Path, **settings: Any) -> list[dict[str, Any]]:
    """The step objects of a small run, without what a clock says."""
    rows = rlvr.train(out=out, **{**SMALL, **settings}).metrics
    return [
        {key: value for key, value in row.items() if not key.startswith("seconds")}
        for row in rows
        if row["kind"] == "step"
    ]


def responses(out: Path) -> list[dict[str, Any]]:
    with (out / "rollouts.jsonl.zst").open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return [json.loads(line) for line in text.decode().splitlines()]


def weights(out: Path, step: int) -> bytes:
    return (out / "checkpoints" / f"step-{step}" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("staleness", [0, 1, 3])
def test_a_batch_waits_as_many_steps_as_allowed_and_no_more(tmp_path: Path, staleness: int) -> None:
    rows = run(tmp_path / "run", steps=5, staleness=staleness)
    assert [row["staleness_max"] for row in rows] == [min(staleness, n) for n in range(5)]
    for row in responses(tmp_path / "run"):
        assert row["policy_version"] == max(row["step"] - 1 - staleness, 0)


def test_sampling_beside_the_update_gives_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine on other hardware is asked on a thread; what comes out is the same, and as old."""
    import copy
    import threading

    from rlvr.samplers.transformers import Transformers, TransformersEngine

    threads = set()

    class Elsewhere(TransformersEngine):
        elsewhere = True

        def load(self, weights: Any, version: int) -> None:
            self.model.load_state_dict({name: t.clone() for name, t in weights}, strict=False)
            super().load([], version)

        def stream(self, *arguments: Any, **named: Any) -> Any:
            threads.add(threading.current_thread().name.split("_")[0])
            return super().stream(*arguments, **named)

    run(tmp_path / "before", steps=5, staleness=2)
    monkeypatch.setattr(
        Transformers,
        "open",
        lambda self, model, tokenizer: Elsewhere(self, copy.deepcopy(model), tokenizer),
    )
    run(tmp_path / "beside", steps=5, staleness=2)
    assert threads == {"MainThread", "sampling"}
    for row in responses(tmp_path / "beside"):
        assert row["policy_version"] == max(row["step"] - 1 - 2, 0)
    texts = [[row["text"] for row in responses(tmp_path / name)] for name in ("before", "beside")]
    assert texts[0] == texts[1]
    assert weights(tmp_path / "before", 5) == weights(tmp_path / "beside", 5)


def test_what_waits_is_asked_in_the_same_order(tmp_path: Path) -> None:
    """The first batch is the same whatever waits behind it, and so is the first step."""
    fresh, stale = (
        run(tmp_path / str(k), steps=3, staleness=k, checkpoint={"every": 1, "keep": 9})
        for k in (0, 2)
    )
    assert weights(tmp_path / "0", 1) == weights(tmp_path / "2", 1)
    assert {**fresh[0], "staleness_max": 0} == {**stale[0], "staleness_max": 0}
    assert weights(tmp_path / "0", 3) != weights(tmp_path / "2", 3)


LEFTOVERS = {
    "waiting": {"staleness": 2},
    "replayed": {"staleness": 2, "replay": 2},
    "cut": {"staleness": 2, "sampler": {"segment": 12}},
}


@pytest.mark.parametrize("kind", LEFTOVERS)
def test_a_resumed_run_goes_on_with_what_was_left(tmp_path: Path, kind: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = run(whole, steps=6, **LEFTOVERS[kind])
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "step-6")
    assert (cut / "checkpoints" / "step-4" / "stock.json").exists()
    assert run(cut, steps=6, resume=True, **LEFTOVERS[kind]) == expected
    assert weights(cut, 6) == weights(whole, 6)


def test_recent_groups_are_trained_again_until_they_are_too_old(tmp_path: Path) -> None:
    rows = run(tmp_path / "run", steps=5, staleness=2, replay=2)
    assert rows[0]["replayed_groups"] == 0
    assert any(row["replayed_groups"] == 2 for row in rows)
    assert max(row["staleness_max"] for row in rows) <= 2
    again = [row for row in responses(tmp_path / "run") if row["policy_version"] < row["step"] - 1]
    assert len(again) == 4 * sum(row["replayed_groups"] for row in rows)
    assert all(row["responses"] == 12 for row in rows)  # what was sampled is counted once


def test_a_cut_response_is_continued_by_later_versions(tmp_path: Path) -> None:
    """Every token says who wrote it, no response is left behind, none is older than allowed."""
    rows = run(tmp_path / "run", steps=6, staleness=2, sampler={"segment": 12})
    found = responses(tmp_path / "run")
    mixed = [row for row in found if "token_versions" in row]
    assert mixed
    for row in mixed:
        versions = row["token_versions"]
        assert len(versions) == row["tokens"] == len(row["logprobs"])
        assert versions == sorted(versions)
        assert row["policy_version"] == versions[0] >= row["step"] - 1 - 2
        assert versions[0] < versions[-1] < row["step"]
    assert max(row["staleness_max"] for row in rows) <= 2
    # in the first step short responses are through, longer ones are not; at the end all are
    assert len(found) == 6 * 3 * 4
    assert rows[0]["responses"] < 12


def test_the_slowest_are_cancelled_and_their_tokens_counted(tmp_path: Path) -> None:
    rows = run(tmp_path / "run", steps=2, oversample=2.0)
    assert all(row["responses"] == 12 for row in rows)
    assert all(row["tokens_cancelled"] > 0 for row in rows)
    assert all(row["tokens_cancelled"] == 0 for row in run(tmp_path / "plain", steps=1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": {"segment": 12}}, "--staleness 1"),
        ({"replay": 2}, "--staleness 1"),
        ({"staleness": 1, "oversample": 2.0, "sampler": {"segment": 12}}, "drop one of them"),
        ({"correct": "tis", "sampler": {"old_logprobs": "engine"}}, "twice"),
        ({"correct": {"name": "tis", "level": "word"}}, "level is"),
        ({"oversample": 0.5}, "oversample"),
    ],
)
def test_what_cannot_go_together_is_refused(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run(tmp_path / "run", steps=1, **settings)


def test_the_trainers_own_log_probabilities_change_nothing_on_policy(tmp_path: Path) -> None:
    """Same program, same weights: the two differ by rounding, and so do the runs."""
    engine = run(tmp_path / "engine", steps=2)
    trainer = run(tmp_path / "trainer", steps=2, sampler={"old_logprobs": "trainer"})
    assert trainer[0]["mismatch_kl"] == pytest.approx(0, abs=1e-9)
    assert trainer[0]["grad_norm"] == pytest.approx(engine[0]["grad_norm"], rel=1e-4)


def test_stale_responses_show_in_the_mismatch_and_are_corrected(tmp_path: Path) -> None:
    fast: dict[str, Any] = {"optimizer": {"lr": 3e-3, "warmup": 0}}
    rows = run(tmp_path / "run", steps=4, staleness=2, correct={"name": "tis", "cap": 1.5}, **fast)
    assert rows[0]["mismatch_kl"] == pytest.approx(0, abs=1e-9)
    assert rows[0]["correct_mean"] == pytest.approx(1, abs=1e-4)
    assert rows[3]["mismatch_kl"] > 1e-3
    assert 0 < rows[3]["mismatch_extreme"] < 1
    assert rows[3]["correct_mean"] != pytest.approx(1, abs=1e-3)


def test_a_stock_comes_back_as_it_was(tmp_path: Path) -> None:
    def rollout(verdict: Verdict | None, versions: torch.Tensor | None = None) -> Rollout:
        tokens = torch.tensor([4, 5, 6])
        logprobs = torch.tensor([-0.1, -1e-8, -3.25])
        return Rollout((1, 2), tokens, logprobs, "é\n", Finish.LENGTH, 3, verdict, versions)

    problem = Problem("p", [{"role": "user", "content": "?"}], "4", {"cases": [1]}, "train")
    right = Verdict(Status.CORRECT, 1.0, "d", 0.5, "4", {"format": 1.0}, "strong")
    judged = Group(problem, (rollout(right), rollout(Verdict.broken("no"))))
    from rlvr.partial import Begun

    begun = Begun(Request(problem, (1, 2), 1), (rollout(None, torch.tensor([1, 1, 3])),), 1)
    stock = Stock({7: Sampled((judged,), torch.tensor([True]))}, (judged,), (begun,))
    stock.save(tmp_path)
    found = Stock.load(tmp_path)
    assert list(found.waiting) == [7]
    for group in (*found.waiting[7].groups, *found.recent):
        assert group.problem == problem
        for read, written in zip(group.rollouts, judged.rollouts, strict=True):
            assert torch.equal(read.tokens, written.tokens)
            assert torch.equal(read.logprobs, written.logprobs)
            assert (read.verdict, read.text, read.finish, read.version) == (
                written.verdict,
                "é\n",
                Finish.LENGTH,
                3,
            )
    (read_begun,) = found.begun
    assert read_begun.request == begun.request
    assert read_begun.rollouts[0].versions is not None
    assert read_begun.rollouts[0].versions.tolist() == [1, 1, 3]
    assert not (tmp_path / "none").exists()
    Stock().save(tmp_path / "none")  # nothing to write
    assert Stock.load(tmp_path / "none") == Stock()


def test_limits_are_checked() -> None:
    for wrong in ({"segment": -1}, {"old_logprobs": "both"}, {"segment": 3, "stop": ("x",)}):
        with pytest.raises(ValueError):
            Limits(**wrong)  # type: ignore[arg-type]


def test_explain_shows_the_correction_and_adds_up(tmp_path: Path, capsys: Any) -> None:
    """A replayed group's token, stale by a step: advantage x scale x factor is its weight."""
    from rlvr.cli import main

    run(
        tmp_path / "run",
        steps=3,
        staleness=2,
        replay=2,
        correct={"name": "mis", "low": 0.9, "high": 1.1},
        optimizer={"lr": 3e-3, "warmup": 0},
    )
    last = [row for row in responses(tmp_path / "run") if row["step"] == 3]
    stale = next(row for row in last if row["policy_version"] < 2 and row["advantage"])
    capsys.readouterr()
    flags = f"explain {tmp_path / 'run'} --step 3 --response {stale['index']} --json"
    assert main(flags.split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["adds_up"]
    own = torch.tensor(stale["trainer_logprobs"]) - torch.tensor(stale["logprobs"])
    for token, ratio in zip(found["tokens"], own.exp().tolist(), strict=True):
        inside = 0.9 <= ratio <= 1.1
        assert token["factor"] == pytest.approx(ratio if inside else 0.0, abs=1e-4)
        weight = found["advantage"] * token["scale"] * token["factor"]
        assert token["weight"] == pytest.approx(weight, rel=1e-6, abs=1e-12)
    assert {token["factor"] > 0 for token in found["tokens"]} == {True, False}
    assert main(flags.removesuffix("--json").split()) == 0
    assert "correct     mis" in capsys.readouterr().out
