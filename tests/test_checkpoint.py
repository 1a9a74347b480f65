"""Checkpoints are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlvr import checkpoint


def write(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights of " + folder.name.encode())


def save(root: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.save(root / f"step-{step}", write, {"step": step})


def test_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    save(tmp_path, 5, 10)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.step, found.state["step"]) == (10, 10)


def damage_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights of step-1O")


def truncate_state(folder: Path) -> None:
    (folder / "state.json").write_text((folder / "state.json").read_text()[:-4])


def lose_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def garble_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def other_schema(folder: Path) -> None:
    (folder / "state.json").write_text(json.dumps({"schema": 999}))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["state.json"] = checkpoint._sha256(folder / "state.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "harm",
    [damage_weights, truncate_state, lose_file, garble_manifest, empty_manifest, other_schema],
)
def test_a_damaged_one_is_passed_over_with_a_word(tmp_path: Path, caplog, harm) -> None:
    save(tmp_path, 5, 10)
    harm(tmp_path / "step-10")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 5
    assert "step-10 is damaged" in caplog.text


def test_half_written_ones_do_not_count(tmp_path: Path) -> None:
    save(tmp_path, 5)
    (tmp_path / ".writing-step-10").mkdir()
    assert checkpoint.steps(tmp_path) == [5]
    assert [path.name for path in checkpoint.leftovers(tmp_path)] == [".writing-step-10"]


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, 5)
    checkpoint.prune(tmp_path, keep=2, best=2)
    assert checkpoint.steps(tmp_path) == [5, 4, 2]
