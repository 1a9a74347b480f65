"""A run's config.toml with the origin of every value, which stands in the comment at its end."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ORIGINS = ("default", "recipe", "flag", "derived")
_ORIGIN = re.compile(rf"\s*#\s*({'|'.join(ORIGINS)})\s*$")
_SECTION = re.compile(r"\[([\w.-]+)\]\s*(#.*)?$")
_KEY = re.compile(r"([\w-]+)\s*=\s*")
_UNSET = re.compile(r"#\s*([\w-]+) is not set\b")


@dataclass(frozen=True)
class Setting:
    """One value: `section` is "" for the run's own; `origin` is "" where the file does not say."""

    section: str
    key: str
    value: str
    origin: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def chosen(self) -> bool:
        """Somebody decided it, or another choice did."""
        return self.origin not in ("default", "")


def settings(folder: Path) -> list[Setting]:
    """In the file's order; empty where there is no readable config.toml."""
    try:
        text = (folder / "config.toml").read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except (OSError, ValueError):
        return []
    found: list[Setting] = []
    section = key = ""
    for line in text.splitlines():
        if heading := _SECTION.match(line):
            section, key = heading[1], ""
        elif unset := _UNSET.match(line):
            found.append(Setting(section, unset[1], "not set", _origin(line)))
        elif (start := _KEY.match(line)) or (key and _ORIGIN.search(line)):
            key = start[1] if start else key
            value = _at(tree, section, key)
            if value is not None and (_ORIGIN.search(line) or _whole(line)):
                found.append(Setting(section, key, shown(value), _origin(line)))
                key = ""
    return found


def flat(folder: Path) -> dict[str, str]:
    """ "section.key" -> value as text, for comparing runs."""
    return {setting.name: setting.value for setting in settings(folder)}


def shown(value: object) -> str:
    """A value as one would type it after a flag."""
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value) or "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if value != "" else '""'


def _origin(line: str) -> str:
    found = _ORIGIN.search(line)
    return found[1] if found else ""


def _whole(line: str) -> bool:
    """Is the value complete on this line?"""
    try:
        tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _at(tree: dict[str, Any], section: str, key: str) -> Any:
    for part in [*section.split("."), key] if section else [key]:
        if not isinstance(tree, dict) or part not in tree:
            return None
        tree = tree[part]
    return tree
