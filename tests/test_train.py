"""`rlvr train` as a user runs it: in a process of its own, killed for real."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rlvr import checkpoint
from rlvr.run import RunDirectory

SMALL = ["--problems", "4", "--responses", "4", "--eval.problems", "4", "--eval.samples", "2"]
SMALL += ["--eval.every", "4", "--checkpoint.every", "2", "--workers", "1"]
REQUIRED = """step reward_mean correct_rate informative_groups entropy kl clip_fraction grad_norm
response_tokens_mean broken_verdicts tokens_trained tokens_sampled seconds seconds_sample seconds_verify
seconds_learn seconds_sync policy_version learning_rate""".split()
NEVER_NULL = (
    "step reward_mean correct_rate tokens_trained tokens_sampled seconds policy_version".split()
)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rlvr", "train", *SMALL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(out: Path, *arguments: str, code: int = 0) -> str:
    process = start("--out", str(out), *arguments)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == code, stderr[-3000:]
    return stdout + stderr


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def timeless(out: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.startswith("seconds")}
        for row in metrics(out)
    ]


def rollouts(out: Path) -> list[dict[str, Any]]:
    with (out / "rollouts.jsonl.zst").open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return [json.loads(line) for line in text.decode().splitlines()]


def weights(out: Path, step: int) -> str:
    file = out / "checkpoints" / f"step-{step}" / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert "report" in train(out, "--steps", "6")
    return out


def test_the_run_directory_is_what_the_contract_says(finished: Path) -> None:
    rows = metrics(finished)
    steps = [row for row in rows if row["kind"] == "step"]
    evaluations = [row for row in rows if row["kind"] == "eval"]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in evaluations] == [0, 4, 6]
    for row in steps:
        assert set(REQUIRED) <= set(row)
        assert all(row[key] is not None for key in NEVER_NULL)
    for row in evaluations:
        assert 0 <= row["accuracy"] <= 1
        assert row["accuracy"] == row["pass@1"]
        assert {"task", "split", "accuracy_greedy", "samples", "stderr"} <= set(row)
    assert (finished / "report.html").stat().st_size > 1000
    assert "steps = 6  # flag" in (finished / "config.toml").read_text()
    rows = rollouts(finished)
    assert len(rows) == 6 * 16
    for key in (
        "step",
        "problem",
        "text",
        "status",
        "reward",
        "advantage",
        "policy_version",
        "tokens",
    ):
        assert key in rows[0]
    assert [row["policy_version"] for row in rows] == [row["step"] - 1 for row in rows]


def test_the_same_seed_gives_the_same_run(finished: Path, tmp_path: Path) -> None:
    train(tmp_path / "again", "--steps", "6")
    assert timeless(tmp_path / "again") == timeless(finished)
    assert weights(tmp_path / "again", 6) == weights(finished, 6)
    train(tmp_path / "other", "--steps", "6", "--seed", "1")
    assert weights(tmp_path / "other", 6) != weights(finished, 6)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 1, 3, 5])
def test_killed_and_resumed_ends_bit_equal(finished: Path, tmp_path: Path, moment: int) -> None:
    out = tmp_path / "killed"
    process = start("--out", str(out), "--steps", "6")
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        done = (
            (out / "metrics.jsonl").read_text().count('"kind": "step"')
            if (out / "metrics.jsonl").exists()
            else -1
        )
        if done >= moment:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate()
    train(out, "--steps", "6", "--resume")
    assert timeless(out) == timeless(finished)
    assert weights(out, 6) == weights(finished, 6)
    untimed = [{k: v for k, v in row.items() if k != "seconds"} for row in rollouts(out)]
    assert untimed == [
        {k: v for k, v in row.items() if k != "seconds"} for row in rollouts(finished)
    ]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(finished, out)
    file = out / "checkpoints" / "step-6" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said = train(out, "--resume")
    assert "step-6 is damaged" in said
    assert timeless(out) == timeless(finished)
    assert weights(out, 6) == weights(finished, 6)


def test_any_truncated_file_is_found_out(finished: Path, tmp_path: Path) -> None:
    whole = finished / "checkpoints" / "step-6"
    assert checkpoint.damage(whole) is None
    names = sorted(path.name for path in whole.iterdir())
    assert {"model.safetensors", "optimizer.safetensors", "tokenizer.json"} <= set(names)
    for name in names:
        copy = tmp_path / name
        shutil.copytree(whole, copy)
        file = copy / name
        file.write_bytes(file.read_bytes()[:-1])
        assert checkpoint.damage(copy), name


def test_a_full_disk_is_one_line_and_no_harm(finished: Path, tmp_path: Path) -> None:
    """A file may not grow beyond 3 MB, so the weights cannot be written and everything else can."""
    out = tmp_path / "full"
    limited = subprocess.run(
        [sys.executable, "-m", "rlvr", "train", *SMALL, "--out", str(out), "--steps", "6"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000)),
    )
    assert limited.returncode == 2, limited.stderr
    assert "Traceback" not in limited.stderr
    assert "cannot be written" in limited.stderr.splitlines()[-1]
    assert [*(out / "checkpoints").iterdir()] == []
    train(out, "--steps", "6", "--resume")
    assert timeless(out) == timeless(finished)
    assert weights(out, 6) == weights(finished, 6)


def test_one_process_a_run_directory(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    shutil.copytree(finished, out)
    with RunDirectory(out, resume=True).held():
        said = train(out, "--resume", "--steps", "8", code=2)
    assert said.strip().splitlines() == [f"rlvr: --out {out}: another process is training there"]
    assert timeless(out) == timeless(finished)
    assert (out / "config.toml").read_bytes() == (finished / "config.toml").read_bytes()


def test_sigterm_saves_and_exits_143(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = start("--out", str(out), "--steps", "500")
    while (
        not (out / "metrics.jsonl").exists()
        or '"step": 3,' not in (out / "metrics.jsonl").read_text()
    ):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    last = [row for row in metrics(out) if row["kind"] == "step"][-1]["step"]
    assert (out / "checkpoints" / f"step-{last}" / "manifest.json").exists()
    assert (out / "report.html").exists()


def test_a_checkpoint_is_a_model_folder(finished: Path, tmp_path: Path) -> None:
    folder = finished / "checkpoints" / "step-6"
    assert "pass@1" in (folder / "README.md").read_text()
    output = tmp_path / "numbers.json"
    flags = f"--model {folder} --task arithmetic --samples 2 --k 1,2 --limit 4 --output {output}"
    done = subprocess.run(
        [sys.executable, "-m", "rlvr", "eval", *flags.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads(output.read_text())
    assert numbers["pass@1"] == numbers["accuracy"] <= numbers["pass@2"]
    assert (numbers["samples"], numbers["problems"]) == (8, 4)


def test_broken_verdicts_stop_the_run_with_code_3(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("def judge(response, reference=None, **_):\n    raise RuntimeError('no')\n")
    said = train(tmp_path / "out", "--steps", "3", "--verifier", f"{plugin}:judge", code=3)
    assert "broken" in said


def test_lora_is_saved_as_an_adapter_and_resumes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    lora = ["--model.lora_rank", "4", "--eval.problems", "0", "--checkpoint.merged"]
    train(whole, "--steps", "4", *lora)
    assert (whole / "checkpoints" / "step-4" / "adapter_model.safetensors").exists()
    assert (whole / "merged" / "model.safetensors").exists()
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "step-4")
    train(cut, "--steps", "4", *lora, "--resume")
    assert timeless(cut) == timeless(whole)
