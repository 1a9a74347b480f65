"""What a killed or an odd run leaves is read as far as it goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from rlvr.report import origins, read

from .conftest import MakeRun
from .synthetic import eval_row, lines, response, step_row, write_frames


def test_metrics_keep_the_last_word_on_a_step(make_run: MakeRun) -> None:
    folder = make_run(
        "run",
        [
            eval_row(0, 0.1),
            step_row(2),
            step_row(1),
            step_row(2, reward_mean=0.9),
            eval_row(2, 0.3),
        ],
    )
    metrics = read.metrics(folder)
    assert [row["step"] for row in metrics.steps] == [1, 2]
    assert metrics.numbers("reward_mean") == [0.4, 0.9]
    assert metrics.numbers("kl") == [None, None]
    assert [row["accuracy"] for row in metrics.of("arithmetic", "test")] == [0.1, 0.3]


def test_torn_last_line_is_dropped_and_a_bad_one_inside_counted(tmp_path: Path) -> None:
    text = lines([step_row(1)]) + 'rubbish\n[1]\n{"step": true}\n' + lines([step_row(2)])
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 3, "rew')
    metrics = read.metrics(tmp_path)
    assert [row["step"] for row in metrics.steps] == [1, 2]
    assert metrics.unreadable == 2


def test_no_file_is_an_empty_run(tmp_path: Path) -> None:
    assert read.metrics(tmp_path) == read.Metrics([], [])
    assert read.rollouts(tmp_path) is None


@pytest.mark.parametrize("lost", [1, 10, 40])
def test_torn_last_frame_leaves_the_frames_before_it(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "rollouts.jsonl.zst"
    write_frames(path, [[response(1), response(1)], [response(2, text="x" * 5000)]])
    path.write_bytes(path.read_bytes()[:-lost])
    records = read.rollouts(tmp_path)
    assert records is not None
    found = list(records)
    assert [row["step"] for row in found[:2]] == [1, 1]
    assert len(found) <= 3
    assert records.unreadable == 0


def test_damage_in_the_middle_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl.zst"
    whole = zstandard.ZstdCompressor().compress(lines([response(1)]).encode())
    path.write_bytes(whole + b"\x00garbage" + whole)
    assert [row["step"] for row in read.Records(path)] == [1]


def test_plain_rollouts_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "rollouts.jsonl").write_text(lines([response(1), response(2)]))
    assert [row["step"] for row in read.rollouts(tmp_path) or ()] == [1, 2]


def test_dropped_arrays_never_touch_text(tmp_path: Path) -> None:
    hostile = '"token_ids": [1, 2], "logprobs": [ and \\"token_ids\\": ['
    path = tmp_path / "rollouts.jsonl"
    path.write_text(
        lines([response(1, text=hostile, prompt=[{"role": "user", "content": hostile}])])
    )
    (row,) = read.rollouts(tmp_path) or ()
    assert row["text"] == hostile
    assert row["prompt"][0]["content"] == hostile
    assert row["token_ids"] is None
    assert row["logprobs"] is None
    assert row["advantage"] == 0.5


def test_array_that_is_not_numbers_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text(lines([response(1, token_ids=["a]b", "c"])]))
    assert [row["text"] for row in read.rollouts(tmp_path) or ()] == ["it is #### 2"]


def test_line_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "CHUNK", 7)
    path = tmp_path / "rollouts.jsonl"
    path.write_text(lines([response(step) for step in (1, 2, 3)]))
    assert [row["step"] for row in read.Records(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (0.5, 0.5), (True, None), ("1", None), (float("nan"), None), (10**400, None)],
)
def test_number(value: object, expected: float | None) -> None:
    assert read.number(value) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"accuracy": 0.5, "stderr": 0.1}, (0.304, 0.696)),
        ({"accuracy": 0.99, "stderr": 0.1}, (0.794, 1.0)),
        ({"accuracy": 1.0, "stderr": 0.0, "problems": 100}, (0.97, 1.0)),
        ({"accuracy": 0.0, "stderr": 0.0, "problems": 30}, (0.0, 0.1)),
        ({"accuracy": 0.5, "stderr": None}, None),
    ],
)
def test_interval(row: read.Row, expected: tuple[float, float] | None) -> None:
    assert read.interval(row) == (None if expected is None else pytest.approx(expected))


def test_settings_come_with_their_origins(make_run: MakeRun) -> None:
    found = {each.name: (each.value, each.origin) for each in origins.settings(make_run("run", []))}
    assert found == {
        "steps": ("2", "flag"),
        "seed": ("0", "default"),
        "task.name": ("arithmetic", "recipe"),
        "task.levels": ("1, 2", "default"),
        "optimizer.lr": ("not set", "default"),
        "optimizer.note": ("a  # flag", "derived"),
    }


def test_settings_without_origins(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("steps = 3\n[clip]\nname = 'ppo'\n")
    found = [(each.name, each.value, each.origin) for each in origins.settings(tmp_path)]
    assert found == [("steps", "3", ""), ("clip.name", "ppo", "")]


@pytest.mark.parametrize("text", [None, "not = toml = at all", "\x00"])
def test_unreadable_settings_are_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    assert origins.settings(tmp_path) == []


def test_problems_of_an_evaluation(make_run: MakeRun) -> None:
    folder = make_run("run", [], problems={4: [{"problem": "a"}]})
    assert read.problems(folder, 4) == [{"problem": "a"}]
    assert read.problems(folder, 5) is None


def test_rows_are_objects_only(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps([1]) + "\n" + "[" * 100_000 + '\n{"a": 1}\n')
    records = read.Records(tmp_path / "x.jsonl")
    assert list(records) == [{"a": 1}]
    assert records.unreadable == 2
