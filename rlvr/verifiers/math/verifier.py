"""The verifier `math`: extraction, then comparison, then a verdict; never an exception."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

from rlvr.types import Status, Verdict
from rlvr.verifiers.math import foreign
from rlvr.verifiers.math.answers import MAX_CHARS, parse
from rlvr.verifiers.math.compare import Comparison
from rlvr.verifiers.math.equal import defined
from rlvr.verifiers.math.expressions import EXPRESSION
from rlvr.verifiers.math.extract import Found, boxes, extract
from rlvr.verifiers.math.nodes import Kind, Node, Num, Seq, Sym
from rlvr.verifiers.math.tokens import TooBig, Unreadable
from rlvr.verifiers.math.wholes import choice

# what most answers are: digits, perhaps a sign, thousands and a decimal part
_PLAIN = re.compile(r"\s*\$?\s*(-?)\$?\s*(\d{1,3}(?:,\d{3})+|\d{1,30})(\.\d{1,30})?\s*\$?\s*\.?\s*")


@dataclass(frozen=True)
class Math:
    """Mathematical answers: numbers, expressions, sets, intervals, matrices, equations, words; exact, by value.

    Not covered: proofs; integrals, sums and limits that are not worked out; answers in prose without a box or a phrase;
    equations that agree only after a step that is not a multiplication by a constant. Such a response is wrong, such a
    reference broken. `reference` is the gold answer, or a gold solution that ends in a box or in `#### x`.
    """

    lenient: bool = False  # evaluation only: without a box or a phrase, the last number counts
    timeout: float = 5.0  # seconds for one response, held by the pool's killable workers

    version: ClassVar[str] = "1"

    def __call__(self, response: str, reference: object = None, **fields: object) -> Verdict:
        start = time.perf_counter()
        try:
            verdict = self.judged(response, reference)
        except Exception as error:  # noqa: BLE001  the outermost boundary: a fault of ours is no reward
            verdict = Verdict.broken(f"{type(error).__name__}: {_short(str(error))}")
        object.__setattr__(verdict, "seconds", time.perf_counter() - start)
        return verdict

    def judged(self, response: str, reference: object) -> Verdict:
        if not isinstance(response, str):
            return Verdict.broken(f"the response is {type(response).__name__}, not text")
        try:
            gold = gold_of(reference)
        except Unreadable as error:
            return Verdict.broken(f"unusable reference: {_short(str(error))}")
        except (RecursionError, MemoryError) as error:
            return Verdict.broken(f"unusable reference: {type(error).__name__}")
        found = extract(response, self.lenient)
        if not found:
            return Verdict(Status.UNPARSED, 0.0, "no answer found")
        try:
            return self.compared(gold, found)
        except (TooBig, RecursionError, MemoryError, OverflowError) as error:
            return Verdict.wrong(f"guarded: {_short(str(error))}", extracted=_short(found[0].text))

    def compared(self, gold: Gold, found: list[Found]) -> Verdict:
        guarded: TooBig | None = None
        for reading in found:
            shown = _short(reading.text)
            if reading.text.strip() == gold.text and not reading.rivals:
                return Verdict(Status.CORRECT, 1.0, extracted=shown)
            try:
                if gold.node is None:
                    right = not reading.rivals and foreign.same(gold.text, reading.text)
                    return Verdict(
                        Status.CORRECT if right else Status.WRONG, float(right), extracted=shown
                    )
                said = said_by(reading.text, gold.node)
                if any(not _agrees(rival, said) for rival in reading.rivals):
                    return Verdict.wrong("a hedge: several boxes", extracted=shown)
                if Comparison().same(gold.node, said):
                    return Verdict(Status.CORRECT, 1.0, extracted=shown)
            except TooBig as error:
                guarded = error
                continue
            except Unreadable:
                continue
            if reading.source == "phrase" and reading.text.endswith("!"):
                continue  # "it is 42!" need not be a factorial
            hedge = (
                isinstance(said, Seq) and said.kind is Kind.LIST and not isinstance(gold.node, Seq)
            )
            return Verdict.wrong("a hedge: several values" if hedge else "", extracted=shown)
        shown = _short(found[0].text)
        if guarded is not None:
            return Verdict.wrong(f"guarded: {guarded}", extracted=shown)
        return Verdict(Status.UNPARSED, 0.0, "the answer cannot be read", extracted=shown)

    def key(self, response: str, **fields: object) -> str | None:
        """What decides the verdict of this response beside the reference: equal keys, equal verdicts."""
        found = extract(response, self.lenient)
        return json.dumps([(each.text.strip(), each.source, *each.rivals) for each in found])

    def prepare(self) -> None:
        """Imports what a worker will need, once, before it forks."""
        foreign.loaded()
        self(r"\boxed{\sqrt{4x}}", r"2\sqrt{x}")


@dataclass(frozen=True, slots=True)
class Gold:
    text: str
    node: Node | None  # None: beyond our grammar, for math-verify


def gold_of(reference: object) -> Gold:
    """The reference, parsed once. Raises Unreadable."""
    if isinstance(reference, bool) or not isinstance(reference, str | int | float | Fraction):
        raise Unreadable(f"{type(reference).__name__}, not text")
    if isinstance(reference, float) and not math.isfinite(reference):
        raise Unreadable(str(reference))
    if isinstance(reference, int) and abs(reference) > 10**MAX_CHARS:
        raise TooBig("long")
    return _gold(str(reference))


@lru_cache(maxsize=65536)
def _gold(reference: str) -> Gold:
    text = gold_text(reference)
    if not text:
        raise Unreadable("empty")
    try:
        node = read(text)
    except TooBig:
        raise
    except Unreadable:
        foreign.check(text)
        return Gold(text, None)
    if isinstance(node, EXPRESSION) and not defined(node):
        raise Unreadable("it has no value")
    return Gold(text, node)


def gold_text(reference: str) -> str:
    if "boxed" in reference or "fbox" in reference:
        found = boxes(reference)
        if found:
            return found[-1].text.strip()
    if "####" in reference:
        return reference.rsplit("####", 1)[1].strip()
    return reference.strip()


def read(text: str) -> Node:
    """A plain number without the grammar, everything else with it. Raises Unreadable."""
    plain = _PLAIN.fullmatch(text)
    if plain is None or len(text) > 80:
        return parse(text)
    sign, whole, part = plain.groups()
    value = Fraction(int(whole.replace(",", "")))
    digits = 0
    if part:
        value += Fraction(int(part[1:]), 10 ** (len(part) - 1))
        digits = len((whole.replace(",", "") + part[1:]).lstrip("0"))
    return Num(-value if sign else value, digits)


def said_by(text: str, gold: Node) -> Node:
    """The typed answer of a response; of `(C) 12` the letter where a letter is asked for, else what it stands for."""
    try:
        return read(text)
    except TooBig:
        raise
    except Unreadable:
        chosen = choice(text)
        if chosen is None:
            raise
        letter, content = chosen
        asked = isinstance(gold, Sym) and len(gold.name) == 1 and gold.name.isupper()
        return Sym(letter) if asked else read(content)


def _agrees(rival: str, said: Node) -> bool:
    try:
        return Comparison().same(read(rival), said)
    except Unreadable:
        return False


def _short(text: str) -> str:
    """At most 200 characters that any encoding can write."""
    return text.strip()[:200].encode("utf-8", "replace").decode()
