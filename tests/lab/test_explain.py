from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rlvr.cli import main


def run_directory(folder: Path, config: str, rewards: list[list[float]], **extra: Any) -> Path:
    """Two steps with the same groups, as a run would have written them."""
    folder.mkdir()
    (folder / "config.toml").write_text("steps = 2\nproblems = 2\n" + config)
    rows = []
    for step in (1, 2):
        index = 0
        for number, group in enumerate(rewards):
            for reward in group:
                rows.append(
                    {"step": step, "problem": f"q{number}", "group": number, "index": index,
                     "text": "the answer is 4", "finish": "stop", "reward": reward,
                     "status": "correct" if reward else "wrong", "tokens": 2,
                     "token_ids": [11, 12], "logprobs": [-0.5, -1.5], **extra}
                )  # fmt: skip
                index += 1
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def explained(run: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert main(["explain", str(run), *flags, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_factor_multiplies_to_the_coefficient(tmp_path, capsys):
    config = '[advantage]\nname = "grpo"\n[aggregate]\nname = "sequence"\n[model]\npath = "x"\n'
    run = run_directory(tmp_path / "run", config, [[1, 0, 0, 0], [1, 1]])
    found = explained(run, capsys, "--step", "1", "--response", "0")
    assert found["advantage"] == pytest.approx(1.5, abs=1e-4)
    assert found["group"]["reward_mean"] == 0.25
    for token in found["tokens"]:
        assert token["scale"] == pytest.approx(1 / 12)
        assert token["weight"] == pytest.approx(found["advantage"] * token["scale"])
        assert token["coefficient"] == pytest.approx(token["weight"] * token["clip_factor"])
    assert found["sum_of_coefficients"] == pytest.approx(found["advantage"] / 6)
    assert main(["explain", str(run), "--step", "1", "--response", "0"]) == 0
    assert "+1.5" in capsys.readouterr().out


def test_clipped_tokens_have_no_coefficient(tmp_path, capsys):
    old = [-0.5 - math.log(2), -1.5]
    run = run_directory(tmp_path / "run", "", [[1, 0]], old_logprobs=old)
    found = explained(run, capsys, "--step", "1", "--response", "0")
    assert [token["clip_factor"] for token in found["tokens"]] == pytest.approx([0, 1])
    assert found["tokens"][0]["ratio"] == pytest.approx(2)


def test_stages_that_learn_are_replayed(tmp_path, capsys):
    config = '[advantage]\nname = "riskpo"\nbundle = 1\npermute = false\ngamma = 0.5\n'
    run = run_directory(tmp_path / "run", config, [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
    first = explained(run, capsys, "--step", "1", "--response", "1")
    second = explained(run, capsys, "--step", "2", "--response", "1")
    assert first["advantage_report"]["quantiles"] == second["advantage_report"]["quantiles"]
    rows = (run / "rollouts.jsonl").read_text()
    third = rows.replace('"step": 2', '"step": 3')
    (run / "rollouts.jsonl").write_text(rows + "".join(third.splitlines(keepends=True)[10:]))
    later = explained(run, capsys, "--step", "3", "--response", "1")
    assert later["advantage_report"]["quantiles"] != first["advantage_report"]["quantiles"]


def test_it_says_when_the_run_recorded_something_else(tmp_path, capsys):
    run = run_directory(tmp_path / "run", "", [[1, 0]], advantage=0.25)
    assert explained(run, capsys, "--step", "1", "--response", "0")["adds_up"] is False
    main(["explain", str(run), "--step", "1", "--response", "0"])
    assert "+0.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "response", "word"), [("7", "0", "step 7"), ("1", "9", "0..3"), ("1", "-1", "0..3")]
)
def test_what_is_not_there_is_a_users_mistake(tmp_path, capsys, step, response, word):
    run = run_directory(tmp_path / "run", "", [[1, 0], [1, 0]])
    assert main(["explain", str(run), "--step", step, "--response", response]) == 2
    assert word in capsys.readouterr().err
    assert main(["explain", str(tmp_path), "--step", "1", "--response", "0"]) == 2
