"""A training run with everything built: what the loop's verbs mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlvr import card, evaluation
from rlvr.advantage.filters.overlong import shaped
from rlvr.advantage.scores import Scores
from rlvr.advantage.weigh import Weights, weigh
from rlvr.batch import rows_of
from rlvr.clock import Clock
from rlvr.errors import UserError
from rlvr.gather import Gathered, Gatherer, seed
from rlvr.learn import Learned, Learner, score
from rlvr.mismatch import Mismatch
from rlvr.policy import Policy
from rlvr.run import RunDirectory
from rlvr.samplers.sampler import Engine
from rlvr.settings import Checkpoint, Eval, Run
from rlvr.stock import Stock
from rlvr.sync import Sync
from rlvr.types import Problem
from rlvr.verifiers.pool import Pool
from rlvr.verifiers.shadow import Shadow

Boundary = tuple[dict[str, Any], Stock]  # the state of a run but its weights, and its stock


@dataclass(frozen=True)
class Weighed:
    """The weights of a step, and what the old policy was asked for them, each [T] or None."""

    weights: Weights
    entropy: Tensor | None
    old: Tensor | None  # its log-probabilities: what the ratio is over, in place of the sampler's
    mismatch: Mismatch | None  # of sampler and old policy


@dataclass
class Job:
    """All parts of a run. `step` is the last step that is done."""

    run: RunDirectory
    settings: Run
    eval: Eval
    checkpoint: Checkpoint
    old_logprobs: str
    gather: Gatherer
    sync: Sync
    held_out: Sequence[Problem]
    task: str
    policy: Policy
    engine: Engine
    pool: Pool
    shadow: Shadow | None
    learner: Learner
    budget: Any
    filter: Any
    estimator: Any
    select: Any
    correct: Any
    aggregate: Any
    step: int = 0
    horizon: int = 0  # steps at launch: schedules keep it when a resumed run is made longer
    best: tuple[float, int] | None = None  # held-out accuracy and its step
    stop_requested: bool = False

    # weighing and learning

    def weigh(self, gathered: Gathered, step: int) -> Weighed:
        """One weight a token; the old policy is scored where a stage or the ratio wants it to be."""
        rollouts, groups = gathered.rollouts, gathered.groups
        needs_old = self.correct.needs_old or self.old_logprobs == "trainer"
        old, entropy, mismatch = None, None, None
        if (
            needs_old
            or self.select.needs_entropy
            or "entropy" in getattr(self.estimator, "needs", ())
        ):
            zeros = torch.zeros(sum(rollout.length for rollout in rollouts))
            rows = rows_of(rollouts, zeros, zeros)
            budget, temperature = self.settings.tokens_per_part, self.learner.temperature
            logp, entropy = score(self.policy, rows, budget, temperature)
            old = logp if needs_old else None
        progress = min((step - 1) / max(self.horizon - 1, 1), 1.0)
        scores = shaped(self.filter, Scores.of(groups, entropy=entropy, logprob=old))
        if old is not None and scores.sampled is not None:
            mismatch = Mismatch()
            mismatch.add(old, scores.sampled, torch.ones(len(old), dtype=torch.bool))
        correct = self.correct if self.correct.needs_old else None
        weights = weigh(
            scores, self.estimator, self.select, self.aggregate, progress, gathered.keep, correct
        )
        return Weighed(weights, entropy, old, mismatch)

    def learn(self, gathered: Gathered, weighed: Weighed, step: int) -> Learned:
        rollouts = gathered.rollouts
        if weighed.old is not None:
            pieces = weighed.old.split([rollout.length for rollout in rollouts])
            rollouts = [
                replace(each, logprobs=own) for each, own in zip(rollouts, pieces, strict=True)
            ]
        if hasattr(self.engine, "rest"):
            self.engine.rest()
        torch.manual_seed(seed(self.settings.seed, "torch", step))
        shuffle = seed(self.settings.seed, "shuffle", step)
        return self.learner(rollouts, weighed.weights, step, shuffle)

    def observe(self, gathered: Gathered, weighed: Weighed, metrics: Mapping[str, Any]) -> None:
        """A step is done: tell the stages that learn from it, and write it down."""
        fresh = gathered.groups[: gathered.fresh]
        self.budget.observe(
            [group.problem.id for group in fresh],
            [
                [
                    r.verdict.correct
                    for r in g.rollouts
                    if r.verdict and r.verdict.reward is not None
                ]
                for g in fresh
            ],
        )
        self.gather.stock.keep(fresh, self.step, self.settings.staleness)
        self.run.record(metrics)
        weights = weighed.weights
        self.run.record_rollouts(
            self.step,
            gathered.groups,
            weights.advantage,
            weights.kept,
            weighed.entropy,
            weighed.old,
        )

    # measuring

    def measures(self, step: int) -> bool:
        every = self.eval.every
        return step == self.settings.steps or (every > 0 and step % every == 0)

    def measure(self) -> bool:
        """Evaluate on held-out problems and record it; True when it is the best so far."""
        if not self.held_out:
            return False
        clock = Clock()
        results = evaluation.evaluate(
            self.engine,
            self.pool.judge,
            self.gather.encode,
            self.held_out,
            samples=self.eval.samples,
            seed=seed(self.settings.seed, "eval", 0, 0),
        )
        numbers = evaluation.summary(results)
        self.run.record_problems(
            self.step,
            ({"task": self.task, "split": self.eval.split, **asdict(each)} for each in results),
        )
        self.run.record(
            {
                "kind": "eval",
                "step": self.step,
                "task": self.task,
                "split": self.eval.split,
                **numbers,
                "seconds": clock.total,
            }
        )
        if self.best is None or numbers["accuracy"] > self.best[0]:
            self.best = (numbers["accuracy"], self.step)
            return self.step > 0
        return False

    def best_text(self) -> str:
        return f"{self.best[0]:.3f} at step {self.best[1]}" if self.best else "not measured"

    def summary(self) -> str:
        """One line for the end of a run."""
        return f"{self.step} steps, best held-out accuracy {self.best_text()}"

    # saving

    def saves(self, step: int) -> bool:
        every = self.checkpoint.every
        return step == self.settings.steps or (every > 0 and step % every == 0)

    def state(self) -> dict[str, Any]:
        """Everything that changes during a run, but the weights and the optimiser's moments."""
        stages = {
            name: stage.state_dict()
            for name, stage in self._stages().items()
            if hasattr(stage, "state_dict")
        }
        return {
            "updates": self.policy.updates,
            "position": self.gather.curriculum.position,
            "seed": self.settings.seed,
            "horizon": self.horizon,
            "best": self.best,
            "lengths": dict(self.gather.lengths),
            "stages": stages,
        }

    def save(self) -> None:
        """checkpoints/step-N of the last step that is done; at the end also the merged model."""
        self._write(self.state(), self.gather.stock)
        if self.checkpoint.merged and self.step == self.settings.steps:
            self.policy.export(self.run.folder / "merged")

    def boundary(self) -> Boundary:
        """What `abandon` needs of the moment before a step."""
        return self.state(), self.gather.stock.snapshot()

    def abandon(self, boundary: Boundary) -> None:
        """Save the state as it was before a step that could not be finished."""
        state, stock = boundary
        if self.step and self.policy.updates == state["updates"]:
            self._write(state, stock)

    def _write(self, state: Mapping[str, Any], stock: Stock) -> None:
        def write_model(folder: Path) -> None:
            stock.save(folder)
            self.policy.save(folder)
            self.policy.save_optimizer(folder / "optimizer.safetensors")
            (folder / "README.md").write_text(card.model_card(self.run.folder, self.step))

        self.run.save(
            self.step,
            write_model,
            state,
            keep=self.checkpoint.keep,
            best=self.best[1] if self.best else None,
        )

    def restore(self, found: Any) -> None:
        """Go on from a checkpoint."""
        state = found.state
        if state["seed"] != self.settings.seed:
            raise UserError(f"--resume: the run has seed {state['seed']}, not {self.settings.seed}")
        self.policy.restore(found.folder, found.folder / "optimizer.safetensors")
        self.policy.updates = state["updates"]
        self.step = found.step
        self.horizon = state["horizon"]
        self.best = tuple(state["best"]) if state["best"] else None
        self.gather.curriculum.position = state["position"]
        self.gather.stock = Stock.load(found.folder)
        self.gather.lengths = dict(state["lengths"])
        stages = self._stages()
        for name, saved in state["stages"].items():
            if not hasattr(stages[name], "load_state_dict"):
                raise UserError(
                    f"--resume: the checkpoint holds a state for {name}, which has none now"
                )
            stages[name].load_state_dict(saved)

    def _stages(self) -> dict[str, Any]:
        return {
            "budget": self.budget,
            "filter": self.filter,
            "advantage": self.estimator,
            "select": self.select,
            "clip": self.learner.rule,
        }
