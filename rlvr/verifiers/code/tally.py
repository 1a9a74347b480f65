"""Counting assertions: each one that holds, and the first one that does not."""

from __future__ import annotations

import ast
from dataclasses import dataclass

HOLDS, FAILS = "_assertion_holds", "_assertion_fails"  # names within the tests


@dataclass
class Tally:
    """Filled while the tests run when `counting`; else the first failure simply ends them."""

    counting: bool = False
    passed: int = 0
    seen: int = 0  # assertions that were run, each time counted
    written: int = 0  # assertions in the text
    failure: Exception | None = None  # the first

    def right(self) -> None:
        self.passed += 1
        self.seen += 1

    def wrong(self, error: Exception) -> None:
        self.seen += 1
        self.failure = self.failure or error


class _Counted(ast.NodeTransformer):
    """`assert X` becomes `try: assert X; right()`, `except Exception as e: wrong(e)`."""

    def visit_Assert(self, node: ast.Assert) -> ast.Try:
        caught = "_failure_of_assertion"
        new = ast.Try(
            body=[node, _call(HOLDS)],
            handlers=[
                ast.ExceptHandler(
                    type=ast.Name("Exception", ast.Load()),
                    name=caught,
                    body=[_call(FAILS, ast.Name(caught, ast.Load()))],
                )
            ],
            orelse=[],
            finalbody=[],
        )
        return ast.fix_missing_locations(ast.copy_location(new, node))


def _call(name: str, *arguments: ast.expr) -> ast.Expr:
    return ast.Expr(ast.Call(ast.Name(name, ast.Load()), list(arguments), []))


def instrument(tree: ast.Module, tally: Tally) -> ast.Module:
    tally.written = sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
    if not tally.counting:
        return tree
    counted: ast.Module = _Counted().visit(tree)
    return ast.fix_missing_locations(counted)
