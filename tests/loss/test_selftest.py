"""The self-test passes on a sound machine and fails when the loss is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlvr.loss import head, selftest
from rlvr.loss.rows import Stats, TorchRows


def test_it_passes_here() -> None:
    found = list(selftest.run())
    assert len(found) >= 4
    assert [name for name, passed, _ in found if not passed] == []


def test_it_sees_a_wrong_logarithm_and_a_wrong_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    class Off(TorchRows):
        def stats(self, logits: torch.Tensor, tokens: torch.Tensor) -> Stats:
            found = super().stats(logits, tokens)
            return replace(found, logp=found.logp + 1e-3)

    class Steep(TorchRows):
        def gradient(self, logits, tokens, stats, g, e, out, place) -> None:  # type: ignore[no-untyped-def]
            super().gradient(logits, tokens, stats, 1.05 * g, e, out, place)

    for wrong in (Off, Steep):
        monkeypatch.setattr(head, "rows_for", lambda _, shape, bias, of=wrong: of(shape, bias))
        assert not any(passed for _, passed, _ in selftest.run())
