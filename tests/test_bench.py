"""`rlvr bench`: every kind runs and says what it measured."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from rlvr.bench.memory import peak
from rlvr.cli import main


@pytest.mark.slow
def test_loss(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that fails costs its own row and no more."""
    (tmp_path / "trl.py").write_text("raise ImportError('not for this torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    sizes = ["--rows", "64", "--width", "16", "--vocabulary", "301"]
    assert main(["bench", "loss", *sizes, "--rounds", "1", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    (failed,) = (row for row in found["rows"] if "failed" in row)
    assert failed == {"contestant": "trl", "failed": "trl ended with exit code 1, see above"}
    rows = {(row["contestant"], row["keep"]): row for row in found["rows"] if row != failed}
    assert {("rlvr", 1.0), ("naive", 1.0), ("rlvr two-pass", 1.0), ("rlvr", 0.2)} <= set(rows)
    assert all(row["seconds"] > 0 for row in rows.values())
    assert rows["naive", 1.0]["time_to_naive"] == 1
    assert rows["rlvr", 1.0]["hidden_error"] < 1e-4
    assert found["sizes"]["vocabulary"] == 301


def test_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--rounds", "1"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[-2:]] == ["rlvr", "naive"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["los"], "did you mean 'loss'"),
        (["loss", "--rounds", "0"], "at least 1"),
        (["loss", "--rows", "100"], "multiple of 64"),
        (["loss", "--dtype", "int8"], "float32 or bfloat16"),
    ],
)
def test_mistakes_are_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *flags]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_peak_is_seen_though_it_has_passed() -> None:
    with peak(torch.device("cpu")) as memory:
        torch.ones(64 << 18).sum()  # 64 MiB, gone before the end
    assert 60 << 20 < memory.extra < 90 << 20
