"""Packing: what goes through the model, and that no cut changes what is asked of it."""

from __future__ import annotations

import pytest
import torch

from rlvr.batch import Batch, Part
from rlvr.types import Finish, Rollout


def rollout(prompt: int, length: int) -> Rollout:
    tokens = torch.arange(100, 100 + length)
    return Rollout(tuple(range(prompt)), tokens, -torch.ones(length), "", Finish.STOP, 0)


ROLLOUTS = [rollout(3, 2), rollout(1, 4), rollout(2, 1)]
WEIGHT = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0, 0.0, -1.0])
SCALE = torch.tensor([0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 1.0])


def test_responses_without_weight_do_not_reach_the_model() -> None:
    assert [len(row.tokens) for row in Batch.of(ROLLOUTS, WEIGHT, SCALE).rows] == [2, 1]
    assert len(Batch.of(ROLLOUTS, WEIGHT, SCALE, every=True).rows) == 3


def test_a_packed_part_by_hand() -> None:
    part = Part.pack(Batch.of(ROLLOUTS, WEIGHT, SCALE).rows)
    assert part.input_ids.tolist() == [[0, 1, 2, 100, 0, 1]]
    assert part.position_ids.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert part.cu_seqlens.tolist() == [0, 3, 4, 6]
    assert part.prefix == (-1, 0, -1)
    assert part.predicts.tolist() == [2, 3, 5]
    assert part.tokens.tolist() == [100, 101, 100]
    assert part.weight.tolist() == [0.5, 0.5, -1.0]
    assert part.segment.tolist() == [0, 0, 1]


def test_a_shared_prompt_is_held_once() -> None:
    group = [rollout(3, 2), rollout(3, 1), rollout(2, 3)]
    rows = Batch.of(group, torch.ones(6), torch.ones(6)).rows
    part = Part.pack(rows)
    assert part.input_ids.tolist() == [[0, 1, 2, 100, 0, 1, 100, 101]]
    assert part.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert part.cu_seqlens.tolist() == [0, 3, 4, 6, 8]
    assert part.prefix == (-1, 0, -1, 2)
    assert part.predicts.tolist() == [2, 3, 2, 5, 6, 7]


@pytest.mark.parametrize("budget", [1, 5, 8, 100])
def test_parts_keep_every_row_and_the_budget(budget: int) -> None:
    batch = Batch.of(ROLLOUTS, WEIGHT, SCALE, every=True)
    parts = batch.parts(budget)
    assert sum(len(part.tokens) for part in parts) == batch.tokens == 7
    for part in parts:
        assert part.input_ids.shape[1] <= budget or len(part.segment.unique()) == 1


def test_minibatches_share_the_rows_and_keep_the_weight() -> None:
    batch = Batch.of(ROLLOUTS, WEIGHT, SCALE, every=True)
    shares = list(batch.minibatches(2, seed=0))
    assert sorted(len(row.tokens) for share in shares for row in share.rows) == [1, 2, 4]
    total = sum(float(row.weight.sum()) for share in shares for row in share.rows)
    assert total == pytest.approx(2 * float(WEIGHT.sum()))
    assert len(list(batch.minibatches(10, seed=0))) == 3
    assert list(batch.minibatches(1, seed=0)) == [batch]
