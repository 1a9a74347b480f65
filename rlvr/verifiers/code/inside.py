"""What runs in the jail: load the program, then answer calls. Nothing here is trusted by the other side.

The program shares this interpreter and may change anything in it. All it can do with that is to answer with other plain
data, which is what a program does anyway; the tests, their expected values and the verdict are elsewhere.
"""

from __future__ import annotations

import builtins
import errno
import inspect
import json
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from rlvr.verifiers.code import plain
from rlvr.verifiers.code.choose import NoProgram, choose
from rlvr.verifiers.sandbox import frames

CHUNK = 256  # most items of an iterator sent at a time
ANSWER = 24 * 2**20  # bytes of one answer


def enter(descriptors: list[int], home: str) -> None:
    """The child's whole life. `descriptors`: the channel, then standard input and output for a script."""
    channel = descriptors[0]
    for target, descriptor in enumerate(descriptors[1:]):
        os.dup2(descriptor, target)
        os.close(descriptor)
    Program(channel, home).run()
    os._exit(0)


def rehearse() -> None:
    """A tiny program from text to answer: what a process touches for the first time after its fork is slow."""
    source = choose(["def f(x):\n    return [x, (x, 'a'), {x: 1.5}]\n"], "", ["f"], "")
    names: dict[str, Any] = {}
    exec(compile(source, "program.py", "exec", dont_inherit=True), names)
    answer = frames.pack({"value": plain.Encoder(dict)(names["f"](2))})
    plain.Decoder(lambda tag, content: None)(json.loads(answer[4:])["value"])


