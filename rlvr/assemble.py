"""From resolved settings to a job that can run: everything is checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlvr import config, registry, settings
from rlvr.advantage.compose import PRESETS, compose, constants
from rlvr.curriculum import Curriculum
from rlvr.errors import UserError, unknown
from rlvr.job import Job
from rlvr.learn import Learner
from rlvr.policy import Policy
from rlvr.run import RunDirectory
from rlvr.samplers.sampler import Limits
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
    directory.write_config(resolved.to_toml())
    verifier = resolved.stages["verifier"]
    with (
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
        policy = Policy(sections["model"], sections["optimizer"], run.steps)
        if stages["kl"].needs_reference:
            policy.keep_reference()
        engine = stages["sampler"].open(policy.base, policy.tokenizer)
        built = Job(
            run=directory,
            settings=run,
            eval=held,
            checkpoint=sections["checkpoint"],
            max_tokens=stages["sampler"].max_tokens,
            curriculum=Curriculum(problems, run.seed),
            held_out=held_out,
            task=resolved.stages["task"].name,
            policy=policy,
            engine=engine,
            pool=pool,
            shadow=shadow,
            learner=Learner(
                policy=policy,
                rule=stages["clip"],
                kl=stages["kl"],
                minibatches=run.minibatches,
                epochs=run.epochs,
                tokens_per_part=run.tokens_per_part,
                temperature=stages["sampler"].temperature,
                entropy_bonus=run.entropy_bonus,
            ),
            budget=stages["budget"],
            filter=stages["filter"],
            estimator=stages["advantage"],
            select=stages["select"],
            aggregate=stages["aggregate"],
            horizon=run.steps,
        )
        try:
            found = directory.resume() if resume else None
            if found:
                built.restore(found)
            yield built
        finally:
            engine.close()


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
        parameters = AutoModelForCausalLM.from_config(shape).num_parameters()
    return "\n".join([*lines, *_memory(parameters, shape, run, model, responses, sampler)])


def _memory(
    parameters: int, shape: Any, run: settings.Run, model: Any, responses: int, sampler: Any
) -> list[str]:
    """Bytes by hand: fp32 weights, gradients and two moments; activations of a part; the cache."""
    trained = parameters if not model.lora_rank else 0
    weights = parameters * 4 + trained * 12
    layers, hidden = shape.num_hidden_layers, shape.hidden_size
    activations = (
        run.tokens_per_part * hidden * layers * (4 if model.gradient_checkpointing else 68)
    )
    heads = getattr(shape, "num_key_value_heads", shape.num_attention_heads)
    size = getattr(shape, "head_dim", None) or hidden // shape.num_attention_heads
    rows = min(responses, getattr(sampler, "rows", responses))
    cache = rows * sampler.max_tokens * layers * heads * size * 2 * 4
    peak = weights + max(activations, cache)
    return [
        f"# parameters: {parameters:,}",
        f"# peak memory, an estimate: {peak / 2**30:.2f} GiB (weights and optimiser "
        f"{weights / 2**30:.2f}, a part's activations {activations / 2**30:.2f}, "
        f"the sampler's cache {cache / 2**30:.2f})",
    ]


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
