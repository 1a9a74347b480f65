"""Which of a response's pieces is the program. Runs in the jail, because it parses hostile text."""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Iterator, Sequence

TRIES = 12  # attempts to cut prose off the end of bare text
_BUILTIN = frozenset(dir(builtins))


class NoProgram(Exception):
    """Nothing in the response is a program. `args[0]`: "unparsed", or "syntax" when it looks like a broken one."""


def choose(blocks: Sequence[str], bare: str, wanted: Sequence[str], prompt: str) -> str:
    """The source to run. `wanted`: names that it should define. Raises NoProgram(kind, reason)."""
    warnings.simplefilter("ignore")  # of invalid escapes and the like in the response's text
    parsed = [(block, _parse(block)) for block in blocks]
    trees = [(block, tree) for block, tree in parsed if tree is not None]
    chosen = _definer(trees, wanted)
    if chosen is not None:
        return _after_prompt(prompt, _with_helpers(trees, chosen))
    if prompt:
        for text in [*reversed(blocks), bare]:
            for source in _completions(prompt, text):
                if _compiles(source):
                    return source
    if trees:
        return _after_prompt(prompt, _with_helpers(trees, len(trees) - 1))
    if bare:
        for text in _unproved(bare):
            tree = _parse(text)
            if tree is not None and _is_program(tree):
                return _after_prompt(prompt, text)
    text = blocks[-1] if blocks else bare
    looks = bool(blocks) or any(map(_starts_code, text.split("\n")))
    raise NoProgram("syntax" if looks else "unparsed", _reason(text))


def _parse(text: str) -> ast.Module | None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return None
    return tree if _compiles(text) else None


def _compiles(text: str) -> bool:
    try:
        compile(text, "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return False
    return True


def _reason(text: str) -> str:
    try:
        compile(text, "program.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})"
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        return type(error).__name__
    return "no statement"


def _is_program(tree: ast.Module) -> bool:
    """More than words: `yes` and `42` are Python too."""
    return any(
        not isinstance(line, ast.Expr) or isinstance(line.value, (ast.Call, ast.Await))
        for line in tree.body
    )


def defined(tree: ast.Module) -> set[str]:
    """Names that the top level of a module binds, also inside its ifs, tries and loops."""
    names: set[str] = set()
    for node in _top_level(tree.body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((each.asname or each.name).split(".")[0] for each in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _top_level(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    pending = list(body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def free(tree: ast.Module) -> set[str]:
    """Names that a module reads and does not bind anywhere, builtins left out."""
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                bound.add(name)
            case ast.Import(names) | ast.ImportFrom(names=names):
                bound.update((each.asname or each.name).split(".")[0] for each in names)
    return used - bound


def _definer(trees: Sequence[tuple[str, ast.Module]], wanted: Sequence[str]) -> int | None:
    """The last block among those that define most of the wanted names."""
    best, found = 0, None
    for index, (_, tree) in enumerate(trees):
        count = len(defined(tree).intersection(wanted))
        if count and count >= best:
            best, found = count, index
    return found


def _with_helpers(trees: Sequence[tuple[str, ast.Module]], chosen: int) -> str:
    """The chosen block, after the earlier blocks that define what it reads and does not define itself."""
    source, tree = trees[chosen]
    needed = free(tree) - _BUILTIN
    before: list[str] = []
    for block, earlier in reversed(trees[:chosen]):
        if needed & defined(earlier):
            before.insert(0, block)
            needed = (needed - defined(earlier)) | (free(earlier) - _BUILTIN)
    joined = "\n\n".join([*before, source])
    return joined if _compiles(joined) else source


def _after_prompt(prompt: str, source: str) -> str:
    """A whole program still gets the imports and helpers of the prompt that it answers."""
    if prompt:
        for joint in ("\n\n", "\n    pass\n\n"):
            whole = f"{prompt.rstrip()}{joint}{source}"
            if _compiles(whole):
                return whole
    return source


def _completions(prompt: str, text: str) -> Iterator[str]:
    """The prompt continued by the text, with the indentation that got lost, and last by its body alone."""
    lines = text.strip("\n").split("\n")
    if not any(line.strip() for line in lines):
        return
    margin = min((_margin(line) for line in lines[1:] if line.strip()), default=4)
    indented = "\n".join("    " + line if line.strip() else line for line in lines)
    bodies = [text]
    if not _margin(lines[0]):
        first_only = "    " + text.lstrip()
        bodies = [first_only, indented, text] if margin else [indented, first_only, text]
    for change in (str, _body):
        for body in bodies:
            for joint in ("", "\n"):
                yield f"{prompt}{joint}{change(body)}"


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())


def _body(text: str) -> str:
    """Up to the first line at the left margin that starts neither a definition nor a comment."""
    kept: list[str] = []
    for line in text.split("\n"):
        if kept and line[:1].strip() and not _starts_code(line) and line[0] not in "#)]}":
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


_STARTS = ("def ", "class ", "import ", "from ", "@", "async def ")


def _starts_code(line: str) -> bool:
    return line.startswith(_STARTS)


def _unproved(bare: str) -> Iterator[str]:
    """Bare text, then without the prose before its first definition, then without lines at its end."""
    yield bare
    lines = bare.split("\n")
    starts = [number for number, line in enumerate(lines) if _starts_code(line)]
    if not starts:
        return
    lines = lines[starts[0] :]
    for _ in range(TRIES):
        text = "\n".join(lines)
        yield text
        try:
            ast.parse(text)
        except SyntaxError as error:
            cut = min((error.lineno or len(lines)) - 1, len(lines) - 1)
            while cut > 0 and lines[cut - 1][:1] in (" ", "\t") and not lines[cut].strip():
                cut -= 1
            lines = lines[:cut]
        except (ValueError, MemoryError, RecursionError, OverflowError):
            return
        if not lines:
            return
