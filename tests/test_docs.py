"""The documents show commands and code that work today."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from rlvr import config, settings
from rlvr.advantage.scores import Scores
from rlvr.cli import COMMANDS, main, split_flags

ROOT = Path(__file__).parents[1]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()
EXAMPLES = re.findall(r"```python\n# file: (\S+) --(\S+) (\S+)\n(.*?)```", PLUGINS, re.DOTALL)


def test_there_is_an_example_of_every_kind() -> None:
    assert {stage for _, stage, _, _ in EXAMPLES} == set(settings.STAGES)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage", "target", "code"), EXAMPLES, ids=lambda v: str(v)[:20])
def test_an_example_trains(name, stage, target, code, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    small = "--steps 2 --problems 4 --responses 4 --eval.problems 0 --workers 1 --out out".split()
    assert main(["train", *small, f"--{stage}", target]) == 0


def test_the_estimator_by_hand_says_what_the_page_says(tmp_path: Path, monkeypatch) -> None:
    """MaxRL in one file of at most 30 lines, groups in, weights out."""
    (code,) = (code for name, _, _, code in EXAMPLES if name == "max_rl.py")
    groups, weights = re.findall(r"```json\n(.*?)```", PLUGINS, re.DOTALL)
    (command,) = re.findall(r"^    rlvr (lab .*)$", PLUGINS, re.MULTILINE)
    assert len(code.splitlines()) < 30
    monkeypatch.chdir(tmp_path)
    Path("max_rl.py").write_text(code)
    Path("groups.jsonl").write_text(groups)
    assert main(command.split()) == 0
    written = Path("weights.jsonl").read_text().splitlines()
    for line, shown in zip(written, weights.splitlines(), strict=True):
        found, told = json.loads(line), json.loads(shown)
        assert found.pop("weights") == pytest.approx(told.pop("weights"), abs=1e-5)
        assert found == told


def test_scores_have_what_the_page_lists() -> None:
    rows = PLUGINS.split("| of `Scores` |")[1].split("\n\n")[0].splitlines()[2:]
    named = {name for row in rows for name in re.findall(r"`(\w+)", row.split("|")[1])}
    assert len(named) > 15
    assert named <= {field.name for field in dataclasses.fields(Scores)} | {*dir(Scores)}


def test_readme_commands_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^    rlvr (\w+)([^#\n]*)", readme, re.MULTILINE)
    assert {name for name, _ in commands} <= set(COMMANDS)
    for name, rest in commands:
        if name == "train":
            _, flags = split_flags(rest.split(), ("out", "resume", "dry_run", "preset"))
            known = {*settings.STAGES, *settings.SECTIONS, *settings.Run.__dataclass_fields__}
            assert set(config.flags_to_tree(flags)) <= known


def test_readme_tree_is_the_tree() -> None:
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("##")[0]
    drawn = set(re.findall(r"^      ([\w./]+)  ", tree, re.MULTILINE))
    there = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "rlvr").iterdir()
        if not path.name.startswith("_") and path.name != "py.typed"
    }
    assert drawn == there


def test_readme_python_runs(tmp_path: Path, monkeypatch) -> None:
    (code,) = re.findall(
        r"From Python:\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "from-python" / "report.html").exists()


SMALL = "--problems 4 --responses 4 --eval.problems 4 --eval.samples 1 --workers 1".split()


@pytest.mark.slow
def test_readme_commands_run(tmp_path: Path, monkeypatch) -> None:
    """Every line of "Use", in order, small, with the demo model where a model of the hub is named."""
    use = (ROOT / "README.md").read_text().split("## Use")[1].split("From Python")[0]
    lines = [line.split("#")[0].split()[1:] for line in use.splitlines() if line[:8] == "    rlvr"]
    assert len(lines) > 10
    monkeypatch.chdir(tmp_path)
    Path("cases.jsonl").write_text('{"id": 1, "response": "2", "reference": "2"}\n')
    Path("groups.jsonl").write_text('{"prompt": "p", "reward": 1, "tokens": 2}\n' * 4)
    assert main(["train", *SMALL, "--steps", "3", "--out", "runs/b"]) == 0
    steps = 2
    for command, *rest in lines:
        if {"vllm", "vllm_server"} & {*rest}:
            continue  # has an environment and tests of its own
        if "gsm8k" in " ".join(rest):
            if "--out" not in rest:
                continue  # the recipe's model is on the hub
            rest = ["--out", "runs/a"]
        if command == "train" and "--dry-run" not in rest:
            steps += "--resume" in rest
            rest = [*rest, *SMALL, "--steps", str(steps)]
        if command == "eval":
            rest = [*(word.replace("step-60", "step-3") for word in rest), "--limit", "2"]
        assert main([command, *rest]) == 0, (command, rest)
