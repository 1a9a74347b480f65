"""Sampler vllm_server with a real vLLM on loopback: synced, killed, restarted."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr.batch import rows_of
from rlvr.errors import UserError
from rlvr.learn import score
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import Model
from rlvr.prompts import encode
from rlvr.samplers.server_engine import VllmServerEngine
from rlvr.samplers.vllm_server import VllmServer
from rlvr.sync import Sync, sentences
from rlvr.tasks.arithmetic import Arithmetic
from rlvr.types import Answer, Request
from tests.samplers.conftest import KEY, Served

pytest.importorskip("vllm", reason="vLLM is not installed here")
pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

Opener = Callable[..., tuple[Policy, VllmServerEngine, Sync]]


@pytest.fixture
def opened(served: Served) -> Iterator[Opener]:
    """A policy, an engine of the server, and the sync between the two."""
    engines: list[VllmServerEngine] = []

    def open_engine(model: str = "demo", **settings: Any) -> tuple[Policy, VllmServerEngine, Sync]:
        policy = Policy(Model(model), Optimizer(), steps=1)
        given = {"url": served.url, "key": f"env:{KEY}", "max_tokens": 32, **settings}
        engine = VllmServer(**given).open(policy.base, policy.tokenizer)
        engines.append(engine)
        problems = Arithmetic().problems("train")
        sync = Sync(
            policy, engine, sentences(problems, lambda each: encode(policy.tokenizer, each))
        )
        return policy, engine, sync

    yield open_engine
    for engine in engines:
        engine.close()


def requests(policy: Policy, count: int = 8, responses: int = 4) -> list[Request]:
    problems = Arithmetic().problems("test")
    return [
        Request(problems[n], encode(policy.tokenizer, problems[n]), responses) for n in range(count)
    ]


def learn(policy: Policy, step: int) -> None:
    """Move every weight, as an optimiser step does."""
    noise = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for each in policy.model.parameters():
            each.add_(0.01 * torch.randn(each.shape, generator=noise))


def gap(policy: Policy, answers: list[Answer]) -> float:
    """Largest difference between the engine's log-probabilities and the policy's own."""
    rollouts = [each.rollout for each in answers]
    theirs = torch.cat([each.logprobs for each in rollouts])
    zeros = torch.zeros_like(theirs)
    mine, _ = score(policy, rows_of(rollouts, zeros, zeros), budget=8192, temperature=1.0)
    return float((mine - theirs).abs().max())


def test_after_every_update_it_answers_with_the_policys_weights(opened: Opener) -> None:
    policy, engine, sync = opened()
    for version in range(4):
        sync(version)
        assert sync.gap is not None
        assert sync.gap < 1e-4
        answers = list(engine.stream(requests(policy), seed=version))
        assert {each.rollout.version for each in answers} == {version}
        assert gap(policy, answers) < 1e-4
        learn(policy, version)
    assert gap(policy, answers) > 1e-2  # the last answers are not those of weights yet to be sent


def test_a_wrong_key_is_one_line(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "not-the-key")
    with pytest.raises(UserError, match=r"refuses the key \(401\)") as caught:
        opened()
    assert "not-the-key" not in str(caught.value)


def test_another_model_is_one_line(served: Served, opened: Opener, tmp_path: Path) -> None:
    policy = Policy(Model(), Optimizer(), steps=1)
    policy.base.resize_token_embeddings(120)
    policy.save(tmp_path)
    with pytest.raises(UserError, match="another model: vocab_size is 99 there and 120 here"):
        opened(str(tmp_path))


def test_a_server_killed_in_a_step_is_waited_for_and_the_step_completed(
    served: Served, opened: Opener
) -> None:
    policy, engine, sync = opened(slots=4)
    sync(0)
    learn(policy, 0)
    sync(1)
    asked = requests(policy, count=24)
    undisturbed = list(engine.stream(asked, seed=3))

    def restart() -> None:
        served.kill()
        served.start()

    answers = []
    stream = engine.stream(asked, seed=3)
    killer = threading.Thread(target=restart)
    for answer in stream:
        answers.append(answer)
        if len(answers) == 10:
            killer.start()
    killer.join()
    assert len({(each.request.problem.id, each.index) for each in answers}) == 96
    assert {each.rollout.version for each in answers} == {1}
    assert gap(policy, answers) < 1e-4  # the weights it had when it started are another matter
    assert texts(answers) == texts(undisturbed)
    learn(policy, 1)
    sync(2)
    assert gap(policy, list(engine.stream(asked, seed=4))) < 1e-4


def texts(answers: list[Answer]) -> dict[tuple[str, int], str]:
    return {(each.request.problem.id, each.index): each.rollout.text for each in answers}


def train(served: Served, out: Path, *more: str) -> tuple[int, str]:
    words = ["train", "--out", str(out), "--steps", "3", "--problems", "4", "--responses", "4"]
    words += ["--eval.problems", "4", "--eval.samples", "2", "--eval.every", "0", "--workers", "1"]
    words += ["--sampler", "vllm_server", "--sampler.url", served.url]
    words += ["--sampler.key", f"env:{KEY}", *more]
    done = subprocess.run(
        [sys.executable, "-m", "rlvr", *words], capture_output=True, text=True, timeout=400
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_run_trains(served: Served, tmp_path: Path, staleness: int) -> None:
    code, said = train(served, tmp_path / "run", "--staleness", str(staleness))
    assert code == 0, said[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "step"]
    assert [row["step"] for row in steps] == [1, 2, 3]
    assert all(row["sampler_gap"] < 1e-4 for row in steps[: 1 if staleness else 3])
    assert [row["staleness_max"] for row in steps] == [0, staleness, staleness]
    assert (tmp_path / "run/checkpoints/step-3/model.safetensors").exists()
    everything = said + (tmp_path / "run/config.toml").read_text()
    assert f"env:{KEY}" in everything
    assert served.secret not in everything


def test_it_measures_a_model(served: Served, tmp_path: Path) -> None:
    words = ["eval", "--model", "demo", "--task", "arithmetic", "--limit", "8", "--samples", "4"]
    words += ["--sampler", "vllm_server", "--sampler.url", served.url]
    words += ["--sampler.key", f"env:{KEY}", "--output", str(tmp_path / "eval.json")]
    done = subprocess.run(
        [sys.executable, "-m", "rlvr", *words], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0 < json.loads((tmp_path / "eval.json").read_text())["accuracy"] <= 1


def test_a_server_that_stays_dead_stops_the_run_and_leaves_the_checkpoint(
    served: Served, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ("--steps", "200", "--checkpoint.every", "2", "--sampler.patience", "10")

    def kill_at_step_3() -> None:
        metrics = out / "metrics.jsonl"
        while not ended.wait(0.05):
            if metrics.exists() and '"step": 3' in metrics.read_text():
                served.kill()
                return

    ended = threading.Event()
    killer = threading.Thread(target=kill_at_step_3)
    killer.start()
    code, said = train(served, out, *words)
    ended.set()
    killer.join()
    assert code == 3, said[-3000:]
    assert "rlvr: stopped: the server at" in said
    saved = sorted((out / "checkpoints").glob("step-*"))
    assert saved
    served.start()
    served.wait()
    code, said = train(served, out, "--steps", "8", "--resume")
    assert code == 0, said[-3000:]
