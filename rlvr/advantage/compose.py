"""Which stages go together: refusals, defaults that give way, and conditions to be told about.

Works on names only, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rlvr.errors import UserError

Tree = dict[str, dict[str, Any]]


class Setting(Protocol):
    """A value and where it came from."""

    @property
    def value(self) -> Any: ...

    @property
    def origin(self) -> str: ...


class Choice(Protocol):
    """One chosen stage, as the settings resolve it."""

    @property
    def name(self) -> str: ...

    @property
    def explicit(self) -> bool: ...  # named by the user, in a recipe or by a flag

    @property
    def settings(self) -> Mapping[str, Setting]: ...


@dataclass(frozen=True)
class Composition:
    """What follows from the choices: derived settings, and one line for each condition."""

    derived: Tree
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two stages that meet: (stage, name) each, a sentence on why or when, and settings that answer it."""

    one: tuple[str, str]
    other: tuple[str, str]
    text: str
    answer: tuple[tuple[str, str, Any], ...] = ()  # (stage, setting, value)

    def met(self, names: Mapping[str, str]) -> bool:
        return all(names.get(stage) == name for stage, name in self.both)

    def told(self, chosen: Mapping[str, Choice], derived: Tree) -> str:
        """The line for the user, who (or another choice) may have set what it asks for."""

        def set_to(stage: str, key: str) -> Any:
            given = chosen[stage].settings.get(key)
            if given is not None and given.origin != "default":
                return given.value
            return derived.get(stage, {}).get(key)

        answered = self.answer and all(
            set_to(stage, key) == value for stage, key, value in self.answer
        )
        return f"{self}; so it is set here" if answered else str(self)

    @property
    def both(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return self.one, self.other

    def __str__(self) -> str:
        (one, a), (other, b) = self.both
        return f"{one} {a} with {other} {b}: {self.text}"


NO_RATIO = "drpo has no clipped ratio, its loss is a log-likelihood with a KL hinge"

CONTRADICTIONS = (
    Pair(("advantage", "drpo"), ("clip", "bapo"), NO_RATIO),
    Pair(("advantage", "drpo"), ("clip", "dapo"), NO_RATIO),
    Pair(
        ("advantage", "riskpo"),
        ("filter", "dapo"),
        "the filter drops the all-wrong prompts that riskpo learns from",
    ),
)

CONDITIONS = (
    Pair(
        ("advantage", "bnpo"),
        ("budget", "knapsack"),
        "groups differ in size, so fit with the noise taken out (--advantage.correct_noise true)",
        (("advantage", "correct_noise", True),),
    ),
    Pair(
        ("advantage", "bnpo"),
        ("filter", "dapo"),
        "a and b must be fitted before prompts are dropped, as is done here",
    ),
    Pair(
        ("advantage", "drpo"),
        ("select", "d3s"),
        "only inside each prompt with both classes kept and no token level "
        "(--select.mode intra --select.tokens 1)",
        (("select", "mode", "intra"), ("select", "tokens", 1.0)),
    ),
    Pair(
        ("advantage", "riskpo"),
        ("select", "d3s"),
        "only whole exams may be selected, as is done here",
    ),
    Pair(
        ("advantage", "riskpo"),
        ("budget", "knapsack"),
        "only with bundles of equal groups: larger groups leave responses over, and all-wrong "
        "prompts, which knapsack starves, do carry signal",
    ),
    Pair(
        ("advantage", "riskpo"),
        ("clip", "bapo"),
        "only with a centred baseline (--advantage.baseline batch_mean): otherwise no advantage "
        "is positive and the search runs to its end",
        (("advantage", "baseline", "batch_mean"),),
    ),
    Pair(
        ("select", "d3s"),
        ("filter", "dapo"),
        "only needed with --select.mode intra: cross-group selection already avoids uninformative "
        "groups",
        (("select", "mode", "intra"),),
    ),
    Pair(
        ("budget", "knapsack"),
        ("filter", "dapo"),
        "two answers to the same waste: choose one, or keep the filter as a last resort",
    ),
    *(
        Pair(
            ("advantage", "drpo"),
            ("clip", name),
            "only as a surrogate on its coefficients: the KL hinge of the method is left out",
        )
        for name in ("ppo", "cispo", "gspo")
    ),
    *(
        Pair(
            ("advantage", "drpo"),
            ("aggregate", name),
            "only prompt_sum gives the objective of the method",
        )
        for name in ("token", "sequence", "sequence_sum", "constant", "prompt")
    ),
)

# what stands in for a default that contradicts a chosen stage
STAND_IN = {"advantage": "grpo", "clip": "ppo", "filter": "none"}


def compose(chosen: Mapping[str, Choice]) -> Composition:
    """The rules applied to chosen stages.

    Raises UserError for two stages that contradict each other when the user named both. Otherwise
    the default gives way: the settings must then be resolved again with `derived`.
    """
    names = {stage: choice.name for stage, choice in chosen.items()}
    derived: Tree = {}
    for pair in CONTRADICTIONS:
        if not pair.met(names):
            continue
        yielding = [stage for stage, _ in reversed(pair.both) if not chosen[stage].explicit]
        if not yielding:
            raise UserError(f"{pair}. Drop one of them")
        names[yielding[0]] = STAND_IN[yielding[0]]
        derived[yielding[0]] = {"name": STAND_IN[yielding[0]]}
    if names.get("advantage") == "drpo":
        derived |= _of_drpo(chosen)
    if names.get("advantage") == "riskpo" and "task" in chosen:
        # a run, not the laboratory: with all advantages negative the step's common push outweighs
        # what tells responses apart, and the embedded default unlearns
        derived["advantage"] = {"name": "riskpo", "baseline": "batch_mean"}
    names |= {stage: settings["name"] for stage, settings in derived.items()}
    derived |= _of_correction(chosen, names)
    told = (pair.told(chosen, derived) for pair in CONDITIONS if pair.met(names))
    return Composition(derived, tuple(told))


def _of_correction(chosen: Mapping[str, Choice], names: Mapping[str, str]) -> Tree:
    """A correction weighs the trainer's old policy against the sampler, so the ratio is over the former."""
    if names.get("correct", "none") == "none" or "sampler" not in chosen:
        return {}
    old = chosen["sampler"].settings.get("old_logprobs")
    if old is None or old.value == "trainer":
        return {}
    if old.origin != "default":
        raise UserError(
            f"correct {names['correct']} with --sampler.old_logprobs engine: the ratio would hold the "
            "sampler's mismatch twice. Drop one of them"
        )
    return {"sampler": {"old_logprobs": "trainer"}}


def _of_drpo(chosen: Mapping[str, Choice]) -> Tree:
    """DRPO brings its own loss, its own sum and its way of selecting, unless others were named."""
    derived: Tree = {}
    if "clip" in chosen and not chosen["clip"].explicit:
        given = chosen["advantage"].settings
        hinge = {key: given[key].value for key in ("delta", "beta")}
        derived["clip"] = {"name": "loglik", **hinge}
    if "aggregate" in chosen and not chosen["aggregate"].explicit:
        derived["aggregate"] = {"name": "prompt_sum"}
    if "select" in chosen and chosen["select"].name == "d3s":
        whole = {"mode": "intra", "tokens": 1.0, "tokens_start": 1.0}
        derived["select"] = {"name": "d3s", **whole}
    return derived


def constants(names: Mapping[str, str], max_tokens: int) -> Tree:
    """Settings that are the run's response limit, for the chosen stages that have one."""
    derived: Tree = {}
    for stage, name in (("advantage", "drpo"), ("aggregate", "constant")):
        if names.get(stage) == name:
            derived[stage] = {"name": name, "max_tokens": max_tokens}
    for name in ("none", "dapo"):
        if names.get("filter") == name:
            cache = max(1, max_tokens // 5)  # the paper's 4096 of 20480
            derived["filter"] = {"name": name, "max_tokens": max_tokens, "cache": cache}
    return derived


PRESETS: dict[str, Tree] = {
    "baseline": {
        "advantage": {"name": "grpo"},
        "filter": {"name": "dapo"},
        "clip": {"name": "dapo"},
        "aggregate": {"name": "token"},
    },
    "stable-offpolicy": {
        "advantage": {"name": "bnpo"},
        "clip": {"name": "bapo"},
        "aggregate": {"name": "token"},
    },
    "low-budget": {
        "budget": {"name": "knapsack"},
        "advantage": {"name": "grpo", "limit": 5.0},
        "select": {"name": "d3s"},
        "aggregate": {"name": "token"},
    },
    "efficient-length": {
        "budget": {"name": "knapsack"},
        "advantage": {"name": "drpo"},
    },
    "explore": {
        "advantage": {"name": "riskpo", "baseline": "batch_mean"},
        "clip": {"name": "bapo"},
        "aggregate": {"name": "token"},
    },
}
