"""Settings: defaults, then a TOML recipe, then flags. Every value knows where it came from.

A *section* is a frozen dataclass of plain settings (`--checkpoint.every 5`); the section "" holds the top-level ones
(`--steps 60`). A *stage* is a plug-in chosen by name with its settings (`--advantage bnpo --advantage.eps 0`).
pydantic converts and checks single values; this file only merges, remembers origins and words the errors.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic
import tomli_w

from rlvr import registry
from rlvr.errors import UserError, unknown

Tree = dict[
    str, dict[str, Any]
]  # section or stage -> field (a plug-in's or a value's "name") -> value

ORIGINS = ("default", "recipe", "flag", "derived")


@dataclass(frozen=True)
class Value:
    """A setting as resolved, and where it came from."""

    value: Any
    origin: str  # one of ORIGINS


@dataclass(frozen=True)
class Stage:
    """A chosen plug-in with its settings checked but nothing built yet."""

    name: str
    origin: str
    plugin: registry.Plugin
    settings: Mapping[str, Value]

    @property
    def explicit(self) -> bool:
        """Chosen by the user, in a recipe or by a flag."""
        return self.origin in ("recipe", "flag")

    def values(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {key: value.value for key, value in self.settings.items()}

    def build(self, **derived: Any) -> Any:
        """The plug-in itself; `derived` fills settings that come from the rest of the run."""
        target = self.plugin.target
        if not isinstance(target, type):
            return target
        try:
            return target(**{**self.values(), **derived})
        except ValueError as error:
            raise UserError(f"{self.name}: {error}") from error


@dataclass(frozen=True)
class Resolved:
    """All settings of a command."""

    sections: Mapping[str, Mapping[str, Value]]
    stages: Mapping[str, Stage]

    def section(self, name: str, kind: type[Any]) -> Any:
        return kind(**{key: value.value for key, value in self.sections[name].items()})

    def to_toml(self) -> str:
        """The settings as a recipe that says the same again, each line with its origin as a comment."""
        lines = [_line(key, value) for key, value in self.sections.get("", {}).items()]
        for name, values in self.sections.items():
            if name:
                lines += ["", f"[{name}]", *(_line(key, value) for key, value in values.items())]
        for name, stage in self.stages.items():
            lines += ["", f"[{name}]", _line("name", Value(stage.name, stage.origin))]
            lines += [_line(key, value) for key, value in stage.settings.items()]
        return "\n".join(lines) + "\n"


def _line(key: str, value: Value) -> str:
    if value.value is None:
        return f"# {key} is not set  # {value.origin}"
    return f"{key} = {_inline(value.value)}  # {value.origin}"


def _inline(value: Any) -> str:
    """A TOML value on one line: a table of its own would swallow the settings after it."""
    if isinstance(value, Mapping):
        keys = {key: tomli_w.dumps({str(key): 0}).removesuffix(" = 0\n") for key in value}
        return "{" + ", ".join(f"{keys[key]} = {_inline(value[key])}" for key in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(each) for each in value) + "]"
    plain = str(value) if isinstance(value, Path) else value
    return tomli_w.dumps({"value": plain}).removeprefix("value = ").rstrip()


def flags_to_tree(tokens: Sequence[str]) -> Tree:
    """`--a b --c.d=e` as {"a": {"name": "b"}, "c": {"d": "e"}}; a flag without a value is True."""
    tree: Tree = {}
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if not token.startswith("--") or len(token) < 3:
            raise UserError(f"'{token}' is neither a flag nor the value of one")
        key, equals, after = token[2:].partition("=")
        value: str | bool = after
        if not equals:
            has_value = position < len(tokens) and not tokens[position].startswith("--")
            value = tokens[position] if has_value else True
            position += has_value
        stage, _, field = key.replace("-", "_").partition(".")
        where = tree.setdefault(stage, {})
        where[field or "name"] = value
    return tree


def read_recipe(path: Path) -> Tree:
    """A TOML file as the same tree."""
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no recipe {path}") from None
    except OSError as error:
        raise UserError(f"recipe {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"recipe {path}: {error}") from error
    return {
        key: value if isinstance(value, dict) else {"name": value} for key, value in raw.items()
    }


def recipe(name: str | None, resumed: Path | None = None) -> Tree:
    """The settings of a recipe file or a recipe that comes along; of the run itself on resume."""
    if name is None:
        own = resumed / "config.toml" if resumed else None
        return read_recipe(own) if own and own.exists() else {}
    if name.endswith(".toml") or "/" in name:
        return read_recipe(Path(name))
    known = {
        file.name.removesuffix(".toml"): file
        for file in resources.files("rlvr.recipes").iterdir()
        if file.name.endswith(".toml")
    }
    if name not in known:
        raise unknown("recipe", name, known)
    with resources.as_file(known[name]) as path:
        return read_recipe(path)


def merged(below: Mapping[str, Mapping[str, Any]], above: Mapping[str, Mapping[str, Any]]) -> Tree:
    """Two trees in one; where both say something, `above` does.

    A section of `above` that names another plug-in replaces all that `below` says of it.
    """
    tree = {key: dict(values) for key, values in below.items()}
    for key, values in above.items():
        renamed = values.get("name", tree.get(key, {}).get("name")) != tree.get(key, {}).get("name")
        tree[key] = dict(values) if renamed else {**tree.get(key, {}), **values}
    return tree


def resolve(
    stages: Mapping[str, str],
    sections: Mapping[str, type[Any]],
    *,
    recipe: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    derived: Mapping[str, Mapping[str, Any]] | None = None,
) -> Resolved:
    """Merge and check. `stages` maps each stage to its default name. Raises UserError in one line.

    `derived` is a tree as well: values that other choices imply. They stand above defaults and below the user's word.
    """
    layers = (("derived", derived or {}), ("recipe", recipe or {}), ("flag", flags or {}))
    top = {field.name for field in dataclasses.fields(sections[""])} if "" in sections else set()
    allowed = [*stages, *(name for name in sections if name), *top]
    for origin, layer in layers:
        for key in layer:
            if key not in allowed:
                raise unknown("flag" if origin == "flag" else "setting", key, allowed)
            if key in stages and layer[key].get("name") is True:
                raise UserError(f"--{key} needs a name (see rlvr list {key})")
    found: dict[str, dict[str, Value]] = {}
    for name, kind in sections.items():
        given = {
            field: (origin, value)
            for origin, layer in layers
            for field, value in (
                {key: layer[key]["name"] for key in top if key in layer and "name" in layer[key]}
                if not name
                else layer.get(name, {})
            ).items()
        }
        found[name] = settings(kind, given, name)
    chosen = {name: _stage(name, default, layers) for name, default in stages.items()}
    return Resolved(found, chosen)


def _stage(stage: str, default: str, layers: Sequence[tuple[str, Mapping[str, Any]]]) -> Stage:
    """The last name given wins; settings meant for another plug-in do not carry over to it."""
    named = [
        (origin, layer[stage]["name"]) for origin, layer in layers if "name" in layer.get(stage, {})
    ]
    origin, name = named[-1] if named else ("default", default)
    meant = default
    given: dict[str, tuple[str, Any]] = {}
    for source, layer in layers:
        own = layer.get(stage, {})
        meant = own.get("name", meant)
        if meant == name or (source == "derived" and "name" not in own):
            given |= {field: (source, value) for field, value in own.items() if field != "name"}
    plugin = registry.load(stage, str(name))
    return Stage(str(name), origin, plugin, settings(plugin.target, given, stage))


def settings(kind: Any, given: Mapping[str, tuple[str, Any]], prefix: str) -> dict[str, Value]:
    """Every field of dataclass `kind` with its value and origin. A function has no settings."""
    path = f"{prefix}." if prefix else ""
    if not dataclasses.is_dataclass(kind):
        for name in given:
            raise UserError(f"--{path}{name}: a plain function has no settings")
        return {}
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in given:
        if name not in known:
            raise unknown(f"setting of {prefix or 'the run'}", name, known)
    values: dict[str, Value] = {}
    for name, field in known.items():
        if name in given:
            origin, raw = given[name]
            values[name] = Value(convert(raw, hints[name], f"{path}{name}"), origin)
        elif field.default is not dataclasses.MISSING:
            values[name] = Value(field.default, "default")
        elif field.default_factory is not dataclasses.MISSING:
            values[name] = Value(field.default_factory(), "default")
        else:
            raise UserError(f"--{path}{name} must be given")
    return values


FINITE = pydantic.ConfigDict(allow_inf_nan=False)


def convert(raw: Any, hint: Any, path: str) -> Any:
    """One value from a flag or a recipe as the type its field declares. `1,2` is a sequence; `none` is None."""
    kind: Any = hint
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if raw is True and bool not in options:
        raise UserError(f"--{path} needs a value")
    if isinstance(raw, str):
        if type(None) in options and raw.lower() == "none":
            return None
        if any(typing.get_origin(option) in (tuple, list) for option in options):
            raw = [part for part in raw.split(",") if part]
    try:
        return pydantic.TypeAdapter[Any](kind, config=FINITE).validate_python(raw)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"--{path} {raw!r}: {reason[0].lower()}{reason[1:]}") from None
