"""Generated countdown: reach a target with the four operations, every number used once at most."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from rlvr.errors import UserError
from rlvr.tasks.task import Generated
from rlvr.types import Problem

PROMPT = (
    "Using the numbers {numbers}, each at most once, and + - * / with parentheses, write an "
    "expression that equals {target}. Reason step by step and put the expression alone in \\boxed{{}}."
)


@dataclass(frozen=True)
class Countdown:
    """Generated countdown: make a target from a few numbers with + - * /."""

    count: int = 4  # numbers to choose from
    largest: int = 50
    seed: int = 0
    size: int = 1_000_000  # problems in each split

    verifier: ClassVar[str] = "countdown"
    max_tokens: ClassVar[int] = 512

    def __post_init__(self) -> None:
        if not 2 <= self.count <= 8:
            raise ValueError("count goes from 2 to 8")
        if self.size < 1:
            raise ValueError("size must be at least 1")

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in ("train", "test"):
            raise UserError(f"task countdown has the splits train and test, not '{split}'")
        return Generated(lambda index: self.problem(split, index), self.size)

    def problem(self, split: str, index: int) -> Problem:
        rng = random.Random(f"countdown:{self.seed}:{split}:{index}")
        while True:
            numbers = [rng.randint(1, self.largest) for _ in range(self.count)]
            target = _reachable(rng, numbers)
            key = f"{sorted(numbers)}:{target}"
            is_test = hashlib.sha256(key.encode()).digest()[0] < 26
            if target is not None and is_test == (split == "test"):
                break
        text = PROMPT.format(numbers=", ".join(map(str, numbers)), target=target)
        return Problem(
            id=f"countdown-{split}-{index}",
            prompt=[{"role": "user", "content": text}],
            reference=str(target),
            fields={"numbers": numbers},
            split=split,
        )


def _reachable(rng: random.Random, numbers: list[int]) -> int | None:
    """A whole target that some expression over two or more of the numbers reaches, or None."""
    values = [Fraction(number) for number in rng.sample(numbers, rng.randint(2, len(numbers)))]
    while len(values) > 1:
        left = values.pop(rng.randrange(len(values)))
        right = values.pop(rng.randrange(len(values)))
        operator = rng.choice("+-*/" if right else "+-*")
        values.append(_apply(operator, left, right))
    target = values[0]
    return int(target) if target.denominator == 1 and 1 <= target <= 200 else None


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right
