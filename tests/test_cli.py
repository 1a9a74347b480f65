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
--versoin                                            | did you mean '--version'
train --steps                                        | --steps needs a value
train --steps=                                       | --steps ''
train --steps=-5                                     | steps must be at least 1
train --steps 1.5                                    | --steps '1.5'
train --problems 0                                   | problems must be at least 1
train --advantage                                    | --advantage needs a name
train --advantage. 1                                 | no advantage called '1'
train --.eps 1                                       | no flag called ''
train --advantage grpo.eps                           | did you mean 'grpo'
train --optimiser.lr 1                               | did you mean 'optimizer'
train --optimizer.lr nan                             | finite number
train --optimizer.lr -1                              | lr must not be negative
train --optimizer.warmup -1                          | warmup must not be negative
train --optimizer.decay cubic                        | none, linear or cosine
train --model.lora_rank -1                           | lora_rank must not be negative
train --model.lora_rank 4 --model.lora_targets none_such | --model.lora_targets
train --model {tmp}/folder                           | no config.json
train --model {tmp}/file                             | no config.json
train --model {tmp}/half                             | its tokenizer
train --model ./no/where                             | no such folder
train --model.device tpu                             | no device 'tpu'
train --model.trust_remote_code maybe                | --model.trust_remote_code 'maybe'
train --task arithmetic --task.size 0                | size must be at least 1
train --task countdown --task.size 0                 | size must be at least 1
train --task.words 7                                 | share between 0 and 1
train --task.levels a,b                              | --task.levels ['a', 'b']
train --task jsonl --task.path {tmp}/file            | holds no problems
train --task jsonl --task.path {tmp}/broken.jsonl    | line 1: not JSON
train --task jsonl --task.path {tmp}/list.jsonl      | line 1: not an object
train --task jsonl --task.path {tmp}/field.jsonl     | no text in field 'prompt'
train --task jsonl --task.path {tmp}/folder          | no train.jsonl
train --task {tmp}/syntax.py:X                       | does not import: SyntaxError
train --task {tmp}/plugin.py:valeu                   | did you mean 'value'
train --verifier {tmp}/plugin.py:value               | cannot be called
train --verifier {tmp}/raises.py:f                   | RuntimeError: boom
train --verifier.timeout -1                          | timeout of -1.0 seconds
train --sampler vlm                                  | no sampler called 'vlm'
train --sampler.max_tokens 0                         | max_tokens must be at least 1
train --sampler.temperature inf                      | finite number
train --sampler.stop                                 | --sampler.stop needs a value
train --kl k9                                        | did you mean 'k3'
train --kl k3 --kl.beta -1                           | beta must not be negative
train --select d3s --select.samples 2                | samples must be in [0, 1]
train --eval.split valid                             | splits train and test
train --eval.samples 0                               | samples at least 1
train --checkpoint.keep 0                            | keep at least 1
train --max_broken 2                                 | share between 0 and 1
train --shadow.share 3                               | share goes from 0 to 1
train {tmp}/key.toml                                 | did you mean 'steps'
train {tmp}/folder/none.toml                         | no recipe
train {tmp}/binary.toml                              | utf-8
train --out {tmp}/file/sub                           | Not a directory
train --out                                          | --out requires an argument
train -x                                             | Unknown option: -x
train --                                             | '--' is neither a flag
eval                                                 | --model requires an argument
eval --modle demo --task arithmetic                  | did you mean 'model'
eval --model demo --task arithmatic                  | did you mean 'arithmetic'
eval --model demo --task arithmetic --samples 0      | --samples must be at least 1
eval --model demo --task arithmetic --k 0            | 1 <= k <= --samples
eval --model demo --task arithmetic --k a,b          | whole numbers
eval --model demo --task arithmetic --advantage grpo | no flag called 'advantage'
eval --model demo --task arithmetic --output {tmp}/no/x.json | --output
verify --verifier math --inptu x --output y          | did you mean 'input'
verify --verifier math --input {tmp}/good.jsonl --output {tmp}/good.jsonl | would be overwritten
verify --verifier math --input {tmp}/good.jsonl --output {tmp}/o --workers 0 | at least one worker
verify --verifier math --input {tmp}/good.jsonl --output {tmp}/o --timeout nan | finite number
verify --verifier math --input {tmp}/good.jsonl --output {tmp}/no/o | no such file
verify --verifier math --input {tmp}/good.jsonl --output {tmp}/o --quarantine {tmp}/no/q | no such folder
verify --verifier math --verifier.lenientt 1 --input {tmp}/good.jsonl --output {tmp}/o | did you mean 'lenient'
audit                                                | audit needs a verifier
audit mth                                            | did you mean 'math'
audit math --cases {tmp}/none.jsonl                  | No such file
audit math --cases {tmp}/good.jsonl                  | no 'accept'
audit math --max-false-accepts 3                     | shares between 0 and 1
audit --task arithmetic --limit 0                    | --limit must be at least 1
lab --input {tmp}/none.jsonl                         | No such file
lab --input {tmp}/broken.jsonl                       | line 1: not JSON
lab --input {tmp}/groups.jsonl --advantage grop      | did you mean 'grpo'
lab --input {tmp}/groups.jsonl --step 3              | no step 3
lab --input {tmp}/groups.jsonl --compare ,           | names of estimators
lab --input {tmp}/groups.jsonl --compare grpo --plot {tmp}/x.doc | .png, .svg or .pdf
lab --input {tmp}/groups.jsonl --compare grpo --plot {tmp}/no/x.png | No such file
lab --input {tmp}/folder                             | no rollouts.jsonl.zst
report {tmp}/folder                                  | no metrics.jsonl
report {tmp}/folder --responses -1                   | cannot be negative
compare {tmp}/folder                                 | two runs or more
compare {tmp}/folder {tmp}/folder                    | is no run directory
explain {tmp}/folder --step 1 --response 0           | no rollouts.jsonl.zst
explain {tmp}/folder --step one --response 0         | --step
list advantage extra                                 | too many words for rlvr list: extra
doctor --x                                           | Unknown option: --x
bench los                                            | did you mean 'loss'
bench loss --device tpu                              | cpu, cuda or auto
bench loss --rounds 0                                | --rounds
new verifer thing                                    | did you mean 'verifier'
new verifier 9lives                                  | not a Python name
new verifier thing --directory {tmp}/file            | file exists
"""


FILES = {
    "file": b"",
    "half/config.json": b'{"model_type": "llama"}',
    "bad.toml": b"steps = \n",
    "key.toml": b"stepz = 3\n",
    "binary.toml": b"\xff\xfe",
    "broken.jsonl": b'{"prompt": "x", \n',
    "list.jsonl": b"[1, 2]\n",
    "field.jsonl": b'{"question": "1 + 1"}\n',
    "good.jsonl": b'{"id": 1, "response": "2", "reference": "2"}\n',
    "groups.jsonl": b'{"prompt": "p", "reward": 1, "tokens": 2}\n{"prompt": "p", "reward": 0, "tokens": 3}\n',
    "syntax.py": b"def f(:\n",
    "plugin.py": b"value = 3\n",
    "raises.py": b"raise RuntimeError('boom')\n",
}


@pytest.mark.parametrize("line", [line for line in MISTAKES.splitlines() if line.strip()])
def test_a_mistake_is_one_line_and_exit_2(line: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "half").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    command, words = (part.strip() for part in line.rsplit("|", 1))
    arguments = command.format(tmp=tmp_path).split()
    if arguments[0] == "train" and "--out" not in arguments and "--resume" not in arguments:
        arguments[1:1] = ["--out", str(tmp_path / "out")]
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


def test_the_sampler_computes_in_what_the_model_is_asked_to(capsys) -> None:
    assert main(["train", "--model.dtype", "bfloat16", "--dry-run"]) == 0
    sampler = capsys.readouterr().out.split("[sampler]")[1].split("[verifier]")[0]
    assert 'dtype = "bfloat16"  # derived' in sampler


def test_dry_run_shows_origins_and_what_follows(capsys) -> None:
    assert main(["train", "--steps", "7", "--advantage", "drpo", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "steps = 7  # flag" in out
    assert 'name = "loglik"  # derived' in out
    assert "seed = 0  # default" in out
    assert "# responses a step: 256" in out
    assert "peak memory" in out
