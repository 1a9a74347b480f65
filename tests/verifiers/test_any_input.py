"""Every parser on random input: an answer, soon, and no exception but its own. `RLVR_FUZZ` sets how many inputs.

Seeded, so that input i is the same everywhere; a failure names it.
"""

from __future__ import annotations

import io
import json
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rlvr.types import Verdict
from rlvr.verifiers import case_lines
from rlvr.verifiers.case import Case
from rlvr.verifiers.code import choose, plain
from rlvr.verifiers.code import extract as code_extract
from rlvr.verifiers.math import answers
from rlvr.verifiers.math import extract as math_extract
from rlvr.verifiers.math.tokens import Unreadable
from rlvr.verifiers.sql import constants, lexer, order
from rlvr.verifiers.sql import extract as sql_extract

COUNT = int(os.environ.get("RLVR_FUZZ", "1500"))
SLOWEST = 1.0  # processor seconds of one input

MATH = r"""
\frac \sqrt \boxed{ { } ( ) [ ] \{ \} \left \right \text{ \pi \infty \sin \cos \log \pm \mp \cup \in \le \ne \circ
\begin{pmatrix} \end{pmatrix} \\ & ^ _ ^{ _{ ! | , ; : . + - * / = < > % \% \$ $ ' ~ \! \; \overline{ \binom \choose
\lfloor \rfloor \setminus \emptyset \mathbb{R} \angle 0 1 2 7 10 999 1,000 0.5 1e5 1e-9 x y i e f( x_1 sqrt( oo cm or
and percent base (A) ½ ² √ × − ≤ ∞ ° ٣ \quad \over \prime P( \max lcm \hat 0.\overline{3} \mod the answer is ####
""".split()
CODE = [
    *(
        "```python\n",
        "```\n",
        "~~~\n",
        "```py\n",
        "```",
        "def f(x):",
        "class A:",
        "import os",
        "return x",
    ),
    *(
        "print(1)",
        "if x:",
        "else:",
        "pass",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        "=",
        "'",
        '"',
        "#",
        "x",
        "f",
    ),
    *(
        "1",
        "0x",
        "\\",
        "lambda",
        "async def g():",
        "@",
        ";",
        "yield",
        "await x",
        "for i in x:",
        "match x:",
    ),
    *(
        "</think>",
        "\0",
        "\ud800",
        "Here is it: ",
        "f'{x}'",
        "'''",
        "\n",
        "\n    ",
        "\t",
        "\r\n",
        "\f",
    ),
]
SQL = r"""
SELECT * FROM t WHERE a = 'x' "x" ` [ ] -- /* */ ; ```sql ``` ~~~ ( ) , $$ $a$ E' \ </think> ORDER BY LIMIT 1 1.5 -1
UNION WITH AS VALUES INSERT INTO DROP TABLE LIKE '%a_' BETWEEN AND IN NOT NULL IS count(*) || :: ?1 @x x'00' 1e999 0x1F
""".split()
JSON = [
    *'{ } [ ] : , "id" "response" "reference" 1 -1 1e9 "x" null true NaN \\ " \ud800 \x00'.split(
        " "
    ),
    "9" * 30,
    "\n",
]


def texts(pieces: list[str], name: str) -> Iterator[str]:
    for number in range(COUNT):
        rng = random.Random(f"{name}:{number}")
        chosen = rng.choices(pieces, k=rng.randrange(1, 24))
        if rng.random() < 0.3:
            chosen.insert(
                rng.randrange(len(chosen)),
                chr(rng.choice((rng.randrange(128), rng.randrange(0x11000)))),
            )
        yield rng.choice(("", " ", "\n")).join(chosen)


def trees(name: str) -> Iterator[object]:
    tags = "t d s z i c b y r sl D F k q Counter OrderedDict defaultdict datetime date time".split()
    tags += ["timedelta", "callable", "x"]
    scalars = [
        None,
        True,
        0,
        -1,
        2**70,
        1.5,
        float("nan"),
        "",
        "0x1f",
        "-0x1",
        "zz",
        "1.5",
        "Ellipsis",
        "2020-01-01",
        "NaN",
    ]

    def tree(rng: random.Random, depth: int) -> object:
        kind = rng.random() if depth else 0.0
        if kind < 0.35:
            return rng.choice(scalars)
        if kind < 0.6:
            return [tree(rng, depth - 1) for _ in range(rng.randrange(4))]
        return {rng.choice(tags): tree(rng, depth - 1) for _ in range(rng.choice((1, 1, 1, 0, 2)))}

    for number in range(COUNT):
        rng = random.Random(f"{name}:{number}")
        yield tree(rng, rng.randrange(7))


def decoder(tree: Any) -> None:
    def special(tag: str, content: Any) -> Any:
        raise plain.NotPlain(tag)

    try:
        value = plain.Decoder(special)(tree)
    except plain.NotPlain:
        return
    assert type(value).__module__ in ("builtins", "collections", "decimal", "fractions", "datetime")
    plain.Encoder(special)(value)


def math_parser(text: str) -> None:
    for found in math_extract.extract(text, lenient=True):
        assert len(found.text) <= len(text)
    try:
        answers.parse(text)
    except (Unreadable, RecursionError):
        return


def code_text(text: str) -> None:
    found = code_extract.find(text)
    with warnings.catch_warnings():
        try:
            source = choose.choose(
                found.blocks, found.bare, ["f"], "def f(x):\n" if "1" in text else ""
            )
        except choose.NoProgram as none:
            kind = none.args[0]
        else:
            compile(source, "<fuzz>", "exec", dont_inherit=True)
            return
    assert kind in ("unparsed", "syntax")


def sql_text(text: str) -> None:
    for dialect in ("sqlite", "postgresql"):
        query = sql_extract.extract(text, dialect)
        assert query is None or (query in text and lexer.statements(query, dialect))
    assert isinstance(order.read(text, "sqlite").ordered, bool)
    constants.constants((text,), "sqlite")


def input_line(text: str) -> None:
    for line in case_lines.read(io.BytesIO(text.encode("utf-8", "surrogatepass"))):
        assert isinstance(line.case, (Case, Verdict))
        if isinstance(line.case, Case):
            json.dumps(line.id)


@pytest.mark.timeout(max(300, COUNT // 50))
@pytest.mark.parametrize(
    ("read", "inputs"),
    [
        (decoder, trees("decoder")),
        (math_parser, texts([*MATH, " "], "math")),
        (code_text, texts(CODE, "code")),
        (sql_text, texts([*SQL, "\0", "\ud800"], "sql")),
        (input_line, texts(JSON, "lines")),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_any_input(read: Callable[[Any], None], inputs: Iterator[Any]) -> None:
    slowest = 0.0
    for number, given in enumerate(inputs):
        started = time.process_time()
        try:
            read(given)
        except Exception as error:
            raise AssertionError(f"input {number}: {given!r}") from error
        slowest = max(slowest, time.process_time() - started)
    assert slowest < SLOWEST
