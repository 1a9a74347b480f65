"""Responses that outlive their step: batches that wait, recent groups to train on again, responses half written.

All of it is saved with a checkpoint, so that a resumed run goes on as if it had not stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlvr.partial import Begun
from rlvr.settings import Run
from rlvr.types import Finish, Group, Problem, Request, Rollout, Status, Verdict

SCHEMA = 1


@dataclass(frozen=True)
class Sampled:
    """Judged groups, and which of them the filter keeps [Q]."""

    groups: tuple[Group, ...]
    keep: Tensor
    cancelled: int = 0  # tokens sampled for them and thrown away


@dataclass
class Stock:
    """What is left of earlier steps."""

    waiting: dict[int, Sampled] = field(default_factory=dict)  # by the step that trains on it
    recent: tuple[Group, ...] = ()  # trained on already, informative, young enough to be again
    begun: tuple[Begun, ...] = ()

    def replay(self, step: int, settings: Run, seed: int) -> tuple[Group, ...]:
        """Up to `settings.replay` recent groups, drawn without replacement."""
        order = torch.randperm(len(self.recent), generator=torch.Generator().manual_seed(seed))
        return tuple(self.recent[index] for index in order[: settings.replay].tolist())

    def keep(self, groups: Iterable[Group], step: int, staleness: int) -> None:
        """Remember informative groups that `step` trained on; forget what the next step may not use."""
        informative = [
            group
            for group in groups
            if len({r.verdict.reward for r in group.rollouts if r.verdict} - {None}) > 1
        ]
        self.recent = tuple(
            group
            for group in (*self.recent, *informative)
            if min(rollout.version for rollout in group.rollouts) >= step - staleness
        )

    def snapshot(self) -> Stock:
        """As it is now: what is held is never changed, only replaced."""
        return replace(self, waiting=dict(self.waiting))

    # on disk: tensors as safetensors, words as JSON

    def save(self, folder: Path) -> None:
        """stock.json and stock.safetensors; no file when there is nothing."""
        if not (self.waiting or self.recent or self.begun):
            return
        tensors: dict[str, Tensor] = {}
        words = {
            "schema": SCHEMA,
            "waiting": {
                str(step): {
                    "keep": batch.keep.tolist(),
                    "cancelled": batch.cancelled,
                    "groups": [_group(each, tensors) for each in batch.groups],
                }
                for step, batch in self.waiting.items()
            },
            "recent": [_group(each, tensors) for each in self.recent],
            "begun": [
                {
                    "prompt_ids": list(each.request.prompt_ids),
                    "steps": each.steps,
                    **_group(Group(each.request.problem, each.rollouts), tensors),
                }
                for each in self.begun
            ],
        }
        save_file(tensors, folder / "stock.safetensors")
        (folder / "stock.json").write_text(json.dumps(words))

    @classmethod
    def load(cls, folder: Path) -> Stock:
        """What `save` left in the folder."""
        if not (folder / "stock.json").exists():
            return cls()
        words = json.loads((folder / "stock.json").read_text())
        tensors = load_file(folder / "stock.safetensors")
        return cls(
            waiting={
                int(step): Sampled(
                    tuple(_read_group(each, tensors) for each in batch["groups"]),
                    torch.tensor(batch["keep"], dtype=torch.bool),
                    batch["cancelled"],
                )
                for step, batch in words["waiting"].items()
            },
            recent=tuple(_read_group(each, tensors) for each in words["recent"]),
            begun=tuple(_read_begun(each, tensors) for each in words["begun"]),
        )


def _group(group: Group, tensors: dict[str, Tensor]) -> dict[str, Any]:
    problem = group.problem
    return {
        "problem": {
            "id": problem.id,
            "prompt": problem.prompt,
            "reference": problem.reference,
            "fields": dict(problem.fields),
            "split": problem.split,
        },
        "rollouts": [_rollout(each, tensors) for each in group.rollouts],
    }


def _rollout(rollout: Rollout, tensors: dict[str, Tensor]) -> dict[str, Any]:
    number = len(tensors)
    tensors[f"{number}.tokens"] = rollout.tokens.clone()
    tensors[f"{number}.logprobs"] = rollout.logprobs.clone()
    if rollout.versions is not None:
        tensors[f"{number}.versions"] = rollout.versions.clone()
    verdict = rollout.verdict
    return {
        "number": number,
        "prompt_ids": list(rollout.prompt_ids),
        "text": rollout.text,
        "finish": str(rollout.finish),
        "version": rollout.version,
        "verdict": None
        if verdict is None
        else {
            "status": str(verdict.status),
            "reward": verdict.reward,
            "detail": verdict.detail,
            "seconds": verdict.seconds,
            "extracted": verdict.extracted,
            "parts": dict(verdict.parts),
            "isolation": verdict.isolation,
        },
    }


def _read_group(words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Group:
    return Group(Problem(**words["problem"]), tuple(_read_rollouts(words["rollouts"], tensors)))


def _read_rollouts(
    rows: Iterable[Mapping[str, Any]], tensors: Mapping[str, Tensor]
) -> Iterator[Rollout]:
    for row in rows:
        number, verdict = row["number"], row["verdict"]
        yield Rollout(
            prompt_ids=tuple(row["prompt_ids"]),
            tokens=tensors[f"{number}.tokens"],
            logprobs=tensors[f"{number}.logprobs"],
            text=row["text"],
            finish=Finish(row["finish"]),
            version=row["version"],
            verdict=verdict and Verdict(**{**verdict, "status": Status(verdict["status"])}),
            versions=tensors.get(f"{number}.versions"),
        )


def _read_begun(words: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Begun:
    group = _read_group(words, tensors)
    request = Request(group.problem, tuple(words["prompt_ids"]), len(group.rollouts))
    return Begun(request, group.rollouts, words["steps"])