class Program:
    def __init__(self, channel: int, home: str) -> None:
        self._channel = channel
        self._home = home
        self._handles: list[Any] = []
        self._classes: tuple[type, ...] = ()
        self._decode = plain.Decoder(self._special_in)

    def run(self) -> None:
        order = frames.receive(self._channel)
        if order is None:
            return
        try:
            source = choose(order["blocks"], order["bare"], order["wanted"], order["prompt"])
        except NoProgram as error:
            frames.send(self._channel, {"none": error.args[0], "reason": error.args[1]})
            return
        for name, text in order["files"].items():
            _place(self._home, name, text)
        if order["script"]:
            frames.send(self._channel, {"running": True})
            os.close(self._channel)
            _script(source)
        try:
            names = self._load(source, order["tests"])
        except BaseException as error:  # noqa: BLE001 - the program's own, SystemExit included
            frames.send(self._channel, {"failed": self._error(error), "source": source})
            return
        self._answer({"ready": self._describe(names, order["names"]), "source": source})
        while (message := frames.receive(self._channel)) is not None:
            self._answer(self._obey(message))

    def _load(self, source: str, tests: str) -> dict[str, Any]:
        """Run the program's top level. `tests` is empty unless they run here, beside it (mode `live`)."""
        module = types.ModuleType("program")
        module.__file__ = os.path.join(self._home, "program.py")
        sys.modules["program"] = module
        sys.path.insert(0, self._home)
        for name in [name for name in sys.modules if name.split(".")[0] == "rlvr"]:
            del sys.modules[name]
        exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
        if tests:
            exec(compile(tests, "<tests>", "exec", dont_inherit=True), module.__dict__)
        return module.__dict__

    def _describe(self, program: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """What each name is that the tests read; `*` names the last function, for tests that name none."""
        self._classes = tuple(each for name in names if isinstance(each := program.get(name), type))
        found = {name: self._kind(program[name]) for name in names if name in program}
        own = [
            name
            for name, each in program.items()
            if isinstance(each, types.FunctionType) and each.__module__ == "program"
        ]
        return {own[-1]: self._kind(program[own[-1]]), **found, "*": own[-1]} if own else found

    def _kind(self, value: Any) -> dict[str, Any]:
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        home, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
        standard = isinstance(home, str) and home.split(".")[0] in sys.stdlib_module_names
        if standard and getattr(sys.modules.get(str(home)), str(name), None) is value:
            return {"import": [home, name], "callable": self._keep(value)}
        if isinstance(value, type) and issubclass(value, BaseException):
            return {"exception": _builtin_base(value)}
        if isinstance(value, type):
            return {"class": self._keep(value)}
        try:
            return {"value": plain.Encoder(self._special_out)(value)}
        except (plain.NotPlain, RecursionError):
            return {"value": self._opaque(value)}

    def _keep(self, value: Any) -> int:
        self._handles.append(value)
        return len(self._handles) - 1

    def _obey(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self, f"_do_{message['do']}")(message)
            return answer
        except BaseException as error:  # noqa: BLE001 - the program's own, SystemExit included
            return {"error": self._error(error)}

    def _do_call(self, message: dict[str, Any]) -> dict[str, Any]:
        given = message["args"]
        arguments = [self._decode(each) for each in given]
        keywords = {name: self._decode(each) for name, each in message["keywords"].items()}
        error = result = None
        try:
            result = self._handles[message["on"]](*arguments, **keywords)
        except BaseException as raised:  # noqa: BLE001 - crosses to the tests, like the result
            error = self._error(raised)
        answer: dict[str, Any] = {"error": error} if error else {"value": None}
        if not error:
            same = [index for index, each in enumerate(arguments) if each is result]
            mutable = isinstance(result, plain.MUTABLE)
            answer = {"same": same[0]} if same and mutable else {"value": self._out(result)}
        answer["changed"] = self._changed(arguments, given)
        return answer

    def _changed(self, arguments: list[Any], given: list[Any]) -> list[Any]:
        """[index, new content] of the arguments that the call changed in place."""
        found: list[Any] = []
        for index, value in enumerate(arguments):
            if isinstance(value, plain.MUTABLE):
                try:
                    now = plain.Encoder(self._special_out)(value)
                except (plain.NotPlain, RecursionError):
                    continue
                if now != given[index]:
                    found.append([index, now])
        return found

    def _do_next(self, message: dict[str, Any]) -> dict[str, Any]:
        items: list[Any] = []
        iterator = self._handles[message["on"]]
        for _ in range(min(message["count"], CHUNK)):
            try:
                items.append(self._out(next(iterator)))
            except StopIteration:
                return {"items": items, "end": True}
            except BaseException as error:  # noqa: BLE001 - crosses to the tests after the items before it
                return {"items": items, "end": True, "error": self._error(error)}
        return {"items": items, "end": False}

    def _do_await(self, message: dict[str, Any]) -> dict[str, Any]:
        import asyncio

        async def wait() -> Any:
            return await self._handles[message["on"]]

        return {"value": self._out(asyncio.run(wait()))}

    def _do_get(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"value": self._out(getattr(self._handles[message["on"]], message["name"]))}

    def _do_set(self, message: dict[str, Any]) -> dict[str, Any]:
        setattr(self._handles[message["on"]], message["name"], self._decode(message["value"]))
        return {"value": None}

    def _do_apply(self, message: dict[str, Any]) -> dict[str, Any]:
        """One of a few operations on an object: len, iter, str, repr, item, bool."""
        arguments = [self._decode(each) for each in message["args"]]
        return {
            "value": self._out(
                _OPERATIONS[message["name"]](self._handles[message["on"]], *arguments)
            )
        }

    def _out(self, value: Any) -> Any:
        return plain.Encoder(self._special_out)(value)

    def _special_out(self, value: Any) -> Any:
        if self._classes and isinstance(value, self._classes):
            return {"object": self._keep(value)}
        if isinstance(value, _numpy_scalar()):
            return self._out(value.item())
        if inspect.isawaitable(value):
            return {"awaitable": self._keep(value)}
        if callable(value):
            return {"callable": self._keep(value)}
        if hasattr(type(value), "__next__"):
            return {"iterator": self._keep(value)}
        return self._opaque(value)

    def _opaque(self, value: Any) -> dict[str, Any]:
        return {"opaque": [self._keep(value), type(value).__name__[:80]]}

    def _special_in(self, tag: str, content: Any) -> Any:
        if tag == "handle":
            return self._handles[content]
        if tag == "iter":
            return iter([self._decode(each) for each in content])
        if tag == "builtin":
            return getattr(builtins, content)
        if tag == "back":
            return self._callback(content)
        raise plain.NotPlain(tag)

    def _callback(self, number: int) -> Callable[..., Any]:
        """A function of the tests that the program was given as an argument."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            message = {
                "back": number,
                "args": [self._out(each) for each in arguments],
                "keywords": {name: self._out(each) for name, each in keywords.items()},
            }
            frames.send(self._channel, message)
            while (reply := frames.receive(self._channel)) is not None:
                if "do" in reply:
                    self._answer(self._obey(reply))
                elif "value" in reply:
                    return self._decode(reply["value"])
                else:
                    raise getattr(builtins, reply["raise"][0])(reply["raise"][1])
            os._exit(0)

        return call

    def _answer(self, answer: dict[str, Any]) -> None:
        packed = frames.pack(answer)
        if len(packed) > ANSWER:
            packed = frames.pack(
                {"error": ["ValueError", "ValueError", "", "the result is too large"]}
            )
        frames.write_all(self._channel, packed)

    def _error(self, error: BaseException) -> list[Any]:
        """[its name, nearest builtin, label, text]. A label says what kind of limit it ran into."""
        try:
            text = str(error.args[0]) if len(error.args) == 1 else str(error)
        except Exception:  # noqa: BLE001 - the program's own code
            text = ""
        return [type(error).__name__[:80], _builtin_base(type(error)), _label(error), text[:500]]


def _numpy_scalar() -> Any:
    """Its type if the program loaded numpy, else no type at all: `np.int64(4)` is 4 to any test."""
    return getattr(sys.modules.get("numpy"), "generic", ())


def _builtin_base(kind: type) -> str:
    for base in kind.__mro__:
        if base.__module__ == "builtins":
            return base.__name__
    return "Exception"


_DENIED = (errno.EPERM, errno.EACCES, errno.EROFS, errno.EXDEV, errno.EAFNOSUPPORT)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def _label(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError):
        if error.errno in _FULL:
            return "disk"
        if error.errno == errno.ENOMEM:
            return "memory"
        if error.errno == errno.EAGAIN:
            return "processes"
        if error.errno in _DENIED or (error.errno == errno.ENOENT and _leads_out(error.filename)):
            return "denied"
    return ""


def _leads_out(name: object) -> bool:
    """A file that is not there because the jail hides it."""
    own = os.environ["HOME"], os.path.dirname(os.__file__)
    return isinstance(name, str) and not os.path.realpath(name).startswith(own)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "len": len,
    "iter": iter,
    "str": str,
    "repr": repr,
    "bool": bool,
    "isinstance": isinstance,
    "item": lambda value, key: value[key],
}


def _place(home: str, name: str, text: str) -> None:
    path = os.path.join(home, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def _script(source: str) -> None:
    """Run as `python program.py` would, to the end of the process."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["program.py"]
    sys.path.insert(0, os.getcwd())
    code = 0
    try:
        exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:  # noqa: BLE001 - the program's own
        code = {"memory": 101, "disk": 102, "denied": 103, "processes": 104}.get(_label(error), 1)
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter itself does at its end
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - the program's own
        code = code or 1
    os._exit(code & 0xFF)
