"""Every line of the tables is a case; a new case needs no Python."""

import time
from pathlib import Path

import pytest

from rlvr.types import Status
from rlvr.verifiers.math import Math

HERE = Path(__file__).parent
SLOWEST = 2.0  # seconds, for hostile input, on a busy machine


def lines(name: str) -> list[str]:
    text = (HERE / name).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line and not line.startswith("# ")]


def pairs(name: str) -> list[tuple[str, str]]:
    cases = []
    for line in lines(name):
        left, _, right = line.partition("|||")
        cases.append((left.strip().replace("\\nunits", "\nunits"), right.strip(" ")))
    return cases


def unfolded(response: str) -> str:
    """A line of the table as a response: `<<...>>` evaluated, `\\n` a line break."""
    start, end = response.find("<<"), response.rfind(">>")
    if 0 <= start < end and "<<9*" not in response:
        value = eval(
            response[start + 2 : end], {"__builtins__": {"chr": chr, "str": str, "range": range}}
        )  # our own table
        return response[:start] + value + response[end + 2 :]
    return (
        response.replace("\\nunits", "\nunits").replace("\\n", "\n")
        if "\\ne" not in response
        else response
    )


@pytest.mark.parametrize(("gold", "answer"), pairs("equivalent.txt"))
def test_equivalent(gold: str, answer: str) -> None:
    verdict = Math()(f"So it is \\boxed{{{answer}}}.", gold)
    assert verdict.status is Status.CORRECT, verdict


@pytest.mark.parametrize(("gold", "answer"), pairs("different.txt"))
def test_different(gold: str, answer: str) -> None:
    verdict = Math()(f"So it is \\boxed{{{answer}}}.", gold)
    assert verdict.status in (Status.WRONG, Status.UNPARSED), verdict
    assert verdict.reward == 0.0


@pytest.mark.parametrize(("gold", "response"), pairs("hostile.txt"))
def test_hostile(gold: str, response: str) -> None:
    start = time.perf_counter()
    verdict = Math()(unfolded(response), gold)
    assert time.perf_counter() - start < SLOWEST
    assert verdict.status in (Status.WRONG, Status.UNPARSED), verdict


@pytest.mark.parametrize("line", lines("responses.txt"))
def test_responses(line: str) -> None:
    status, _, rest = line.partition("|")
    gold, _, response = rest.partition("|||")
    verdict = Math()(unfolded(response.strip(" ")), gold.strip().replace("\\n", "\n"))
    assert verdict.status == status.strip(), verdict
