"""The settings of a training run that belong to no plug-in, and how a recipe and flags become a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlvr import config, registry
from rlvr.errors import UserError
from rlvr.policy import Optimizer
from rlvr.pretrained import Model


@dataclass(frozen=True)
class Run:
    """How long, how many, how large. There are no divisibility rules among these."""

    steps: int = 100
    problems: int = 32  # problems a step
    responses: int = 8  # responses a problem, on average where a budget divides them unequally
    minibatches: int = 1  # optimiser steps a batch
    epochs: int = 1  # passes over a batch
    tokens_per_part: int = 8192  # packed tokens that pass through the model at a time
    entropy_bonus: float = 0.0  # times the entropy, added to the objective
    workers: int = 2  # verifier processes
    staleness: int = 0  # steps that weights may be older than the ones they train; 0: on-policy
    replay: int = 0  # recent groups that a step trains on again (needs staleness)
    oversample: float = 1.0  # times the problems are asked, the slowest are cancelled
    max_broken: float = 0.1  # share of broken verdicts above which the run stops
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "problems", "responses", "minibatches", "epochs", "tokens_per_part"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.workers < 1:
            raise ValueError("workers must be at least 1")
        if not 0 <= self.max_broken <= 1:
            raise ValueError("max_broken is a share between 0 and 1")
        if min(self.staleness, self.replay) < 0:
            raise ValueError("staleness and replay must not be negative")
        if self.replay and not self.staleness:
            raise ValueError(
                "replay trains on older weights' responses: allow it with --staleness 1"
            )
        if not 1 <= self.oversample <= 10:
            raise ValueError("oversample goes from 1 (off) to 10")


@dataclass(frozen=True)
class Eval:
    """Held-out evaluation before, during and after training."""

    split: str = "test"
    every: int = 25  # steps; 0: only before and after
    problems: int = 128  # how many of the split, from its beginning
    samples: int = 4  # responses a problem at the training temperature

    def __post_init__(self) -> None:
        if min(self.every, self.problems) < 0 or self.samples < 1:
            raise ValueError("every and problems must not be negative, samples at least 1")


@dataclass(frozen=True)
class Evaluation:
    """What `rlvr eval` has beside its stages."""

    workers: int = 2  # verifier processes


@dataclass(frozen=True)
class Checkpoint:
    """When to save, and how much is kept."""

    every: int = 5  # steps; 0: only at the end
    keep: int = 2  # the newest ones; the best one by held-out accuracy stays as well
    merged: bool = False  # with LoRA: also export the merged model at the end

    def __post_init__(self) -> None:
        if self.every < 0 or self.keep < 1:
            raise ValueError("every must not be negative, keep at least 1")


@dataclass(frozen=True)
class Tracker:
    """Where metrics go beside metrics.jsonl: none, tensorboard, wandb, trackio, ... by accelerate."""

    name: str = "none"


@dataclass(frozen=True)
class Shadow:
    """A second verifier on a share of the responses, off the critical path; it changes no verdict."""

    name: str = "none"
    share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError("share goes from 0 to 1")


SECTIONS: dict[str, type[Any]] = {
    "": Run,
    "model": Model,
    "optimizer": Optimizer,
    "eval": Eval,
    "checkpoint": Checkpoint,
    "tracker": Tracker,
    "shadow": Shadow,
}

STAGES: dict[str, str] = {
    "task": "arithmetic",
    "sampler": "transformers",
    "verifier": "",  # the task's own
    "budget": "uniform",
    "filter": "none",
    "advantage": "grpo",
    "select": "all",
    "correct": "none",
    "clip": "ppo",
    "aggregate": "token",
    "kl": "none",
}


def chosen(stage: str, recipe: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    """The name chosen for a stage, or its default."""
    for layer in (flags, recipe):
        name = layer.get(stage, {}).get("name")
        if name is not None:
            return str(name)
    return STAGES[stage]


def task_stages(recipe: Mapping[str, Any], flags: Mapping[str, Any]) -> tuple[dict[str, str], Any]:
    """Default stages once the task is known, and the task's class."""
    task = registry.load("task", chosen("task", recipe, flags)).target
    return {**STAGES, "verifier": getattr(task, "verifier", "math")}, task


def as_trained(resolved: config.Resolved) -> config.Tree:
    """Derived: a sampler that can choose computes in what the model is asked to compute in."""
    dtype = resolved.sections["model"]["dtype"].value
    if dtype == "auto" or "dtype" not in resolved.stages["sampler"].settings:
        return {}
    return {"sampler": {"dtype": dtype}}


def build(resolved: config.Resolved) -> dict[str, Any]:
    """Every stage that is a plain plug-in, built; the verifier is built in the pool's own processes."""
    return {name: stage.build() for name, stage in resolved.stages.items() if name != "verifier"}


def sections(resolved: config.Resolved) -> dict[str, Any]:
    """Every section as its dataclass, checked."""
    built = {}
    for name, kind in SECTIONS.items():
        try:
            built[name] = resolved.section(name, kind)
        except ValueError as error:
            raise UserError(f"--{name}: {error}" if name else str(error)) from None
    return built
