"""How a verifier, whatever its shape, is called: the one place that knows signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlvr.types import Verdict

DEFAULT_TIMEOUT = 5.0  # seconds, for a verifier that does not say
DEFAULT_MEMORY_MB = 2048
DEFAULT_FILE_MB = 256
GRACE = 0.5  # seconds a verifier with a timeout of its own gets to say so itself


@dataclass(frozen=True)
class Traits:
    """What a verifier says about itself; the pool never builds it in its own process."""

    timeout: float  # seconds one verdict may take
    deadline: float  # seconds after which the worker is killed: timeout and grace
    memory_mb: int
    file_mb: int
    version: str
    cacheable: bool  # False where the same case may get another verdict

    @classmethod
    def of(cls, verifier: object, timeout: float | None) -> Traits:
        own = getattr(verifier, "timeout", None)
        seconds = float(timeout or own or DEFAULT_TIMEOUT)
        grace = float(getattr(verifier, "grace", GRACE if own is not None else 0.0))
        return cls(
            timeout=seconds,
            deadline=seconds + grace,
            memory_mb=_room(verifier, "memory_mb", DEFAULT_MEMORY_MB),
            file_mb=_room(verifier, "disk_mb", DEFAULT_FILE_MB),
            version=str(getattr(verifier, "version", "0")),
            cacheable=bool(getattr(verifier, "cacheable", True)),
        )


def _room(verifier: object, setting: str, default: int) -> int:
    """MiB for the worker: `pool_memory_mb` where given (0: no limit), else twice a program's."""
    stated = getattr(verifier, f"pool_{setting}", None)
    return max(default, 2 * int(getattr(verifier, setting, 0))) if stated is None else int(stated)


class Call:
    """A verifier as `(response, reference, fields, prompt) -> Verdict`, whatever it declares.

    A function gets only the fields it names (all of them with `**fields`); its second parameter
    gets the reference, unless a field has that parameter's name.
    """

    def __init__(self, verifier: Callable[..., Any]) -> None:
        self.verifier = verifier
        self.takes_prompt = bool(getattr(verifier, "takes_prompt", False))
        parameters = list(inspect.signature(verifier).parameters.values())
        positional = [
            each
            for each in parameters
            if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        self._all_fields = any(each.kind is each.VAR_KEYWORD for each in parameters)
        self._second = positional[1] if len(positional) > 1 else None
        self._variadic = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        self._names = {
            each.name
            for each in (*positional[1:], *parameters)
            if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
        } - {positional[0].name if positional else ""}

    def __call__(
        self, response: str, reference: object, fields: Mapping[str, object], prompt: object = None
    ) -> Verdict:
        given = (
            dict(fields)
            if self._all_fields
            else {key: value for key, value in fields.items() if key in self._names}
        )
        if self.takes_prompt:
            given["problem_prompt"] = prompt
        if self._second is None and not self._variadic:
            if self._all_fields or "reference" in self._names:
                given["reference"] = reference
            return Verdict.of(self.verifier(response, **given))
        if self._second is not None and self._second.name in given:
            return Verdict.of(self.verifier(response, **given))
        return Verdict.of(self.verifier(response, reference, **given))
