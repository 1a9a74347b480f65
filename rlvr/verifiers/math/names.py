"""The part of the grammar that names things: variables, primes and indices, events, numerals with a base, degrees."""

from __future__ import annotations

from rlvr.verifiers.math.literals import base_of
from rlvr.verifiers.math.nodes import Based, Call, Node, Num, Sym
from rlvr.verifiers.math.reader import Reader
from rlvr.verifiers.math.tokens import Mark, Token, Unreadable
from rlvr.verifiers.math.words import ONE_LETTER_UNITS

UNKNOWN_FUNCTIONS = frozenset("fghFGH")
_ACCENTS = {r"\overline", r"\bar", r"\hat", r"\vec", r"\tilde", r"\overrightarrow"}
_PLAIN_ACCENTS = {r"\overline", r"\vec", r"\overrightarrow"}


class Names(Reader):
    """Reads names; `arguments`, of a function that nobody knows, comes from the subclass."""

    def symbol(self, name: str) -> Node:
        if self.takes("_"):
            name += "_" + self.raw_group()
        while self.takes("'") or self.prime():
            name += "'"
        if name == "P" and self.sees("(") and (event := self.event()):
            return Sym(f"P({event})")
        inverse = self.sees("^") and [self.ahead(k).text for k in range(1, 5)] == [
            "{",
            "-",
            "1",
            "}",
        ]
        if name[0] in UNKNOWN_FUNCTIONS and len(name) <= 3:
            opens = self.ahead(5) if inverse else self.token
            if opens.text == "(" and opens.mark is Mark.OPERATOR:
                self.at += 5 if inverse else 0
                return Call("?" + name + ("^-1" if inverse else ""), self.arguments())
        return Sym(name)

    def marked(self, name: str) -> Node:
        """A name after a command: an angle, a vector, a set of numbers."""
        if name in (r"\angle", r"\triangle"):
            return Sym(name[1:] + " " + self.letters())
        if name in _ACCENTS:
            letters = self.raw_group()
            plain = name in _PLAIN_ACCENTS and letters.isalpha() and letters.isupper()
            return Sym(letters if plain and len(letters) > 1 else f"{name[1:]} {letters}")
        if name == r"\mathbb":
            return Sym("bb" + self.raw_group())
        raise Unreadable(name)

    def prime(self) -> bool:
        """Takes `^\\prime`."""
        found = self.sees("^") and self.ahead().text == r"\prime"
        self.at += 2 * found
        return found

    def event(self) -> str:
        """The text of `(X = 2)` after a P, where it is a relation; takes nothing where it is not."""
        start, text = self.at, ""
        while not self.sees(")") and self.token.mark is not Mark.END:
            text += self.next().text
        if not self.takes(")") or not any(
            sign in text for sign in ("=", "<", ">", r"\le", r"\ge", "|")
        ):
            self.at = start
            return ""
        return text.removeprefix("(")

    def letters(self) -> str:
        """The letters that follow: the corners of an angle or a triangle."""
        found = ""
        while self.token.mark is Mark.SYMBOL and (not found or not self.token.spaced):
            found += self.next().text
        if not found:
            raise Unreadable("letters expected")
        return found

    def raw_group(self) -> str:
        """The text of the next `{...}` or token, spaces dropped."""
        if not self.takes("{"):
            return self.next().text
        text, depth = "", 1
        while True:
            token = self.next()
            depth += (token.text == "{") - (token.text == "}")
            if not depth:
                return text
            text += token.text

    def based(self, token: Token) -> Node:
        self.needs("_")
        return Based(token.text, base_of(self.raw_group()))

    def degree(self) -> bool:
        """Takes `^\\circ` or `^{\\circ}`."""
        if self.ahead().text == r"\circ":
            self.at += 2
        elif self.ahead().text == "{" and self.ahead(2).text == r"\circ":
            if self.ahead(3).text != "}":
                raise Unreadable("degree")
            self.at += 4
        else:
            return False
        return True

    def unit_letter(self, number: Node) -> bool:
        """`5 m`, `5 m/s`: a number, a space, a unit of one letter and nothing more."""
        token, after = self.token, self.ahead()
        if after.text == "/" and self.ahead(2).text in ONE_LETTER_UNITS:
            after = self.ahead(3)
        return (
            isinstance(number, Num)
            and token.spaced
            and token.text in ONE_LETTER_UNITS
            and (after.mark in (Mark.END, Mark.JOIN) or after.text in (",", ";", ")"))
        )

    def arguments(self) -> tuple[Node, ...]:
        raise Unreadable("(")
