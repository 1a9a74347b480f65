"""A training run with everything built: what the loop's verbs mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlvr import card, evaluation, prompts
from rlvr.advantage.filters.overlong import shaped
from rlvr.advantage.scores import Scores
from rlvr.advantage.weigh import Weights, weigh
from rlvr.batch import rows_of
from rlvr.clock import Clock
from rlvr.curriculum import Curriculum
from rlvr.errors import UserError
from rlvr.learn import Learned, Learner, score
from rlvr.policy import Policy
from rlvr.run import RunDirectory
from rlvr.samplers.sampler import Engine
from rlvr.settings import Checkpoint, Eval, Run
from rlvr.types import Group, Problem, Request
from rlvr.verifiers.pool import Pool
from rlvr.verifiers.shadow import Shadow

# problems in a row whose prompts leave no room for an answer, before that is the user's mistake
TOO_LONG = 1000


@dataclass
class Job:
    """All parts of a run. `step` is the last step that is done."""

    run: RunDirectory
    settings: Run
    eval: Eval
    checkpoint: Checkpoint
    max_tokens: int
    curriculum: Curriculum
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
    aggregate: Any
    step: int = 0
    horizon: int = 0  # steps at launch: schedules keep it when a resumed run is made longer
    best: tuple[float, int] | None = None  # held-out accuracy and its step
    stop_requested: bool = False

    # asking

    def gather(self, step: int, clock: Clock) -> tuple[list[Group], Tensor]:
        """Judged groups of one step, and which of them the filter keeps [Q].

        A filter that drops prompts has new ones sampled, in a bounded number of rounds; what it
        dropped stays in the groups, so that it is counted.
        """
        groups: list[Group] = []
        keep = torch.zeros(0, dtype=torch.bool)
        wanted = self.settings.problems
        for attempt in range(1 + self.filter.rounds):
            problems = self._problems(wanted - int(keep.sum()))
            groups += self._ask(problems, seed(self.settings.seed, "sample", step, attempt), clock)
            keep = self.filter(shaped(self.filter, Scores.of(groups)))
            if int(keep.sum()) >= wanted or not problems:
                break
        surplus = keep.cumsum(0) > wanted
        return groups, keep & ~surplus

    def _problems(self, count: int) -> list[Problem]:
        """The next problems whose prompts leave room for an answer."""
        limit = getattr(self.policy.base.config, "max_position_embeddings", None)
        taken: list[Problem] = []
        for _ in range(TOO_LONG):
            for problem in self.curriculum.next(count - len(taken)):
                length = len(self.encode(problem)) + self.max_tokens
                if limit is None or length <= limit:
                    taken.append(problem)
            if len(taken) >= min(count, len(self.curriculum.problems)):
                return taken
        raise UserError(
            f"task {self.task}: {TOO_LONG} times in a row no prompt left room for "
            f"{self.max_tokens} tokens in the model's {limit} positions (--sampler.max_tokens)"
        )

    def _ask(self, problems: Sequence[Problem], seed: int, clock: Clock) -> list[Group]:
        """Sampled and judged, in the order of the problems."""
        counts = self.budget.allocate([each.id for each in problems], self.settings.responses)
        requests = [
            Request(problem, self.encode(problem), count)
            for problem, count in zip(problems, counts, strict=True)
            if count
        ]
        sampled = clock.each("sample", self.engine.stream(requests, seed=seed))
        before = clock.seconds["sample"]
        started = clock.total
        done = {group.problem.id: group for group in self.pool.judge(sampled)}
        sampling = clock.seconds["sample"] - before
        clock.seconds["verify"] += max(clock.total - started - sampling, 0.0)
        return [done[request.problem.id] for request in requests]

    def encode(self, problem: Problem) -> tuple[int, ...]:
        return prompts.encode(self.policy.tokenizer, problem)

    # weighing and learning

    def weigh(
        self, groups: Sequence[Group], keep: Tensor, step: int
    ) -> tuple[Weights, Tensor | None]:
        """One weight a token, and the old policy's entropies [T] where a stage reads them."""
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        entropy = None
        if self.select.needs_entropy or "entropy" in getattr(self.estimator, "needs", ()):
            zeros = torch.zeros(sum(rollout.length for rollout in rollouts))
            rows = rows_of(rollouts, zeros, zeros)
            budget, temperature = self.settings.tokens_per_part, self.learner.temperature
            _, entropy = score(self.policy, rows, budget, temperature)
        progress = min((step - 1) / max(self.horizon - 1, 1), 1.0)
        scores = shaped(self.filter, Scores.of(groups, entropy=entropy))
        return weigh(scores, self.estimator, self.select, self.aggregate, progress, keep), entropy

    def learn(self, groups: Sequence[Group], weights: Weights, step: int) -> Learned:
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        torch.manual_seed(seed(self.settings.seed, "torch", step))
        return self.learner(rollouts, weights, step, seed(self.settings.seed, "shuffle", step))

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
            self.encode,
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
            "position": self.curriculum.position,
            "seed": self.settings.seed,
            "horizon": self.horizon,
            "best": self.best,
            "stages": stages,
        }

    def save(self) -> None:
        """checkpoints/step-N of the last step that is done; at the end also the merged model."""
        self._write(self.state())
        if self.checkpoint.merged and self.step == self.settings.steps:
            self.policy.export(self.run.folder / "merged")

    def abandon(self, boundary: Mapping[str, Any]) -> None:
        """Save the state as it was before a step that could not be finished."""
        if self.step and self.policy.updates == boundary["updates"]:
            self._write(boundary)

    def _write(self, state: Mapping[str, Any]) -> None:
        def write_model(folder: Path) -> None:
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
        self.curriculum.position = state["position"]
        stages = self._stages()
        for name, saved in state["stages"].items():
            if not hasattr(stages[name], "load_state_dict"):
                raise UserError(
                    f"--resume: the checkpoint holds a state for {name}, which has none now"
                )
            stages[name].load_state_dict(saved)
        self.engine.load(self.policy.weights(), version=self.step)

    def _stages(self) -> dict[str, Any]:
        return {
            "budget": self.budget,
            "filter": self.filter,
            "advantage": self.estimator,
            "select": self.select,
            "clip": self.learner.rule,
        }


def seed(*words: object) -> int:
    """A seed of 63 bits for a purpose: the same words give the same seed on every machine."""
    digest = hashlib.sha256(":".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
