"""A user's mistake is one line, exit 2, no traceback; help and lists work."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr.cli import COMMANDS, main

MISTAKES = """
trian                                                | did you mean 'train'
train --stepz 3                                      | did you mean 'steps'
train --steps three                                  | --steps 'three'
train --steps 0                                      | steps must be at least 1
train --advantage grop                               | did you mean 'grpo'
train --advantage.epz 1                              | did you mean 'eps'
train --advantage drpo --clip bapo                   | no clipped ratio
train --task gsm9k                                   | did you mean 'gsm8k'
train --task gsm8k --task.path {tmp}/none            | no such file
train --task jsonl                                   | --task.path must be given
train --task arithmetic --task.levels 0              | levels go from 1 to 8
train --model {tmp}/nowhere                          | --model
train --model.dtype float8                           | dtype is auto, float32 or bfloat16
train --sampler.temperature 0                        | temperature must be above 0
train --sampler.top_p 0.9                            | bias the importance ratio
train --resume                                       | --resume needs --out
train nothere.toml                                   | no recipe nothere.toml
train dmeo                                           | did you mean 'demo'
train {tmp}/bad.toml                                 | recipe
train --preset explor                                | did you mean 'explore'
train --verifier ./none.py:Even                      | no file
train --verifier rlvr.verifiers.nothing:X            | no module
train --clip ppo --clip.eps_low 2                    | must be allowed to be 1
train --tracker wandbb                               | no tracker
train extra words                                    | words
train --out {tmp}/file                               | is not a folder
eval --model demo                                    | --task
eval --model demo --task arithmetic --k 99           | --k 99
eval --model demo --task arithmetic --split valid    | splits train and test
eval --model demo --task arithmetic --limit 0        | --limit
list verifer                                         | did you mean 'verifier'
report {tmp}/nowhere                                 | nowhere
verify --verifier math --input {tmp}/none.jsonl --output {tmp}/o.jsonl | none.jsonl
"""


@pytest.mark.parametrize("line", [line for line in MISTAKES.splitlines() if line.strip()])
def test_a_mistake_is_one_line_and_exit_2(line: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "bad.toml").write_text("steps = \n")
    (tmp_path / "file").write_text("")
    command, words = (part.strip() for part in line.split("|"))
    arguments = command.format(tmp=tmp_path).split()
    if arguments[0] == "train" and "--out" not in arguments and "--resume" not in arguments:
        arguments += ["--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert said.startswith("rlvr: ")
    assert "\n" not in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys) -> None:
    assert main([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_list_names_what_must_exist(capsys) -> None:
    assert main(["list"]) == 0
    words = capsys.readouterr().out.split()
    for name in """grpo dr_grpo rloo reinforce_pp bnpo drpo riskpo uniform knapsack none dapo all d3s ppo bapo
        cispo gspo token sequence constant prompt transformers math code sql arithmetic gsm8k countdown
        humaneval mbpp text2sql jsonl""".split():
        assert name in words


def test_dry_run_shows_origins_and_what_follows(capsys) -> None:
    assert main(["train", "--steps", "7", "--advantage", "drpo", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "steps = 7  # flag" in out
    assert 'name = "loglik"  # derived' in out
    assert "seed = 0  # default" in out
    assert "# responses a step: 256" in out
    assert "peak memory" in out
