"""Which tests may share a process with the tests that come after them."""

from __future__ import annotations

import ast

MODULES = frozenset(
    {
        *("bisect", "cmath", "collections", "copy", "datetime", "fractions", "functools", "heapq"),
        *("itertools", "math", "numbers", "operator", "random", "re", "statistics", "string"),
        *("typing", "unicodedata"),
    }
)
NAMES = frozenset(
    {
        *("eval", "exec", "compile", "open", "input", "breakpoint", "help", "exit", "quit"),
        *("globals", "locals", "vars", "setattr", "delattr", "getattr"),
    }
)


def harmless(tree: ast.Module) -> bool:
    """Whether a module only computes: it imports nothing but pure modules, sets no attribute, evaluates no text.

    A result that reaches `eval` could otherwise stay in the process and decide the verdicts of later programs.
    """
    return all(_is_harmless(node) for node in ast.walk(tree))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return all(name.name in MODULES for name in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and node.module in MODULES
    if isinstance(node, ast.Name):
        return node.id not in NAMES and (not node.id.startswith("__") or node.id == "__name__")
    if isinstance(node, ast.Attribute):
        return isinstance(node.ctx, ast.Load) and not node.attr.startswith("__")
    return not isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.Global))
