"""What goes into a verifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """One response to judge, in plain JSON data: it crosses to another process.

    `fields` reach the verifier by keyword. `prompt` reaches, as `problem_prompt`, only verifiers
    that say `takes_prompt = True`: to `code` a field "prompt" is program text. `id` is for people
    and reports; it changes no verdict.

    >>> Case("so the answer is 4", "4").reference
    '4'
    """

    response: str
    reference: object = None
    fields: Mapping[str, object] = field(default_factory=dict)
    id: str = ""
    prompt: object = None
