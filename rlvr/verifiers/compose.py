"""Verifiers made of verifiers: weighted sums, gates, a choice by task, shaping.

Every component stays in `Verdict.parts`. A component is a name (`"math"`, `"./mine.py:Even"`), a
mapping of a name and settings (`{"name": "math", "timeout": 2}`, the form for recipes) or a
verifier. One that is broken makes the whole broken: our failure is never a number.

Not covered: components in processes of their own. They share a worker, so the deadline of the whole
is the sum of theirs, and one that hangs takes the others' verdicts with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from rlvr import registry
from rlvr.errors import UserError
from rlvr.types import Status, Verdict
from rlvr.verifiers.calling import Call, Traits
from rlvr.verifiers.shaping import Term, term


class Component:
    """A verifier inside another, and the name its part goes by."""

    def __init__(self, value: object) -> None:
        self.name, self.verifier = _found(value)
        self._call = Call(self.verifier)

    def __call__(self, response: str, reference: object, fields: Mapping[str, object]) -> Verdict:
        plain = {name: value for name, value in fields.items() if name != "problem_prompt"}
        return self._call(response, reference, plain, fields.get("problem_prompt"))


def _found(value: object) -> tuple[str, Any]:
    settings: dict[str, Any] = {}
    if isinstance(value, Mapping):
        settings = {str(key): inner for key, inner in value.items()}
        value = settings.pop("name", None)
    if not isinstance(value, str):
        if not callable(value):
            raise UserError(f"{value!r} is not a verifier")
        return getattr(value, "__name__", type(value).__name__).lower(), value
    target = registry.load("verifier", value).target
    try:
        built = target(**settings) if isinstance(target, type) else target
    except (TypeError, ValueError) as error:
        raise UserError(f"verifier {value}: {error}") from error
    return value.rsplit(":", 1)[-1].lower(), built


class Composed:
    """What a composition does for its components: imports, openings, limits."""

    takes_prompt: ClassVar[bool] = True

    @property
    def chosen(self) -> Sequence[object]:
        """The components as they were given."""
        raise AssertionError("every composition names its components")

    @cached_property
    def components(self) -> tuple[Component, ...]:
        found = tuple(Component(value) for value in self.chosen)
        seen: Counter[str] = Counter()
        for each in found:
            seen[each.name] += 1
            if seen[each.name] > 1:
                each.name = f"{each.name}_{seen[each.name]}"
        return found

    @cached_property
    def _traits(self) -> list[Traits]:
        return [Traits.of(each.verifier, None) for each in self.components]

    @property
    def timeout(self) -> float:
        return sum(each.timeout for each in self._traits)

    @property
    def grace(self) -> float:
        return max(each.deadline - each.timeout for each in self._traits)

    @property
    def version(self) -> str:
        return " ".join(
            f"{each.name}-{getattr(each.verifier, 'version', '0')}" for each in self.components
        )

    @property
    def cacheable(self) -> bool:
        return all(getattr(each.verifier, "cacheable", True) for each in self.components)

    @property
    def pool_memory_mb(self) -> int:
        return _widest([each.memory_mb for each in self._traits])

    @property
    def pool_disk_mb(self) -> int:
        return _widest([each.file_mb for each in self._traits])

    def prepare(self) -> None:
        for each in self.components:
            if hasattr(each.verifier, "prepare"):
                each.verifier.prepare()

    def open(self) -> None:
        for each in self.components:
            if hasattr(each.verifier, "open"):
                each.verifier.open()


def _widest(limits: list[int]) -> int:
    return 0 if 0 in limits else max(limits)


@dataclass(frozen=True)
class Weighted(Composed):
    """A weighted sum of verifiers; the status is the first one's.

    >>> both = Weighted(of=(lambda response, gold: response == gold, len), weights=(1.0, 0.5))
    >>> both("42", "42").reward
    2.0
    """

    of: tuple[Any, ...]
    weights: tuple[float, ...] = ()  # one a component; without any, all 1

    def __post_init__(self) -> None:
        if not self.of:
            raise ValueError("of needs at least one verifier")
        if self.weights and len(self.weights) != len(self.of):
            raise ValueError(f"{len(self.weights)} weights for {len(self.of)} verifiers")

    @property
    def chosen(self) -> Sequence[object]:
        return self.of

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        verdicts = {each.name: each(response, reference, fields) for each in self.components}
        if broken := _broken(verdicts):
            return broken
        weights = self.weights or (1.0,) * len(verdicts)
        total = sum(
            weight * (verdict.reward or 0.0)
            for weight, verdict in zip(weights, verdicts.values(), strict=True)
        )
        first = next(iter(verdicts.values()))
        return replace(first, reward=total, detail=_details(verdicts), parts=_parts(verdicts))


@dataclass(frozen=True)
class Gate(Composed):
    """The last verifier's verdict for what every earlier one accepts; reward 0 for the rest."""

    of: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.of:
            raise ValueError("of needs at least one verifier")

    @property
    def chosen(self) -> Sequence[object]:
        return self.of

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        verdicts: dict[str, Verdict] = {}
        *gates, last = self.components
        for each in gates:
            verdict = verdicts[each.name] = each(response, reference, fields)
            if broken := _broken(verdicts):
                return broken
            if not verdict.correct:
                detail = f"gate {each.name}: {verdict.detail or verdict.status}"
                return Verdict(verdict.status, 0.0, detail, parts=_parts(verdicts))
        final = verdicts[last.name] = last(response, reference, fields)
        return _broken(verdicts) or replace(final, parts=_parts(verdicts))


