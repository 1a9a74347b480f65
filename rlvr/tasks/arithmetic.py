"""Generated arithmetic in several steps, as word problems and as expressions, with worked solutions."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlvr.errors import UserError
from rlvr.tasks.task import Generated
from rlvr.types import Problem

NAMES = ("Ana", "Ben", "Eva", "Ian", "Leo", "Mia", "Sam", "Zoe")
THINGS = ("pens", "cards", "coins", "books", "beads", "eggs")
PHRASES = {
    "+": ("buys {n} more", "finds {n}", "gets {n} more"),
    "-": ("loses {n}", "sells {n}", "gives away {n}"),
    "*": ("then has {n} times as many",),
}
LARGEST = 99  # no value on the way leaves 0..99


@dataclass(frozen=True)
class Chain:
    """A start value and operations applied left to right: 7, (+5), (*3), (-4)."""

    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def values(self) -> list[int]:
        """The start and every value after it."""
        values = [self.start]
        for operator, number in self.steps:
            before = values[-1]
            values.append(
                before + number
                if operator == "+"
                else before - number
                if operator == "-"
                else before * number
            )
        return values

    @property
    def expression(self) -> str:
        """`(7+5)*3-4`: parentheses only where precedence needs them."""
        text, weak = str(self.start), False
        for operator, number in self.steps:
            text = f"({text})*{number}" if operator == "*" and weak else f"{text}{operator}{number}"
            weak = operator != "*"
        return text

    def solution(self) -> str:
        """The worked reasoning, one operation a line, and the answer as `#### x`."""
        values = self.values
        lines = [
            f"{before}{operator}{number}={after}"
            for before, (operator, number), after in zip(
                values, self.steps, values[1:], strict=False
            )
        ]
        return "\n".join([*lines, f"#### {values[-1]}"])


def draw_chain(rng: random.Random, operations: int) -> Chain:
    """Every value stays in 0..99; subtraction never goes below zero, factors are 2..9."""
    start = rng.randint(2, 30)
    value, steps = start, []
    for _ in range(operations):
        choices = ["+"] * (value <= LARGEST - 2) + ["-"] * (value >= 2)
        choices += ["*"] * (2 <= value <= LARGEST // 2)
        operator = rng.choice(choices)
        if operator == "+":
            number = rng.randint(2, min(20, LARGEST - value))
            value += number
        elif operator == "-":
            number = rng.randint(2, min(20, value))
            value -= number
        else:
            number = rng.randint(2, min(9, LARGEST // value))
            value *= number
        steps.append((operator, number))
    return Chain(start, tuple(steps))


def in_test(chain: Chain) -> bool:
    """A tenth of all chains are test chains: decided by the chain itself, so the splits cannot meet."""
    return hashlib.sha256(chain.expression.encode()).digest()[0] < 26


@dataclass(frozen=True)
class Arithmetic:
    """Generated arithmetic in 2 to 4 steps, words and expressions; works offline."""

    levels: tuple[int, ...] = (1, 2, 3)  # level k has k + 1 operations
    words: float = 0.5  # share of word problems
    seed: int = 0
    size: int = 1_000_000  # problems in each split

    verifier: ClassVar[str] = "math"
    max_tokens: ClassVar[int] = 48

    def __post_init__(self) -> None:
        if not self.levels or not all(1 <= level <= 8 for level in self.levels):
            raise ValueError("levels go from 1 to 8")
        if not 0 <= self.words <= 1:
            raise ValueError("words is a share between 0 and 1")
        if self.size < 1:
            raise ValueError("size must be at least 1")

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in ("train", "test"):
            raise UserError(f"task arithmetic has the splits train and test, not '{split}'")
        return Generated(lambda index: self.problem(split, index)[0], self.size)

    def problem(self, split: str, index: int) -> tuple[Problem, str]:
        """Problem `index` of `split` and its worked solution."""
        rng = random.Random(f"arithmetic:{self.seed}:{split}:{index}")
        level = self.levels[index % len(self.levels)]
        chain = draw_chain(rng, level + 1)
        while in_test(chain) != (split == "test"):
            chain = draw_chain(rng, level + 1)
        question = (
            _words(rng, chain) if rng.random() < self.words else f"Compute {chain.expression}"
        )
        problem = Problem(
            id=f"arithmetic-{split}-{index}",
            prompt=f"Q: {question}\nA: ",
            reference=str(chain.values[-1]),
            fields={"level": level},
            split=split,
        )
        return problem, chain.solution()


def _words(rng: random.Random, chain: Chain) -> str:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    events = [rng.choice(PHRASES[operator]).format(n=number) for operator, number in chain.steps]
    return f"{name} has {chain.start} {thing}, {', '.join(events)}. How many {thing}?"
