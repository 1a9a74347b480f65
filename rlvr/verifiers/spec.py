"""How a verifier is named so that a freshly started process can build the same one.

Not covered: lambdas, closures and objects whose settings are more than plain data. They cannot be
built again elsewhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from rlvr import registry
from rlvr.errors import UserError


@dataclass(frozen=True)
class Spec:
    """A verifier by the text that loads it and its settings.

    >>> Spec.from_json(Spec("rlvr.verifiers.math:Math", {"timeout": 2.0}).to_json()).settings
    {'timeout': 2.0}
    """

    name: str  # what `registry.load("verifier", name)` understands
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, verifier: object) -> Spec:
        """From a name, a plug-in, a verifier's instance or class, or a function. Or UserError."""
        if isinstance(verifier, Spec):
            return verifier
        if isinstance(verifier, str):
            return cls(registry.load("verifier", verifier).spec)
        if isinstance(verifier, registry.Plugin):
            return cls(verifier.spec)
        if dataclasses.is_dataclass(verifier) and not isinstance(verifier, type):
            settings = {
                each.name: getattr(verifier, each.name)
                for each in dataclasses.fields(verifier)
                if each.init
            }
            return cls(_address(type(verifier)), settings)
        if inspect.isfunction(verifier) or isinstance(verifier, type):
            return cls(_address(verifier))
        raise UserError(f"{verifier!r} is neither a verifier's name, a dataclass nor a function")

    def build(self) -> Any:
        """The verifier itself, in whatever process this runs. Raises UserError."""
        target = registry.load("verifier", self.name).target
        if not isinstance(target, type):
            return target
        try:
            return target(**self.settings)
        except (TypeError, ValueError) as error:
            raise UserError(f"verifier {self.name.rsplit(':', 1)[-1]}: {error}") from error

    def to_json(self) -> str:
        return json.dumps({"name": self.name, "settings": pack(dict(self.settings))})

    @classmethod
    def from_json(cls, text: str) -> Spec:
        raw = json.loads(text)
        return cls(raw["name"], unpack(raw["settings"]))

    def fingerprint(self, version: str) -> str:
        """Changes whenever the verifier, its version or a setting does."""
        return hashlib.sha256(f"{self.to_json()} {version}".encode()).hexdigest()[:16]


def _address(target: Any) -> str:
    """`module:Name` or `/file.py:Name` of a class or function."""
    name, module = target.__qualname__, sys.modules.get(target.__module__)
    if "<" in name or "." in name or module is None:
        raise UserError(
            f"verifier {name} must be at the top level of a module: workers load it by name"
        )
    loaded_from_file = target.__module__ == "__main__" or target.__module__.startswith("rlvr_file_")
    if loaded_from_file:
        path = getattr(module, "__file__", None)
        if not path:
            raise UserError(f"verifier {name} was typed at a prompt: put it into a file")
        return f"{Path(path).resolve()}:{name}"
    return f"{target.__module__}:{name}"


def pack(value: object) -> object:
    """Plain JSON for a setting; tuples, paths and verifiers become one-key objects."""
    if isinstance(value, Enum):
        return pack(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return {"$path": str(value)}
    if isinstance(value, tuple):
        return {"$tuple": [pack(each) for each in value]}
    if isinstance(value, list):
        return [pack(each) for each in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"$map": {key: pack(each) for key, each in value.items()}}
    if isinstance(value, Spec):
        return {"$spec": value.to_json()}
    if callable(value):
        return {"$verifier": Spec.of(value).to_json()}
    raise UserError(f"a verifier's setting cannot be of type {type(value).__name__}")


def unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [unpack(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "$path":
        return Path(inner)
    if kind == "$tuple":
        return tuple(unpack(each) for each in inner)
    if kind == "$spec":
        return Spec.from_json(inner)
    if kind == "$verifier":
        return Spec.from_json(inner).build()
    return {key: unpack(each) for key, each in inner.items()}