@dataclass(frozen=True)
class ByTask(Composed):
    """The verifier that belongs to the case's task: `--verifier.of gsm8k=math,mbpp=code`."""

    of: tuple[Any, ...] | dict[str, Any]  # "task=verifier", or a mapping
    field: str = "task"  # of the case
    otherwise: Any = None  # verifier for other tasks; without it they are broken

    def __post_init__(self) -> None:
        if not isinstance(self.of, Mapping) and not all(
            isinstance(each, str) and "=" in each for each in self.of
        ):
            raise ValueError("of is a list of task=verifier")
        if not self.of:
            raise ValueError("of needs at least one task")

    @cached_property
    def _table(self) -> dict[str, object]:
        if isinstance(self.of, Mapping):
            return {str(task): value for task, value in self.of.items()}
        return dict(each.split("=", 1) for each in self.of)

    @property
    def chosen(self) -> Sequence[object]:
        return [*self._table.values(), *([] if self.otherwise is None else [self.otherwise])]

    @property
    def timeout(self) -> float:
        """Only one of them runs."""
        return max(each.timeout for each in self._traits)

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        task = str(fields.get(self.field))
        names = list(self._table)
        if task in names:
            component = self.components[names.index(task)]
        elif self.otherwise is not None:
            component = self.components[-1]
        else:
            return Verdict.broken(f"no verifier for {self.field} '{task}'")
        verdict = component(response, reference, fields)
        return (
            verdict
            if verdict.reward is None
            else replace(verdict, parts=_parts({component.name: verdict}))
        )


@dataclass(frozen=True)
class Shaped(Composed):
    """A verifier's reward plus terms for length and repetition; the status stays the verifier's."""

    of: Any = "math"
    terms: tuple[Any, ...] = ("length", "repetition")

    @property
    def chosen(self) -> Sequence[object]:
        return (self.of,)

    @cached_property
    def _terms(self) -> list[tuple[str, Term]]:
        return [term(value) for value in self.terms]

    def __post_init__(self) -> None:
        _ = self._terms  # a wrong name is the user's mistake now, not a broken verdict later

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        (component,) = self.components
        verdict = component(response, reference, fields)
        if verdict.reward is None:
            return verdict
        added = {name: 0.0 + each(verdict, response) for name, each in self._terms}  # never -0.0
        return replace(
            verdict,
            reward=verdict.reward + sum(added.values()),
            parts={**_parts({component.name: verdict}), **added},
        )


def _broken(verdicts: Mapping[str, Verdict]) -> Verdict | None:
    for name, verdict in verdicts.items():
        if verdict.status is Status.BROKEN:
            rest = {key: each for key, each in verdicts.items() if each.reward is not None}
            return Verdict.broken(f"{name}: {verdict.detail}", parts=_parts(rest))
    return None


def _parts(verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """Rewards by component, and their own parts as `component.part`."""
    parts: dict[str, float] = {}
    for name, verdict in verdicts.items():
        parts[name] = verdict.reward or 0.0
        parts |= {f"{name}.{inner}": value for inner, value in verdict.parts.items()}
    return parts


def _details(verdicts: Mapping[str, Verdict]) -> str:
    return "; ".join(f"{name}: {each.detail}" for name, each in verdicts.items() if each.detail)
