"""Problems of the user's own, one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rlvr.errors import UserError
from rlvr.tasks import source
from rlvr.types import Problem


@dataclass(frozen=True)
class Jsonl:
    """Your own problems: a .jsonl file, or a folder with train.jsonl and test.jsonl.

    A line has `prompt` (text, or a list of chat messages), optionally `reference` and `id`; every
    other field is handed to the verifier by its name.
    """

    path: Path
    prompt: str = "prompt"  # name of the field that holds the question
    reference: str = "reference"  # name of the field that holds the gold answer
    system: str = ""  # a system prompt; makes plain prompts chats

    verifier: ClassVar[str] = "math"
    max_tokens: ClassVar[int] = 512

    def problems(self, split: str) -> Sequence[Problem]:
        return [
            self._problem(row, split, index)
            for index, row in enumerate(source.local_rows(self.path, split))
        ]

    def _problem(self, row: dict[str, object], split: str, index: int) -> Problem:
        where = f"{self.path} ({split}) problem {index + 1}"
        prompt = row.get(self.prompt)
        if isinstance(prompt, list):
            shaped = [
                message
                for message in prompt
                if isinstance(message, dict)
                and isinstance(message.get("role"), str)
                and isinstance(message.get("content"), str)
            ]
            if len(shaped) != len(prompt) or not prompt:
                raise UserError(f"{where}: a chat is a list of objects with 'role' and 'content'")
            chat: str | list[dict[str, str]] = shaped
        else:
            text = source.text(row, self.prompt, where)
            chat = [{"role": "user", "content": text}] if self.system else text
        if self.system and isinstance(chat, list):
            chat = [{"role": "system", "content": self.system}, *chat]
        used = (self.prompt, self.reference, "id")
        return Problem(
            id=str(row.get("id", f"{split}-{index}")),
            prompt=chat,
            reference=row.get(self.reference),
            fields={key: value for key, value in row.items() if key not in used},
            split=split,
        )
