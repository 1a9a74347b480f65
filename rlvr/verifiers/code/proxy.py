"""The tests' side of the channel: stand-ins for what the program defines. They hold no object of the program.

Equality and arithmetic are never asked of the program: a stand-in equals itself only, so an object whose `__eq__` is
always true proves nothing. Calls, attributes, length and iteration of a class's instances are, one by one.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable, Iterator
from typing import Any

from rlvr.verifiers.code import plain
from rlvr.verifiers.sandbox import frames

CHUNK = 256
MOST_ARGUMENTS = 100_000  # items of an iterator that a test passes as an argument


class Lost(BaseException):
    """The program is gone. No `except Exception` of the tests hides it."""


class Unsendable(Exception):
    """A test passes what cannot cross: the tests need live objects."""


class Link:
    """Asks the program. `first` is called once, when a test first uses it."""

    def __init__(self, channel: int, first: Callable[[], object]) -> None:
        self._channel = channel
        self._first: Callable[[], object] | None = first
        self._callbacks: list[Callable[..., Any]] = []
        self._decode = plain.Decoder(self._special_in)
        self.exceptions: dict[str, type[BaseException]] = {}  # the program's own, by name
        self.lost = False
        self.malformed = ""
        self.live = ""  # a live object that a test was given

    @property
    def touched(self) -> bool:
        """A test used the program."""
        return self._first is None

    def touch(self) -> None:
        if self._first is not None:
            self._first()
            self._first = None

    def send(self, message: object) -> None:
        """Raises Lost."""
        try:
            frames.send(self._channel, message)
        except OSError:
            self.lost = True
            raise Lost from None

    def receive(self) -> dict[str, Any]:
        """The next answer; calls back until it comes. Raises Lost."""
        try:
            while True:
                answer = frames.receive(self._channel)
                if not isinstance(answer, dict):
                    break
                if "back" not in answer:
                    return answer
                frames.send(self._channel, self._call_back(answer))
        except (frames.FrameError, plain.NotPlain) as error:
            self.malformed = str(error)
        except OSError:
            pass
        self.lost = True
        raise Lost

    def ask(self, **message: Any) -> dict[str, Any]:
        """The answer; raises the error that the program raised, or Lost."""
        self.touch()
        self.send(message)
        answer = self.receive()
        if "error" in answer and message["do"] != "next":
            raise self.error(answer["error"])
        return answer

    def call(self, number: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call what the program holds under `number`."""
        self.touch()
        self.send(
            {
                "do": "call",
                "on": number,
                "args": [self.encode(each) for each in arguments],
                "keywords": {name: self.encode(each) for name, each in keywords.items()},
            }
        )
        answer = self.receive()
        changes = answer.get("changed", [])
        for change in changes if isinstance(changes, list) else ():
            match change:
                case [int(index), content] if 0 <= index < len(arguments):
                    now = self.decode(content)
                    if type(now) is type(arguments[index]):
                        plain.changed_in_place(arguments[index], now)
        if "error" in answer:
            raise self.error(answer["error"])
        match answer:
            case {"same": int(index)} if 0 <= index < len(arguments):
                return arguments[index]
        return self.value(answer)

    def value(self, answer: dict[str, Any]) -> Any:
        return self.decode(answer.get("value"))

    def decode(self, node: Any) -> Any:
        try:
            return self._decode(node)
        except plain.NotPlain as error:
            self.malformed = str(error)
            self.lost = True
            raise Lost from None

    def encode(self, value: Any) -> Any:
        try:
            return plain.Encoder(self._special_out)(value)
        except plain.NotPlain as error:
            raise Unsendable(str(error)) from None

    def error(self, node: Any) -> BaseException:
        """An exception of the tests' own, after the program's: same name, text and nearest builtin."""
        match node:
            case [str(name), str(base), str(label), str(text)]:
                kind = self.exceptions.get(name) or getattr(builtins, base, Exception)
                if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                    kind = Exception
                try:
                    error = kind(text)
                except TypeError:  # UnicodeDecodeError and a few more take five arguments
                    error = ValueError(text)
                vars(error)["program_label"] = label
                return error
        self.malformed = "an error that is none"
        self.lost = True
        return Lost()

    def _special_out(self, value: Any) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"handle": object.__getattribute__(value, "_number")}
        if hasattr(type(value), "__next__"):
            items = []
            for item in value:
                items.append(self.encode(item))
                if len(items) > MOST_ARGUMENTS:
                    raise plain.NotPlain("an endless iterator as an argument")
            return {"iter": items}
        if callable(value):
            name = getattr(value, "__name__", "")
            if isinstance(name, str) and getattr(builtins, name, None) is value:
                return {"builtin": name}
            self._callbacks.append(value)
            return {"back": len(self._callbacks) - 1}
        raise plain.NotPlain(f"an object of type {type(value).__name__} as an argument")

    def _special_in(self, tag: str, content: Any) -> Any:
        if tag == "opaque":
            number, name = content
            self.live = str(name)
            return Opaque(self, int(number))
        if type(content) is not int:
            raise plain.NotPlain(tag)
        if tag == "callable":
            return Function(self, content)
        if tag == "iterator":
            return self._items(content)
        if tag == "awaitable":
            return self._wait(content)
        if tag == "object" and self.allow_objects:
            return Object(self, content)
        return Opaque(self, content)

    allow_objects = False  # only when a class of the program is named by the tests

    def _items(self, number: int) -> Iterator[Any]:
        count = 1
        while True:
            answer = self.ask(do="next", on=number, count=count)
            items = answer.get("items")
            if not isinstance(items, list):
                self.malformed, self.lost = "an iterator without items", True
                raise Lost
            yield from map(self.decode, items)
            if "error" in answer:
                raise self.error(answer["error"])
            if answer.get("end") or not items:
                return
            count = min(2 * count, CHUNK)

    async def _wait(self, number: int) -> Any:
        return self.value(self.ask(do="await", on=number))

    def _call_back(self, message: dict[str, Any]) -> dict[str, Any]:
        match message:
            case {"back": int(number), "args": list(arguments), "keywords": dict(keywords)}:
                if not 0 <= number < len(self._callbacks):
                    raise plain.NotPlain("no such callback")
            case _:
                raise plain.NotPlain("malformed callback")
        positional = [self.decode(each) for each in arguments]
        named = {name: self.decode(each) for name, each in keywords.items()}
        try:
            return {"value": self.encode(self._callbacks[number](*positional, **named))}
        except Exception as error:  # noqa: BLE001 - the test's own function; the program gets its error
            name = type(error).__name__
            known = isinstance(getattr(builtins, name, None), type)
            return {"raise": [name if known else "Exception", str(error)[:500]]}


