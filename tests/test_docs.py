"""The documents show commands and code that work today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlvr import config, settings
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
