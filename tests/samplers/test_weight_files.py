"""Weights in files: what is read back is what was put, and damage shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlvr.errors import UserError
from rlvr.samplers import weight_files
from rlvr.samplers.fingerprint import Fingerprint
from rlvr.samplers.weight_files import WeightFiles

TIED = torch.arange(12.0).reshape(3, 4)
WEIGHTS = {"embed": TIED, "head": TIED, "norm": torch.tensor([0.1, 0.2]), "t": TIED.T}


@pytest.mark.parametrize(
    ("dtype", "shard", "count"),
    [
        (torch.float32, 2**31, 1),
        (torch.float32, 60, 3),
        (torch.bfloat16, 60, 2),
        (torch.bfloat16, 1, 4),
    ],
)
def test_what_is_read_back_is_what_was_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, shard: int, count: int
) -> None:
    monkeypatch.setattr(weight_files, "SHARD", shard)
    files = WeightFiles(str(tmp_path), dtype)
    sent = Fingerprint(dtype)
    received = files.put(sent.over(WEIGHTS.items()))
    assert sent.differs(received) is None
    assert set(received.tensors) == set(WEIGHTS)
    assert len(list(files.path.iterdir())) == count
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_only_the_newest_are_kept_and_a_half_written_set_is_never_seen(tmp_path: Path) -> None:
    files = WeightFiles(str(tmp_path), torch.float32)
    files.put(WEIGHTS.items())
    first = files.path

    def breaks():  # type: ignore[no-untyped-def]
        yield "norm", torch.ones(2)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.put(breaks())
    assert files.path == first
    assert set(files.fingerprint().tensors) == set(WEIGHTS)
    files.put([("norm", torch.ones(2))])
    assert [each.name for each in files.root.iterdir()] == [files.path.name]
    assert set(files.fingerprint().tensors) == {"norm"}


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--sampler.folder .*: No such file or directory"):
        WeightFiles(str(tmp_path / "no"), torch.float32)
