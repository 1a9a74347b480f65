"""A model measured on a task, with everything built for it: what `rlvr eval` does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from rlvr import config, evaluation, prompts, settings
from rlvr.policy import Optimizer, Policy
from rlvr.pretrained import Model
from rlvr.sync import Sync, sentences
from rlvr.tasks.task import Generated
from rlvr.types import Answer, Problem
from rlvr.verifiers.pool import Pool
from rlvr.verifiers.spec import Spec


def measure(
    tree: config.Tree, split: str, samples: int, ks: Sequence[int], limit: int | None, seed: int
) -> tuple[dict[str, Any], list[evaluation.ProblemResult]]:
    """The numbers, and the results by problem. `tree` holds the model, the task and their settings."""
    stages, task_class = settings.task_stages({}, tree)
    derived: config.Tree = {"sampler": {"max_tokens": getattr(task_class, "max_tokens", 512)}}

    def attempt() -> config.Resolved:
        return config.resolve(
            {name: stages[name] for name in ("task", "sampler", "verifier")},
            {"": settings.Evaluation, "model": Model},
            flags=tree,
            derived=derived,
        )

    derived = config.merged(derived, settings.as_trained(attempt()))
    resolved = attempt()
    built = settings.build(resolved)
    problems = built["task"].problems(split)
    if limit is None and isinstance(problems, Generated):
        limit = 256
    chosen = [problems[index] for index in range(min(limit or len(problems), len(problems)))]
    policy = Policy(resolved.section("model", Model), Optimizer(), steps=1)
    engine = built["sampler"].open(policy.base, policy.tokenizer)

    def encode(problem: Problem) -> tuple[int, ...]:
        return prompts.encode(policy.tokenizer, problem)

    Sync(policy, engine, sentences(chosen, encode))(0)
    verifier = resolved.stages["verifier"]
    spec = Spec(verifier.plugin.spec, verifier.values())
    total = len(chosen) * (samples + 1)
    with Pool(spec, workers=resolved.section("", settings.Evaluation).workers) as pool:
        results = evaluation.evaluate(
            engine,
            lambda answers: pool.judge(_watched(answers, total)),
            encode,
            chosen,
            samples=samples,
            seed=seed,
        )
    engine.close()
    name = resolved.stages["task"].name
    numbers = {"model": policy.settings.name, "task": name, "split": split}
    return {**numbers, **evaluation.summary(results, ks)}, results


def _watched(answers: Iterable[Answer], total: int) -> Iterator[Answer]:
    """The answers, counted on a bar where there is a terminal."""
    with tqdm(total=total, unit="response", disable=not sys.stderr.isatty(), leave=False) as bar:
        for answer in answers:
            yield answer
            bar.update()
