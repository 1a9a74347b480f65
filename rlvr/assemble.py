"""From resolved settings to a job that can run: everything is checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlvr import config, prompts, registry, settings
from rlvr.advantage.compose import PRESETS, compose, constants
from rlvr.curriculum import Curriculum
from rlvr.errors import UserError, unknown
from rlvr.footprint import Footprint
from rlvr.gather import Gatherer
from rlvr.job import Job
from rlvr.learn import Learner
from rlvr.policy import Policy
from rlvr.run import RunDirectory
from rlvr.samplers.sampler import Limits
from rlvr.sync import Sync, sentences
from rlvr.types import Problem
from rlvr.verifiers.pool import Pool
from rlvr.verifiers.shadow import Shadow
from rlvr.verifiers.spec import Spec


@dataclass(frozen=True)
class Plan:
    """Resolved settings, and a line for every choice that works only under a condition."""

    resolved: config.Resolved
    warnings: tuple[str, ...]


def resolve(recipe: config.Tree, flags: config.Tree, preset: str | None = None) -> Plan:
    """All settings of a training run, checked against each other.

    Raises UserError before anything is loaded.
    """
    if preset is not None:
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        recipe = config.merged(PRESETS[preset], recipe)
    stages, task = settings.task_stages(recipe, flags)
    derived: config.Tree = {"sampler": {"max_tokens": getattr(task, "max_tokens", 512)}}

    def attempt() -> config.Resolved:
        layers = {"recipe": recipe, "flags": flags, "derived": derived}
        return config.resolve(stages, settings.SECTIONS, **layers)

    first = attempt()
    composition = compose(first.stages)
    derived = config.merged(derived, composition.derived)
    derived = config.merged(derived, settings.as_trained(first))
    names = {name: stage.name for name, stage in attempt().stages.items()}
    limit = first.stages["sampler"].settings["max_tokens"].value
    derived = config.merged(derived, constants(names, limit))
    resolved = attempt()
    sections = settings.sections(resolved)
    _tracker(sections["tracker"].name)
    if sections["shadow"].name != "none":
        registry.load("verifier", sections["shadow"].name)
    sampler = settings.build(resolved)["sampler"]
    if isinstance(sampler, Limits):
        sampler.refuse_truncated()
        stale(sections[""], sampler)
    return Plan(resolved, composition.warnings)


@contextmanager
def job(resolved: config.Resolved, folder: Path, *, resume: bool) -> Iterator[Job]:
    """A job in run directory `folder`, with its workers and engine up; both go down at the end."""
    sections, stages = settings.sections(resolved), settings.build(resolved)
    run: settings.Run = sections[""]
    task, held = stages["task"], sections["eval"]
    problems = task.problems("train")
    held_out = task.problems(held.split)[: held.problems] if held.problems else []
    directory = RunDirectory(folder, resume=resume)
    verifier = resolved.stages["verifier"]
    with (
        directory.held(),
        deterministic(),
        shadowing(sections["shadow"], folder) as shadow,
        Pool(
            Spec(verifier.plugin.spec, verifier.values()),
            workers=run.workers,
            max_broken=run.max_broken,
            quarantine=folder / "quarantine.jsonl",
            observe=shadow,
        ) as pool,
    ):
        directory.write_config(resolved.to_toml())
        policy = Policy(sections["model"], sections["optimizer"], run.steps)
        if stages["kl"].needs_reference:
            policy.keep_reference()
        sampler, curriculum = stages["sampler"], Curriculum(problems, run.seed)
        engine = sampler.open(policy.base, policy.tokenizer)

        def encode(problem: Problem) -> tuple[int, ...]:
            return prompts.encode(policy.tokenizer, problem)

        sync = Sync(policy, engine, sentences(problems, encode))
        built = Job(
            run=directory,
            settings=run,
            eval=held,
            checkpoint=sections["checkpoint"],
            old_logprobs=getattr(sampler, "old_logprobs", "engine"),
            gather=Gatherer(
                settings=run,
                limits=sampler,
                positions=getattr(policy.base.config, "max_position_embeddings", None),
                task=resolved.stages["task"].name,
                curriculum=curriculum,
                encode=encode,
                sync=sync,
                pool=pool,
                budget=stages["budget"],
                filter=stages["filter"],
            ),
            sync=sync,
            held_out=held_out,
            task=resolved.stages["task"].name,
            policy=policy,
            engine=engine,
            pool=pool,
            shadow=shadow,
            learner=_learner(policy, run, stages),
            budget=stages["budget"],
            filter=stages["filter"],
            estimator=stages["advantage"],
            select=stages["select"],
            correct=stages["correct"],
            aggregate=stages["aggregate"],
            horizon=run.steps,
        )
        try:
            found = directory.resume() if resume else None
            if found:
                built.restore(found)
            sync(built.step)
            yield built
        finally:
            engine.close()


def _learner(policy: Policy, run: settings.Run, stages: Mapping[str, Any]) -> Learner:
    return Learner(
        policy=policy,
        rule=stages["clip"],
        kl=stages["kl"],
        minibatches=run.minibatches,
        epochs=run.epochs,
        tokens_per_part=run.tokens_per_part,
        temperature=stages["sampler"].temperature,
        entropy_bonus=run.entropy_bonus,
    )


def stale(run: settings.Run, limits: Limits) -> None:
    """UserError where responses would be older than what was allowed, or thrown away half written."""
    if limits.segment and not run.staleness:
        raise UserError(
            "--sampler.segment has later weights continue a response: allow it with --staleness 1"
        )
    if limits.segment and run.oversample > 1:
        raise UserError(
            "--oversample throws away what --sampler.segment would continue: drop one of them"
        )


@contextmanager
def deterministic() -> Iterator[None]:
    """The same sums in the same order on every run; else threads add where they meet in any order."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = filling


