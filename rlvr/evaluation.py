"""Held-out accuracy: mean pass@1 at the training temperature, greedy beside it, pass@k without bias."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr.prompts import Encode
from rlvr.samplers.sampler import Engine
from rlvr.types import Answer, Group, Problem, Request

Judge = Callable[[Iterable[Answer]], Iterator[Group]]


@dataclass(frozen=True)
class ProblemResult:
    """What became of one problem. A broken verdict counts in neither number."""

    problem: str
    correct: int  # responses judged correct
    samples: int  # responses judged
    greedy: bool | None  # was the greedy response correct? None: not judged


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k responses is right (Chen et al. 2021, eq. 1).

    `correct` of `samples` responses were right; needs samples >= k.
    """
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / number for number in range(samples - correct + 1, samples + 1))


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over problems and its standard error; a single problem has none."""
    if not values:
        return 0.0, None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def evaluate(
    engine: Engine,
    judge: Judge,
    encode: Encode,
    problems: Sequence[Problem],
    *,
    samples: int,
    seed: int,
    greedy: bool = True,
) -> list[ProblemResult]:
    """Sample every problem `samples` times, and once greedily. Results come in the order of `problems`."""
    sampled = _ask(engine, judge, encode, problems, samples, seed, greedy=False)
    first = _ask(engine, judge, encode, problems, 1, seed, greedy=True) if greedy else {}
    return [
        ProblemResult(
            problem=problem.id,
            correct=sum(sampled[problem.id]),
            samples=len(sampled[problem.id]),
            greedy=first[problem.id][0] if first.get(problem.id) else None,
        )
        for problem in problems
    ]


def _ask(
    engine: Engine,
    judge: Judge,
    encode: Encode,
    problems: Sequence[Problem],
    responses: int,
    seed: int,
    *,
    greedy: bool,
) -> dict[str, list[bool]]:
    """Problem id -> was each judged response correct?"""
    requests = [Request(problem, encode(problem), responses) for problem in problems]
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for group in judge(engine.stream(requests, seed=seed, greedy=greedy)):
        for rollout in group.rollouts:
            verdict = rollout.verdict
            if verdict is not None and verdict.reward is not None:
                outcomes[group.problem.id].append(verdict.correct)
    return outcomes


def summary(results: Sequence[ProblemResult], ks: Iterable[int] = (1, 4)) -> dict[str, Any]:
    """The numbers of an evaluation: accuracy, its standard error over problems, greedy, pass@k.

    pass@k stands there for every k that no judged problem has fewer responses than.
    """
    judged = [result for result in results if result.samples]
    accuracy, error = mean_and_error([each.correct / each.samples for each in judged])
    greedy = [float(each.greedy) for each in results if each.greedy is not None]
    numbers: dict[str, Any] = {
        "accuracy": accuracy,
        "stderr": error,
        "accuracy_greedy": mean_and_error(greedy)[0] if greedy else None,
        "samples": sum(each.samples for each in results),
        "problems": len(results),
        "unjudged": len(results) - len(judged),
    }
    least = min((each.samples for each in judged), default=0)
    for k in sorted(set(ks)):
        if k <= least:
            value, spread = mean_and_error([pass_at_k(e.samples, e.correct, k) for e in judged])
            numbers[f"pass@{k}"] = value
            numbers[f"pass@{k}_stderr"] = spread
    return numbers
