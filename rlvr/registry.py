"""A plug-in by name: the dict literal of its stage's folder, then entry points, then `module:Name` or `./file.py:Name`.

A plug-in is a frozen dataclass (its fields are its settings) or, for verifiers, also a bare function.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from rlvr.errors import UserError, unknown

# stage -> module that holds its `BUILTIN: dict[name, "module:Name"]`
STAGES: dict[str, str] = {
    "task": "rlvr.tasks",
    "sampler": "rlvr.samplers",
    "verifier": "rlvr.verifiers",
    "budget": "rlvr.advantage.budget",
    "filter": "rlvr.advantage.filters",
    "advantage": "rlvr.advantage",
    "select": "rlvr.advantage.select",
    "correct": "rlvr.advantage.correct",
    "clip": "rlvr.loss.clip",
    "aggregate": "rlvr.advantage.aggregate",
    "kl": "rlvr.loss.kl",
}

# stage -> entry-point group that outside packages fill
GROUPS: dict[str, str] = {
    "task": "rlvr.tasks",
    "sampler": "rlvr.samplers",
    "verifier": "rlvr.verifiers",
    **{
        stage: "rlvr.advantage" if stage == "advantage" else f"rlvr.{stage}"
        for stage in (
            "budget",
            "filter",
            "advantage",
            "select",
            "correct",
            "clip",
            "aggregate",
            "kl",
        )
    },
}


@dataclass(frozen=True)
class Plugin:
    """A plug-in found: what it is called, the class or function, and a word on where it comes from."""

    name: str
    target: Any
    source: str  # "built-in", "entry point of NAME VERSION", "module M", "file F"
    spec: str  # loads it again from any process: "module:Name" or "/abs/file.py:Name"

    @property
    def summary(self) -> str:
        lines = (self.target.__doc__ or "").strip().splitlines()
        return lines[0] if lines else ""


def builtin(stage: str) -> dict[str, str]:
    if stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    names: dict[str, str] = importlib.import_module(STAGES[stage]).BUILTIN
    return names


def _adapters(stage: str) -> dict[str, str]:
    """Prefixes a stage knows, as in "trl:./mine.py:f" -> what turns the found function into a plug-in."""
    return getattr(importlib.import_module(STAGES[stage]), "ADAPTERS", {})


def outside(stage: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUPS[stage])}


def names(stage: str) -> list[str]:
    return [*builtin(stage), *(name for name in outside(stage) if name not in builtin(stage))]


def load(stage: str, name: str) -> Plugin:
    """The plug-in `name` of `stage`. Raises UserError with the nearest right word."""
    known = builtin(stage)
    if name in known:
        return Plugin(name, _attribute(known[name], stage), "built-in", known[name])
    points = outside(stage)
    if name in points:
        point = points[name]
        try:
            target = point.load()
        except Exception as error:
            raise UserError(
                f"{stage} '{name}' ({point.value}) does not load: {_brief(error)}"
            ) from error
        owner = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
        return Plugin(name, target, f"entry point{owner}", point.value)
    scheme, _, inner = name.partition(":")
    if ":" in inner and scheme in (adapters := _adapters(stage)):
        found = load(stage, inner)
        adapt = _attribute(adapters[scheme], stage)
        source = f"{found.source}, as written for {scheme}"
        return Plugin(name, adapt(found.target), source, f"{scheme}:{found.spec}")
    if ":" in name:
        place, attribute = name.rsplit(":", 1)
        if place.endswith(".py"):
            path = Path(place).expanduser().resolve()
            return Plugin(
                name,
                _attribute(f"{path}:{attribute}", stage),
                f"file {place}",
                f"{path}:{attribute}",
            )
        return Plugin(name, _attribute(name, stage), f"module {place}", name)
    if name.endswith(".py"):
        raise UserError(f"{stage}: which name in {name}? Write {name}:NAME")
    raise unknown(stage, name, names(stage))


def _attribute(spec: str, stage: str) -> Any:
    place, attribute = spec.rsplit(":", 1)
    module = load_file(Path(place)) if place.endswith(".py") else _import(place, stage)
    found = getattr(module, attribute, None)
    if found is None:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise unknown(f"name in {place}", attribute, public)
    if not callable(found):
        kind = type(found).__name__
        raise UserError(f"{attribute} in {place} is no {stage}: {kind} objects cannot be called")
    return found


def _import(name: str, stage: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise UserError(f"{stage}: no module called '{name}'") from error
        raise UserError(f"{stage}: module '{name}' does not import: {_brief(error)}") from error


def load_file(path: Path) -> ModuleType:
    """A user's Python file as a module, once per process and path."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    name = f"rlvr_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{path} does not import: {_brief(error)}") from error
    return module


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
