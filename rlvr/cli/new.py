"""`rlvr new verifier NAME`: a plug-in to start from, with its test table."""

from __future__ import annotations

import keyword
from pathlib import Path

from rlvr.errors import UserError, unknown

PLUGIN = '''"""A verifier. Run its table: pytest test_{name}.py"""


def {name}(response: str, reference: object = None, **fields: object) -> bool:
    """Right when the last line is the reference."""
    lines = response.split("</think>")[-1].strip().splitlines()
    return bool(lines) and lines[-1].strip() == str(reference)
'''

TABLE = """\
{{"id": "same", "response": "2 + 2\\n4", "reference": "4", "expect": "correct"}}
{{"id": "other number", "response": "2 + 2\\n5", "reference": "4", "expect": "wrong"}}
{{"id": "only thoughts", "response": "4</think>", "reference": "4", "expect": "wrong"}}
{{"id": "empty", "response": "", "reference": "4", "expect": "wrong"}}
"""

TEST = '''"""Every line of {name}.jsonl is a case for `rlvr verify`, and what it must say."""

import json
from pathlib import Path

from rlvr.verifiers.pool import Case, Pool

HERE = Path(__file__).parent


def test_table():
    cases = [json.loads(line) for line in (HERE / "{name}.jsonl").read_text().splitlines()]
    with Pool(f"{{HERE}}/{name}.py:{name}", workers=1) as pool:
        verdicts = pool.map(Case(case["response"], case["reference"]) for case in cases)
        assert [verdict.status for verdict in verdicts] == [case["expect"] for case in cases]
'''

FILES = {
    "verifier": {"{name}.py": PLUGIN, "{name}.jsonl": TABLE, "test_{name}.py": TEST},
}


def new(kind: str, name: str, /, *, directory: Path = Path(".")) -> None:
    """Write a plug-in to start from.

    Parameters
    ----------
    kind
        What it is: verifier.
    name
        A Python name; the files are called after it.
    directory
        Where they go.
    """
    if kind not in FILES:
        raise unknown("kind of plug-in that can be written", kind, FILES)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"'{name}' is not a Python name")
    files = {directory / path.format(name=name): text for path, text in FILES[kind].items()}
    for path in files:
        if path.exists():
            raise UserError(f"{path} is there already")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text.format(name=name))
    except OSError as error:
        raise UserError(f"{directory}: {(error.strerror or str(error)).lower()}") from error
    for path in files:
        print(path)
    plugin, table = (directory / f"{name}{ending}" for ending in (".py", ".jsonl"))
    print(f"try: rlvr verify --verifier {_local(plugin)}:{name} --input {table} --output -")


def _local(path: Path) -> str:
    """With a folder in front, as one types the path of a file."""
    return str(path) if path.is_absolute() else f"./{path}"
