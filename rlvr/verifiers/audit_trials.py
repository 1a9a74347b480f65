"""Where an audit's cases come from: our own corpora, a task's golds, a user's file."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rlvr.errors import UserError
from rlvr.types import Problem
from rlvr.verifiers import corpora
from rlvr.verifiers.audit import Trial
from rlvr.verifiers.audit_edits import edits, rewrites
from rlvr.verifiers.case import Case

OWN = ("math", "code", "sql")  # verifiers with a corpus of our own
EDITED_GOLDS = 300  # golds of a task that are also rewritten and edited
_NUMBER = re.compile(r"-?\d+")


def own(verifier: str, folder: Path) -> Iterator[Trial]:
    """The corpus of a built-in verifier; `folder` holds what must lie on disk. Raises UserError."""
    if verifier == "math":
        yield from _math()
    elif verifier == "code":
        yield from _code()
    elif verifier == "sql":
        yield from _sql(folder / "audit.sqlite")
    else:
        raise UserError(
            f"no cases of our own for verifier '{verifier}' (only {', '.join(OWN)}): give --cases FILE"
        )


def _math() -> Iterator[Trial]:
    golds: dict[str, None] = {}
    for number, each in enumerate(corpora.math(), 1):
        if each.status != "broken":  # those test references, not responses
            accept = each.status == "correct"
            yield Trial(
                each.category, accept, Case(each.response, each.reference, id=f"math-{number}")
            )
        if each.category.startswith("equivalent"):
            golds[each.reference] = None
    yield from rewritten(golds)


def rewritten(golds: Iterable[str]) -> Iterator[Trial]:
    """Mathematical golds in other words, and golds changed."""
    for number, gold in enumerate(golds, 1):
        for name, response in rewrites(gold):
            case = Case(response, gold, id=f"gold-{number}, {name}")
            yield Trial("golds rewritten", True, case)
        for name, response in edits(gold):
            case = Case(response, gold, id=f"gold-{number}, {name}")
            yield Trial("golds edited", False, case)


def _code() -> Iterator[Trial]:
    for number, (label, category, parts) in enumerate(corpora.blocks("code.txt"), 1):
        wanted = ("tests", "entry_point")
        fields: dict[str, object] = {name: parts[name] for name in wanted if name in parts}
        case = Case(parts["response"], None, fields, id=f"code-{number}, {category}")
        yield Trial(_family(label, category), label == "accept", case)


def _sql(database: Path) -> Iterator[Trial]:
    for number, (label, category, parts) in enumerate(corpora.blocks("sql.txt")):
        if label == "schema":
            with sqlite3.connect(database) as connection:
                connection.executescript(parts["sql"])
            connection.close()
            continue
        fields = {"database": str(database)}
        case = Case(parts["response"], parts["reference"], fields, id=f"sql-{number}, {category}")
        yield Trial(_family(label, category), label == "accept", case)


def _family(label: str, category: str) -> str:
    return f"{label}: {category.partition(',')[0]}"


def golds(problems: Sequence[Problem], verifier: str, limit: int | None) -> Iterator[Trial]:
    """Every gold of a task against its own problem; for mathematics also rewritten, edited and exchanged."""
    chosen = [problems[index] for index in range(min(limit or len(problems), len(problems)))]
    for problem in chosen:
        yield Trial("golds", True, _case(problem, _gold(problem, verifier), problem.id))
    if verifier != "math":
        return
    yield from rewritten(str(problem.reference) for problem in chosen[:EDITED_GOLDS])
    for problem, other in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        mine, theirs = _plain_number(problem), _plain_number(other)
        if mine is not None and theirs is not None and mine != theirs:
            case = _case(problem, _gold(other, verifier), f"{problem.id} with {other.id}")
            yield Trial("another problem's gold", False, case)


def _plain_number(problem: Problem) -> int | None:
    text = str(problem.reference).replace(",", "").strip()
    return int(text) if _NUMBER.fullmatch(text) else None


def _case(problem: Problem, response: str, name: str) -> Case:
    return Case(response, problem.reference, problem.fields, name, problem.prompt)


def _gold(problem: Problem, verifier: str) -> str:
    """The response that must be right. Raises UserError where a problem has none."""
    for field in ("canonical_solution", "solution", "gold"):
        if isinstance(problem.fields.get(field), str):
            return str(problem.fields[field])
    reference = problem.reference
    if isinstance(reference, list | tuple) and reference:
        reference = reference[0]
    if reference is None:
        raise UserError(f"problem {problem.id} has no gold answer that could be audited")
    text = str(reference)
    bare = verifier == "math" and "boxed" not in text and "####" not in text
    return f"\\boxed{{{text}}}" if bare else text


def from_file(path: Path) -> Iterator[Trial]:
    """One object a line: `response`, `reference` and other fields as for `rlvr verify`, and `accept` (true or false).

    Optional: `category`, `id`. Raises UserError with the line.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _trial(line, number, path)
    except OSError as error:
        raise UserError(f"--cases {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"--cases {path}: {error}") from None


def _trial(line: str, number: int, path: Path) -> Trial:
    where = f"--cases {path} line {number}"
    try:
        row = json.loads(line)
    except ValueError:
        raise UserError(f"{where}: not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("response"), str):
        raise UserError(f"{where}: no 'response' that is a string")
    accept = row.pop("accept", None)
    if not isinstance(accept, bool):
        raise UserError(f"{where}: no 'accept' that is true or false")
    category = str(row.pop("category", "cases"))
    name = str(row.pop("id", f"line {number}"))
    response, reference = row.pop("response"), row.pop("reference", None)
    return Trial(category, accept, Case(response, reference, row, name))