class Remote:
    """Something that the program holds, by number."""

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)


class Opaque(Remote):
    """An object that the tests can pass back, and nothing else."""


class Function(Remote):
    """Calls go to the program; arguments that it changes in place are changed here too."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        link: Link = object.__getattribute__(self, "_link")
        return link.call(object.__getattribute__(self, "_number"), arguments, keywords)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """A test class may hold the function as an attribute and call it as a method."""
        return self if instance is None else types.MethodType(self, instance)


class Class(Function):
    """A class that the tests name: called for instances, and asked whether an object is one."""

    def __instancecheck__(self, instance: object) -> bool:
        if not isinstance(instance, Remote):
            return False
        link: Link = object.__getattribute__(self, "_link")
        number = object.__getattribute__(instance, "_number")
        answer = link.ask(do="apply", on=number, name="isinstance", args=[link.encode(self)])
        return link.value(answer) is True


class Object(Remote):
    """An instance of a class that the tests name. Its equality is its identity."""

    def __getattr__(self, name: str) -> Any:
        return self._ask(do="get", name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        link: Link = object.__getattribute__(self, "_link")
        self._ask(do="set", name=name, value=link.encode(value))

    def _ask(self, **message: Any) -> Any:
        link: Link = object.__getattribute__(self, "_link")
        return link.value(link.ask(on=object.__getattribute__(self, "_number"), **message))

    def _apply(self, name: str, *arguments: Any) -> Any:
        link: Link = object.__getattribute__(self, "_link")
        return self._ask(do="apply", name=name, args=[link.encode(each) for each in arguments])

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        link: Link = object.__getattribute__(self, "_link")
        return link.call(object.__getattribute__(self, "_number"), arguments, keywords)

    def __len__(self) -> int:
        length: int = self._apply("len")
        return length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._apply("iter"))

    def __getitem__(self, key: Any) -> Any:
        return self._apply("item", key)

    def __contains__(self, item: Any) -> bool:
        return any(
            item == each for each in self
        )  # decided here: the program must not see what is expected

    def __bool__(self) -> bool:
        return bool(self._apply("bool"))

    def __str__(self) -> str:
        return str(self._apply("str"))

    def __repr__(self) -> str:
        return str(self._apply("repr"))
