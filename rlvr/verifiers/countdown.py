"""Countdown answers: an expression that reaches the target with the given numbers.

Not covered: expressions that mean the same in words. Only whole numbers, + - * / and parentheses are read.
"""

from __future__ import annotations

import ast
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from rlvr.types import Status, Verdict
from rlvr.verifiers.math.extract import boxes

OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST = 200  # characters of an expression
WRITTEN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "{": "(", "}": ")"})


@dataclass(frozen=True)
class Countdown:
    """An expression in the last box that makes the target, each number used once at most."""

    timeout: float = 2.0  # seconds

    version: ClassVar[str] = "1"

    def __call__(
        self,
        response: str,
        reference: object = None,
        *,
        numbers: Sequence[int] = (),
        **fields: object,
    ) -> Verdict:
        try:
            target = Fraction(str(reference))
            given = Counter(int(number) for number in numbers)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            return Verdict.broken(f"no target and numbers to check against: {error}")
        found = boxes(response[response.rfind("</think>") + 1 :])
        if not found or not found[-1].text.strip():
            return Verdict(Status.UNPARSED, 0.0, "no \\boxed{} with an expression")
        said = found[-1].text.strip()
        try:
            value, used = evaluate(said.translate(WRITTEN).replace(r"\times", "*").split("=")[0])
        except ValueError as error:
            return Verdict(Status.UNPARSED, 0.0, str(error), extracted=said[:LONGEST])
        if Counter(used) - given:
            return Verdict.wrong("it uses numbers that were not given", extracted=said)
        if value != target:
            return Verdict.wrong(f"it makes {value}, not {target}", extracted=said)
        return Verdict(Status.CORRECT, 1.0, extracted=said)


def evaluate(expression: str) -> tuple[Fraction, list[int]]:
    """Value of an expression of whole numbers, + - * / and parentheses, and the numbers it uses.

    Raises ValueError for anything else (names, powers, calls, signs, division by zero).
    """
    if len(expression) > LONGEST:
        raise ValueError("the expression is too long")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError("not an expression") from None
    used: list[int] = []

    def walk(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            left, right = walk(node.left), walk(node.right)
            if isinstance(node.op, ast.Div) and right == 0:
                raise ValueError("division by zero")
            return OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        raise ValueError("only whole numbers, + - * / and parentheses are allowed")

    return walk(tree.body), used
