"""Every legal pair of stages trains: two real steps of the embedded model, through the public API."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rlvr
from rlvr import assemble, registry
from rlvr.errors import UserError

Choice = tuple[str, str]  # stage, name
Pair = frozenset[Choice]

STAGES = ("advantage", "budget", "filter", "select", "correct", "clip", "aggregate", "kl")
NAMES = {stage: [*registry.builtin(stage)] for stage in STAGES}

# small, yet with right and wrong answers in a group, known problems for a budget in the second
# step, and a second minibatch whose ratios are not 1
SMALL: dict[str, Any] = {
    "task": {"name": "arithmetic", "levels": [1], "size": 3},
    "sampler": {"name": "transformers", "max_tokens": 28},
    "steps": 2,
    "problems": 3,
    "responses": 8,
    "minibatches": 2,
    "workers": 1,
    "eval": {"problems": 0},
    "checkpoint": {"every": 0},
}


def refusal(*choices: Choice) -> str | None:
    """What the user is told when both are named, None where they go together."""
    try:
        assemble.resolve({}, {stage: {"name": name} for stage, name in choices})
    except UserError as error:
        return str(error)
    return None


def pairs() -> Iterator[Pair]:
    for one, other in itertools.combinations(STAGES, 2):
        for a, b in itertools.product(NAMES[one], NAMES[other]):
            yield frozenset({(one, a), (other, b)})


@pytest.fixture(scope="module")
def refused() -> dict[Pair, str]:
    return {pair: reason for pair in pairs() if (reason := refusal(*sorted(pair)))}


def inside(row: dict[str, str]) -> set[Pair]:
    return {frozenset(two) for two in itertools.combinations(row.items(), 2)}


def covering(legal: set[Pair]) -> list[dict[str, str]]:
    """Few rows, each with a name for every stage, that hold every legal pair between them."""
    left, rows = set(legal), []
    while left:
        row = dict(min(left, key=sorted))
        for stage in STAGES:
            if stage not in row:
                fitting = [
                    {**row, stage: name}
                    for name in NAMES[stage]
                    if inside({**row, stage: name}) <= legal
                ]
                row = max(fitting, key=lambda each: len(inside(each) & left))
        left -= inside(row)
        rows.append(row)
    return rows


def test_refused_pairs_are_those_of_the_table_with_their_reason(refused) -> None:
    assert {tuple(name for _, name in sorted(pair)) for pair in refused} == {
        ("drpo", "bapo"),
        ("drpo", "dapo"),
        ("riskpo", "dapo"),
    }
    for pair, reason in refused.items():
        assert all(f"{stage} {name}" in reason for stage, name in pair)
        assert len(reason.partition(": ")[2]) > 20


@pytest.mark.slow
def test_every_legal_pair_trains_two_steps(refused, tmp_path: Path) -> None:
    legal = {*pairs()} - refused.keys()
    rows = covering(legal)
    assert set.union(*map(inside, rows)) == legal
    trained: dict[Choice, int] = defaultdict(int)
    for number, row in enumerate(rows):
        try:
            run = rlvr.train(out=tmp_path / str(number), seed=number, **SMALL, **row)
            check(run.metrics)
        except Exception as error:
            error.add_note(f"with {row}")
            raise
        for choice in row.items():
            trained[choice] += run.metrics[-1]["tokens_trained"]
    for stage, names in NAMES.items():
        for name in names:
            assert trained[stage, name] > 0, f"{stage} {name} never trained on a token"


def check(metrics: list[dict[str, Any]]) -> None:
    """Two steps with finite numbers that moved the model where something carried a weight."""
    assert [row["step"] for row in metrics] == [1, 2]
    for row in metrics:
        for key, value in row.items():
            numbers = value if isinstance(value, list) else [value]
            for number in numbers:
                assert not isinstance(number, float) or math.isfinite(number), key
        assert row["tokens_sampled"] > 0
        assert (row["grad_norm"] is not None and row["grad_norm"] > 0) or not row["tokens_trained"]
