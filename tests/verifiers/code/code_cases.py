"""Cases as text: `=== name | status` and what follows is the response, or sections `--- field`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class TextCase:
    name: str
    statuses: tuple[str, ...]
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """The sections of the text as the fields of a verify line."""
        fields: dict[str, Any] = {}
        for section in ("\n" + self.text).split("\n--- ")[1:]:
            name, _, text = section.partition("\n")
            if name == "stdin":
                fields.setdefault("cases", []).append({"stdin": text + "\n"})
            elif name == "stdout":
                fields["cases"][-1]["stdout"] = text + "\n"
            else:
                fields[name] = text
        if "files" in fields:
            fields["files"] = json.loads(fields["files"])
        if "entry_point" in fields:
            fields["entry_point"] = fields["entry_point"].strip()
        if "prompt" in fields:
            fields["prompt"] += "\n"
        return fields


def read_cases(name: str) -> list[TextCase]:
    cases: list[TextCase] = []
    for block in (HERE / name).read_text().split("\n=== ")[1:]:
        head, _, text = block.partition("\n")
        title, _, statuses = head.partition(" | ")
        cases.append(TextCase(title, tuple(statuses.strip().split("/")), text))
    return cases
