"""Reward functions written for other libraries, taken as they are.

Not covered: functions that look at the other completions of a batch (every call here sees one),
`trainer_state` and logging hooks of TRL, and reward models.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rlvr.types import Status, Verdict

# names under which TRL data sets keep what is called `reference` here
GOLD = ("solution", "answer", "ground_truth", "target", "label", "gold")


def trl(function: Callable[..., Any]) -> Callable[..., Verdict]:
    """`f(completions, **columns) -> list[float | None]` with one completion a call.

    Columns are the case's fields and `reference`, each as a list of one. Where the prompt is a list
    of messages, so is the completion; where no prompt is known, a function that cannot read a
    string is given messages. None is a broken verdict.
    """
    accepts = _accepts(function)

    @functools.wraps(function)
    def verifier(response: str, reference: object = None, **fields: object) -> Verdict:
        prompt = _prompt(fields)
        columns = {name: [value] for name, value in fields.items() if accepts(name)}
        columns.setdefault("prompts", [prompt])
        for name in ("reference", *GOLD):
            columns.setdefault(name, [reference])
        columns = {name: value for name, value in columns.items() if accepts(name)}
        message = [{"role": "assistant", "content": response}]
        conversational = isinstance(prompt, list)
        try:
            rewards = _now(
                function(completions=[message if conversational else response], **columns)
            )
        except (TypeError, AttributeError):
            if prompt is not None:
                raise
            rewards = _now(function(completions=[message], **columns))
        if len(rewards) != 1:
            return Verdict.broken(f"{len(rewards)} rewards for one completion")
        if rewards[0] is None:
            return Verdict.broken("the function returned None: it does not apply")
        return Verdict.of(float(rewards[0]))

    return _plain(verifier)


def verl(function: Callable[..., Any]) -> Callable[..., Verdict]:
    """`compute_score(data_source, solution_str, ground_truth, extra_info)`: a number, or a dict.

    `data_source`, `ground_truth` and `extra_info` are fields of the case; without them the
    reference is the ground truth and the fields are the extra info. Of a dict, "score" is the
    reward, "acc" decides whether it is correct, and all numbers go into the verdict's parts.
    """
    accepts = _accepts(function)

    @functools.wraps(function)
    def verifier(response: str, reference: object = None, **fields: object) -> Verdict:
        prompt = _prompt(fields)
        extra = fields.get("extra_info", {**fields, "prompt": prompt})
        given = {
            "data_source": fields.get("data_source", ""),
            "solution_str": response,
            "ground_truth": fields.get("ground_truth", reference),
            "extra_info": extra,
        }
        outcome = _now(function(**{name: value for name, value in given.items() if accepts(name)}))
        if isinstance(outcome, Mapping):
            return _scored(outcome)
        return Verdict.of(float(outcome[0] if isinstance(outcome, list | tuple) else outcome))

    return _plain(verifier)


def _scored(outcome: Mapping[str, Any]) -> Verdict:
    """A verdict from verl's dict."""
    reward = float(outcome["score"])
    right = bool(outcome["acc"]) if "acc" in outcome else reward > 0
    parts = {
        str(name): float(value) for name, value in outcome.items() if isinstance(value, int | float)
    }
    extracted = outcome.get("pred")
    return Verdict(
        Status.CORRECT if right else Status.WRONG,
        reward,
        extracted=None if extracted is None else str(extracted),
        parts=parts,
    )


def _prompt(fields: dict[str, object]) -> object:
    """The problem's prompt: a column of the case, or what the model was asked."""
    asked = fields.pop("problem_prompt", None)
    return fields.pop("prompt", asked)


def _accepts(function: Callable[..., Any]) -> Callable[[str], bool]:
    """Whether a keyword of this name can be passed."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return lambda name: True
    return parameters.__contains__


def _now(outcome: Any) -> Any:
    """The value of a function that may be asynchronous."""
    return asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome


def _plain(verifier: Any) -> Callable[..., Verdict]:
    """The wrapped function's name and help, a verifier's signature; the prompt is wanted."""
    del verifier.__wrapped__
    verifier.takes_prompt = True
    plain: Callable[..., Verdict] = verifier
    return plain
