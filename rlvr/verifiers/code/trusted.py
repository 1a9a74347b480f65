"""What runs beside the jail: the tests, with stand-ins for the program.

A child process serves one verdict after the other as long as the tests are harmless ones (`harmless.py`), and a new one
comes after any other tests.

Not covered: tests that hand a result to `eval`, `exec`, `pickle` or a shell give the program a way in here; it is
jailed here as well, but it could then decide its own verdict.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import os
import random
import socket
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from rlvr.verifiers.code import tally
from rlvr.verifiers.code.choose import free
from rlvr.verifiers.code.harmless import MODULES, harmless
from rlvr.verifiers.code.proxy import Class, Function, Link, Lost, Unsendable
from rlvr.verifiers.sandbox import frames

_BUILTIN = frozenset(dir(builtins))
# modules that the tests take from the standard library where only the program imports them: the program names the
# module, so none may hold an object that equals everything, as `unittest.mock` does
_BORROWED = MODULES | {"decimal", "json", "numpy"}
_LIMITS = {
    "memory": ("timeout", "the program needs more memory than it may have"),
    "disk": ("timeout", "the program writes more than it may"),
    "processes": ("timeout", "the program starts more processes than it may"),
    "denied": ("forbidden", "the program tried what the sandbox denies"),
}


class Ended(Exception):
    """The verdict is known: status, detail."""


def enter(descriptors: list[int], home: str) -> None:
    """The child's whole life.

    `descriptors`: where jobs come from, each with the channel to its program; where to note how far one got.
    """
    jobs = socket.socket(fileno=descriptors[0])
    notes = descriptors[1]
    job = jobs.fileno()
    while True:
        _, channels, _, _ = socket.recv_fds(jobs, 1, 1)
        if not channels:
            return
        order = frames.receive(job)
        random.seed(0)  # the same tests draw the same numbers
        frames.send(job, judge(order, channels[0], lambda note: os.write(notes, note)))
        os.close(channels[0])


def judge(order: dict[str, Any], channel: int, note: Callable[[bytes], object]) -> dict[str, Any]:
    """Load the program, run the tests. `order`: blocks, bare, tests, prompt, entry_point, files, live."""
    runner = Runner(order, Link(channel, lambda: note(b"a")), lambda: note(b"l"))
    try:
        runner.run()
        status, detail = "correct", ""
    except Ended as ended:
        status, detail = ended.args
    except Lost:
        status, detail = "lost", ""
    except (MemoryError, RecursionError):
        status, detail = "timeout", "the results need more memory than the tests may have"
    link = runner.link
    if link.malformed:
        status, detail = "wrong", f"the program gave no plain data: {link.malformed}"
    elif link.lost:
        status, detail = "lost", ""
    return {
        "status": status,
        "detail": detail,
        "source": runner.source,
        "reusable": runner.harmless,
        "passed": runner.tally.passed,
        "total": max(runner.tally.seen, runner.tally.written),
    }


class Runner:
    def __init__(self, order: dict[str, Any], link: Link, loaded: Callable[[], object]) -> None:
        self.link = link
        self._loaded = loaded
        self.source = ""
        self.harmless = False  # these tests leave nothing behind in this process
        self.tally = tally.Tally(counting=order["fraction"])
        self._order = order
        self._entry: str = order["entry_point"]
        self._missing = ""
        self._names: frozenset[str] = frozenset()
        self._namespace: dict[str, Any] = {
            tally.HOLDS: self.tally.right,
            tally.FAILS: self.tally.wrong,
        }

    def run(self) -> None:
        """Returns when all tests passed. Raises Ended or Lost."""
        with _compiling():
            tree = ast.parse(self._order["tests"])
        if not tree.body:
            raise Ended("broken", "the tests are empty")
        prompt, known = self._from_prompt()
        names = sorted(free(tree) | ({self._entry} if self._entry else set()))
        self._names = frozenset(names)
        self._send(names, names_wanted(names, self._entry, known))
        # while the program loads
        self.harmless = harmless(tree) and harmless(prompt)
        with _compiling():
            code = compile(tally.instrument(tree, self.tally), "<tests>", "exec", dont_inherit=True)
        found = self._loaded_names()
        if self._order["live"]:
            return
        self._loaded()
        self._provide(found, known)
        main = types.ModuleType("__main__")
        main.__dict__.update(self._namespace, __name__="__main__")
        self._namespace = main.__dict__
        sys.modules["__main__"] = main
        self._guarded(lambda: exec(code, self._namespace))
        self._call_check(tree)
        if not self.link.touched:
            raise Ended("broken", "the tests never use the program")
        if self.tally.failure is not None:
            self._blame(self.tally.failure)

    def _from_prompt(self) -> tuple[ast.Module, dict[str, Any]]:
        """The prompt's own helpers, run here: the tests must not take them from the program."""
        prompt, names = self._order["prompt"], {"__name__": "prompt"}
        for ending in ("", "\n    pass\n") if prompt else ():
            try:
                tree = ast.parse(prompt + ending)
                code = compile(tree, "<prompt>", "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                continue
            try:
                exec(code, names)
            except Exception:  # noqa: BLE001 - a prompt that does not run by itself gives no helpers
                return tree, {}
            return tree, names
        return ast.Module([], []), {}

    def _send(self, names: list[str], wanted: list[str]) -> None:
        order = self._order
        self.link.send(
            {
                **{key: order[key] for key in ("blocks", "bare", "prompt", "files")},
                "wanted": wanted,
                "names": names,
                "script": False,
                "tests": self._live_tests() if order["live"] else "",
            }
        )

    def _loaded_names(self) -> dict[str, Any]:
        """What the program defines of the names that it was asked for."""
        answer = self.link.receive()
        self.source = str(answer.get("source", ""))
        if "none" in answer:
            kind = "unparsed" if answer["none"] == "unparsed" else "wrong"
            raise Ended(kind, f"no program: {str(answer.get('reason', ''))[:200]}")
        if "failed" in answer:
            self._blame(self.link.error(answer["failed"]), loading=not self._order["live"])
        found = answer.get("ready")
        if not isinstance(found, dict):
            raise Ended("wrong", "the program gave no plain data")
        return found

    def _live_tests(self) -> str:
        entry = self._entry
        tests = self._order["tests"]
        candidate = f"candidate = {entry}\n" if entry.isidentifier() else ""
        call = f"\ncheck({entry})\n" if entry and _needs_check(ast.parse(tests)) else ""
        return f"{candidate}{tests}{call}"

    def _provide(self, found: dict[str, Any], known: dict[str, Any]) -> None:
        """Fill the tests' namespace: the prompt's names first, then stand-ins."""
        entry = (
            self._entry or _last_function(known, self._order["prompt"]) or str(found.get("*", ""))
        )
        others = [name for name in found if name not in _BUILTIN and name != "*"]
        self._namespace.update(
            {name: each for name, each in known.items() if name not in (entry, "__name__")}
        )
        for name, kind in found.items():
            builtin = name in _BUILTIN and name != self._entry and others
            if name != "*" and not builtin and (name == entry or name not in known):
                self._namespace[name] = self._stand_in(name, kind)
        self._missing = entry if entry and entry not in found else ""
        if entry in self._namespace and "candidate" not in found:
            self._namespace["candidate"] = self._namespace[entry]

    def _stand_in(self, name: str, kind: Any) -> Any:
        link = self.link
        match kind:
            case {"module": str(module)} if module in _BORROWED or module == name == "sys":
                return importlib.import_module(module)
            case {"import": [str(module), str(attribute)], "callable": int(number)}:
                if module in _BORROWED and attribute == name and name != self._entry:
                    return getattr(importlib.import_module(module), name)
                return Function(link, number)
            case {"exception": str(base)}:
                parent = getattr(builtins, base, Exception)
                link.exceptions[name] = types.new_class(name, (parent,))
                return link.exceptions[name]
            case {"class": int(number)}:
                link.allow_objects = link.allow_objects or name[:1].isupper()
                return Class(link, number)
            case {"value": node}:
                value = link.decode(node)
                if not isinstance(value, Function):
                    link.touch()
                else:
                    value.__dict__["__name__"] = name
                return value
        raise Ended("wrong", "the program gave no plain data")

    def _call_check(self, tree: ast.Module) -> None:
        if _needs_check(tree):
            if self._missing:
                raise Ended("wrong", f"the program does not define '{self._missing}'")
            if "candidate" not in self._namespace:
                raise Ended(
                    "broken", "the tests define check(candidate), and there is no entry_point"
                )
            check = self._namespace["check"]
            self._guarded(lambda: check(self._namespace["candidate"]))
        elif not self.link.touched:
            for name, each in list(self._namespace.items()):
                if name.startswith("test") and isinstance(each, types.FunctionType):
                    self._guarded(each)

    def _guarded(self, run: Any) -> None:
        try:
            run()
        except (Lost, Ended):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the tests raise is their verdict
            self._blame(error)

    def _blame(self, error: BaseException, loading: bool = False) -> None:
        """Raise Ended with the status that this exception stands for."""
        text = _describe(error)
        if isinstance(error, Unsendable):
            raise Ended("broken", f"the tests need live objects (option live): {text}")
        each: BaseException | None = error
        for _ in range(5):
            label = getattr(each, "program_label", "")
            if label in _LIMITS:
                status, why = _LIMITS[label]
                raise Ended(status, f"{why}: {_describe(each) if each else ''}")
            each = each.__context__ if each else None
        if loading:
            raise Ended("wrong", f"the program stops while it loads: {text}")
        if isinstance(error, NameError) and error.name in self._names:
            raise Ended("wrong", f"the program does not define '{self._missing or error.name}'")
        if isinstance(error, MemoryError) and self.link.touched:
            raise Ended("timeout", "the results need more memory than the tests may have")
        if not self.link.touched and not self._order["live"]:
            raise Ended("broken", f"the tests fail before they use the program: {text}")
        hint = f" (a result is a live object, '{self.link.live}')" if self.link.live else ""
        raise Ended("wrong", f"{text}{_place(error, self._order['tests'])}{hint}")


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    try:
        yield
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Ended("broken", f"the tests do not compile: {error}") from None


def names_wanted(names: list[str], entry: str, known: dict[str, Any]) -> list[str]:
    """Names by which the program is recognised in the response."""
    if entry:
        return [entry]
    return [name for name in names if name not in _BUILTIN and name not in known] or [
        name for name in names if name in known
    ]


def _needs_check(tree: ast.Module) -> bool:
    """The tests define `check` and never call it at their top level."""
    defines = any(isinstance(line, ast.FunctionDef) and line.name == "check" for line in tree.body)
    calls = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
        for line in tree.body
        if not isinstance(line, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        for node in ast.walk(line)
    )
    return defines and not calls


def _last_function(known: dict[str, Any], prompt: str) -> str:
    own = [name for name, each in known.items() if isinstance(each, types.FunctionType)]
    own = [name for name in own if known[name].__module__ == "prompt"]
    return own[-1] if own and prompt else ""


def _describe(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())[:200]
    except Exception:  # noqa: BLE001 - a text that cannot be made is left out
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException, tests: str) -> str:
    """The line of the tests where it happened."""
    number, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = tests.splitlines()
    return f", line {number}: {lines[number - 1].strip()[:200]}" if 0 < number <= len(lines) else ""
