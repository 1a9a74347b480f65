"""Fills the generated parts of the cards from the code: `python docs/algorithms/tables.py`.

What stands between `<!-- settings: STAGE NAME -->` and `<!-- end -->` is written here: help and
defaults. So are `<!-- beside: STAGE NAME -->`, what it does not go with or only under a condition,
and the three tables of the README, `<!-- table: refused -->`, `conditions` and `presets`. With
`--check` nothing is written and stale cards are named.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from rlvr import registry
from rlvr.advantage.compose import CONDITIONS, CONTRADICTIONS, PRESETS, Pair

BLOCK = re.compile(r"(<!-- (settings|beside|table): ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
HERE = Path(__file__).parent


def table(stage: str, name: str) -> str:
    """The help line and every setting with its default."""
    plugin = registry.load(stage, name)
    fields = [field for field in dataclasses.fields(plugin.target) if field.init]
    lines = [f"`--{stage} {name}`: {plugin.summary}", ""]
    if not fields:
        return "\n".join([*lines, "No settings.", ""])
    lines += ["| setting | type | default |", "| --- | --- | --- |"]
    for field in fields:
        setting, default = f"`--{stage}.{field.name}`", _default(field)
        lines.append(f"| {setting} | {_type(field)} | {default} |")
    return "\n".join([*lines, ""])


def _type(field: dataclasses.Field[Any]) -> str:
    """The annotation in words: the choices of a Literal, `or` for a bar."""
    if field.type == "Credit":
        return "uniform or score or std or share"
    plain = re.sub(r"Literal\[(.*)\]", lambda m: m[1].replace(",", " or"), str(field.type))
    return re.sub("['\"]", "", plain).replace("|", "or")


def _default(field: dataclasses.Field[Any]) -> str:
    return "must be given" if field.default is dataclasses.MISSING else f"`{field.default}`"


def beside(stage: str, name: str) -> str:
    """A line for each stage that this one refuses, or meets only under a condition."""
    lines = []
    for word, pairs in (("Not with", CONTRADICTIONS), ("With", CONDITIONS)):
        others: dict[str, list[str]] = {}
        for pair in pairs:
            if (stage, name) in pair.both:
                (other,) = (f"{s} {n}" for s, n in pair.both if (s, n) != (stage, name))
                others.setdefault(pair.text, []).append(f"`{other}`")
        lines += [f"- {word} {', '.join(names)}: {text}." for text, names in others.items()]
    return "\n".join([*(lines or ["- Goes with every other stage."]), ""])


def pairs(rows: tuple[Pair, ...], head: str) -> str:
    """One row for each text; names that share it stand together."""
    found: dict[tuple[str, str], list[str]] = {}
    for pair in rows:
        (one, a), (other, b) = pair.both
        found.setdefault((f"{one} {a} with {other}", pair.text), []).append(b)
    lines = [f"| {what} {', '.join(names)} | {text} |" for (what, text), names in found.items()]
    return "\n".join([f"| | {head} |", "| --- | --- |", *lines, ""])


def presets() -> str:
    """What each preset sets."""
    lines = ["| preset | stages |", "| --- | --- |"]
    for name, tree in PRESETS.items():
        stages = []
        for stage, settings in tree.items():
            more = [f"{key} {value}" for key, value in settings.items() if key != "name"]
            stages.append(f"{stage} {settings['name']}" + (f" ({', '.join(more)})" if more else ""))
        lines.append(f"| `{name}` | {', '.join(stages)} |")
    return "\n".join([*lines, ""])


README = {
    "refused": lambda: pairs(CONTRADICTIONS, "because"),
    "conditions": lambda: pairs(CONDITIONS, "condition"),
    "presets": presets,
}


def filled(text: str) -> str:
    def write(block: re.Match[str]) -> str:
        start, kind, what, end = block.groups()
        if kind == "table":
            return start + README[what]() + end
        return start + (table if kind == "settings" else beside)(*what.split()) + end

    return BLOCK.sub(write, text)


def main() -> int:
    stale = []
    for path in sorted(HERE.glob("*.md")):
        text = path.read_text()
        if filled(text) != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(filled(text))
    if stale:
        print(("stale: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
