"""Fills the settings tables of the cards from the code: `python docs/algorithms/tables.py`.

A card says `<!-- settings: STAGE NAME -->`; what stands between it and `<!-- end -->` is written
here. With `--check` nothing is written and stale cards are named.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from rlvr import registry

BLOCK = re.compile(r"(<!-- settings: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
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


def filled(text: str) -> str:
    return BLOCK.sub(lambda m: f"{m[1]}{table(m[2], m[3])}{m[4]}", text)


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
