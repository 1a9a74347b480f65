"""Values as plain data: how arguments and results cross between the tests and the jailed program.

Scalars and lists are JSON's own; everything else is a one-key object whose key is a tag. The decoder builds exact
builtin types and nothing else, so that what the tests compare is never an object of the program.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

DEPTH = 120  # nesting of one value
ITEMS = 2_000_000  # values within one value
BITS = 2**21  # of one integer
_JSON_INT = 2**53


class NotPlain(Exception):
    """A value that cannot cross, or a message that is not one."""


_ORDERED = (
    collections.Counter,
    collections.OrderedDict,
    collections.defaultdict,
)  # dicts that tests name
_DATES = (datetime.datetime, datetime.date, datetime.time)


class Encoder:
    """`special(value)` is asked for values that are not plain; it gives a tagged node or raises NotPlain."""

    def __init__(self, special: Callable[[Any], dict[str, Any]]) -> None:
        self._special = special
        self._left = ITEMS

    def __call__(self, value: Any, depth: int = DEPTH) -> Any:
        self._left -= 1
        if depth <= 0 or self._left <= 0:
            raise NotPlain("too deep" if depth <= 0 else "too many items")
        kind = type(value)
        if value is None or kind is bool or kind is float or kind is str:
            return value
        if kind is int:
            return value if -_JSON_INT < value < _JSON_INT else _big(value)
        if kind is list:
            return [self(each, depth - 1) for each in value]
        if kind is tuple:
            return {"t": [self(each, depth - 1) for each in value]}
        if kind is dict:
            return {"d": self._pairs(value, depth)}
        if kind is set or kind is frozenset:
            return {"s" if kind is set else "z": [self(each, depth - 1) for each in value]}
        return self._rare(kind, value, depth)

    def _pairs(self, value: dict[Any, Any], depth: int) -> list[Any]:
        return [[self(key, depth - 1), self(item, depth - 1)] for key, item in value.items()]

    def _rare(self, kind: type, value: Any, depth: int) -> Any:
        if kind is complex:
            return {"c": [value.real, value.imag]}
        if kind is bytes or kind is bytearray:
            return {"b" if kind is bytes else "y": value.hex()}
        if kind is range:
            return {"r": [self(value.start), self(value.stop), self(value.step)]}
        if kind is slice:
            return {"sl": [self(each) for each in (value.start, value.stop, value.step)]}
        if kind is decimal.Decimal:
            return {"D": str(value)}
        if kind is fractions.Fraction:
            return {"F": [self(value.numerator), self(value.denominator)]}
        if kind in _DATES and value.__reduce__()[1][1:] == ():
            return {kind.__name__: value.isoformat()}
        if kind is datetime.timedelta:
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        if value is Ellipsis or value is NotImplemented:
            return {"k": str(value)}
        if kind is collections.deque:
            return {"q": [self(each, depth - 1) for each in value]}
        if kind in _ORDERED:
            return {kind.__name__: self._pairs(value, depth)}
        return self._kin(value, depth)

    def _kin(self, value: Any, depth: int) -> Any:
        """A subclass of a builtin crosses as that builtin, read through the builtin's own methods."""
        for base in (int, float, str, list, tuple, dict, set, frozenset, bytes):
            if isinstance(value, base):
                return self(_as(base, value), depth)
        if isinstance(value, (type({}.keys()), type({}.values()), type({}.items()))):
            return self(list(value), depth)
        return self._special(value)


def _as(base: Any, value: Any) -> Any:
    """The builtin inside an instance of a subclass, without asking the subclass."""
    if base is int:
        return int.__add__(value, 0)
    if base is float:
        return float.__add__(value, 0.0)
    if base is str:
        return str.__getitem__(value, slice(None))
    if base is bytes:
        return bytes.__getitem__(value, slice(None))
    if base is dict:
        return {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}
    return base(base.__iter__(value))


def _big(value: int) -> dict[str, str]:
    if value.bit_length() > BITS:
        raise NotPlain("too large an integer")
    return {"i": hex(value)}


class Decoder:
    """`special(tag, content)` builds what is not plain; it raises NotPlain for a tag that it does not know."""

    def __init__(self, special: Callable[[str, Any], Any]) -> None:
        self._special = special

    def __call__(self, node: Any, depth: int = DEPTH) -> Any:
        """Raises NotPlain, and nothing else."""
        try:
            return self._value(node, depth)
        except (TypeError, ValueError, ArithmeticError, RecursionError, KeyError) as error:
            raise NotPlain(f"malformed data: {type(error).__name__}") from None

    def _value(self, node: Any, depth: int) -> Any:
        if depth <= 0:
            raise NotPlain("too deep")
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            return [self._value(each, depth - 1) for each in node]
        if len(node) != 1:
            raise NotPlain("malformed data")
        ((tag, content),) = node.items()
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](self._value(each, depth - 1) for each in content)
        if tag in _MAPPINGS:
            pairs = {
                self._value(key, depth - 1): self._value(item, depth - 1) for key, item in content
            }
            return _MAPPINGS[tag](pairs)
        if tag in _OTHERS:
            return _OTHERS[tag](content, lambda each: self._value(each, depth - 1))
        return self._special(tag, content)


def _default_dict(pairs: dict[Any, Any]) -> collections.defaultdict[Any, Any]:
    return collections.defaultdict(None, pairs)


_SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "t": tuple,
    "s": set,
    "z": frozenset,
    "q": collections.deque,
}
_MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "d": dict,
    "Counter": collections.Counter,
    "OrderedDict": collections.OrderedDict,
    "defaultdict": _default_dict,
}
_CONSTANTS = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}


def _integer(text: Any) -> int:
    if type(text) is not str or len(text) > BITS // 4 + 4:
        raise NotPlain("too large an integer")
    return int(text, 16)


_OTHERS: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "i": lambda text, _: _integer(text),
    "c": lambda parts, _: complex(*map(float, parts)),
    "b": lambda text, _: bytes.fromhex(text),
    "y": lambda text, _: bytearray.fromhex(text),
    "r": lambda parts, value: range(*map(value, parts)),
    "sl": lambda parts, value: slice(*map(value, parts)),
    "D": lambda text, _: decimal.Decimal(text),
    "F": lambda parts, value: fractions.Fraction(*map(value, parts)),
    "k": lambda name, _: _CONSTANTS[name],
    "datetime": lambda text, _: datetime.datetime.fromisoformat(text),
    "date": lambda text, _: datetime.date.fromisoformat(text),
    "time": lambda text, _: datetime.time.fromisoformat(text),
    "timedelta": lambda parts, _: datetime.timedelta(*parts),
}


def changed_in_place(old: Any, new: Any) -> None:
    """Give a mutable argument the content it has after the call."""
    if isinstance(old, list):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new
    elif isinstance(old, collections.deque):
        old.clear()
        old.extend(new)


MUTABLE = (list, dict, set, bytearray, collections.deque)
