"""What a response is judged by, checked once: tests or cases, and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath


class Unusable(Exception):
    """The fields of a problem that no response could be judged by: our side's fault."""


@dataclass(frozen=True)
class Case:
    stdin: str
    stdout: str


@dataclass(frozen=True)
class Task:
    tests: str = ""
    entry_point: str = ""
    prompt: str = ""  # code that precedes the response
    files: Mapping[str, str] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()

    @classmethod
    def of(
        cls, tests: object, entry_point: object, prompt: object, files: object, cases: object
    ) -> Task:
        """From a problem's fields as they come. Raises Unusable."""
        if isinstance(tests, list) and all(isinstance(each, str) for each in tests):
            tests = "\n".join(tests)
        if tests is not None and not isinstance(tests, str):
            raise Unusable("'tests' is not Python source")
        if entry_point is not None and not isinstance(entry_point, str):
            raise Unusable("'entry_point' is not a name")
        checked = () if tests is not None else _cases(cases)
        if tests is None and not checked:
            raise Unusable("neither 'tests' nor 'cases'")
        return cls(
            tests or "",
            entry_point or "",
            prompt if isinstance(prompt, str) else "",  # a chat is no code
            _files(files),
            checked,
        )


def _cases(cases: object) -> tuple[Case, ...]:
    if cases is None:
        return ()
    if not isinstance(cases, Sequence) or isinstance(cases, str):
        raise Unusable("'cases' is not a list")
    checked: list[Case] = []
    for each in cases:
        if not isinstance(each, Mapping):
            raise Unusable("a case is not an object with 'stdin' and 'stdout'")
        stdin, stdout = each.get("stdin") or "", each.get("stdout")
        if not isinstance(stdin, str) or not isinstance(stdout, str):
            raise Unusable("a case is not an object with 'stdin' and 'stdout'")
        checked.append(Case(stdin, stdout))
    return tuple(checked)


def _files(files: object) -> dict[str, str]:
    if files is None:
        return {}
    if not isinstance(files, Mapping):
        raise Unusable("'files' is not an object of names and texts")
    for name, text in files.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise Unusable("'files' is not an object of names and texts")
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise Unusable(f"file name {name!r} leads out of the program's folder")
    return {str(name): str(text) for name, text in files.items()}