@contextmanager
def shadowing(section: settings.Shadow, folder: Path) -> Iterator[Shadow | None]:
    """The second opinion, where one is asked for."""
    if section.name == "none":
        yield None
        return
    second = registry.load("verifier", section.name)
    record = folder / "disagreements.jsonl"
    with Shadow(Spec(second.spec), share=section.share, record=record) as shadow:
        yield shadow


def consequences(resolved: config.Resolved) -> str:
    """What follows from the settings: responses and tokens a step, a memory estimate."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sections = settings.sections(resolved)
    run, model = sections[""], sections["model"]
    sampler = settings.build(resolved)["sampler"]
    responses = run.problems * run.responses
    lines = [
        "",
        "# derived",
        f"# responses a step: {responses}",
        f"# response tokens a step: at most {responses * sampler.max_tokens}",
        f"# optimiser steps a step: {run.minibatches * run.epochs}",
    ]
    try:
        shape = AutoConfig.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError) as error:
        return "\n".join([*lines, f"# memory: unknown, {' '.join(str(error).split())[:100]}"])
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(shape)
    footprint = Footprint.of(
        empty,
        model,
        tokens=min(run.tokens_per_part, responses * sampler.max_tokens),
        rows=min(responses, getattr(sampler, "rows", responses)),
        columns=sampler.max_tokens,
        reference=settings.build(resolved)["kl"].needs_reference,
    )
    lines += [
        f"# parameters: {footprint.parameters:,}",
        f"# peak memory, an estimate: {footprint}",
    ]
    return "\n".join(lines)


def _tracker(name: str) -> Any:
    """The class of an experiment tracker of accelerate's; None for none. Raises UserError."""
    if name == "none":
        return None
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if name not in LOGGER_TYPE_TO_CLASS:
        raise unknown("tracker", name, [*map(str, LOGGER_TYPE_TO_CLASS), "none"])
    return LOGGER_TYPE_TO_CLASS[name]


@contextmanager
def tracking(resolved: config.Resolved, folder: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Hand metrics on to an experiment tracker; by default to none."""
    name = settings.sections(resolved)["tracker"].name
    kind = _tracker(name)
    if kind is None:
        yield lambda metrics: None
        return
    from accelerate import PartialState

    PartialState()
    place = {"logging_dir": str(folder)} if kind.requires_logging_directory else {}
    try:
        tracker = kind("rlvr", **place)
        tracker.start()
    except ImportError as error:
        raise UserError(f"--tracker {name}: {error}; pip install {name}") from None
    try:
        yield lambda metrics: tracker.log(
            {key: value for key, value in metrics.items() if isinstance(value, int | float)},
            step=int(metrics["step"]),
        )
    finally:
        tracker.finish()
