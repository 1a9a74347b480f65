"""What every part of the grammar reads from: the tokens, one ahead."""

from __future__ import annotations

from rlvr.verifiers.math.tokens import Mark, Token, Unreadable, tokens


class Reader:
    """The tokens of a cleaned string, the place reached, and what was seen on the way."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0
        self.bars = 0  # open absolute values
        self.signs = 0  # \pm seen
        self.money = False  # \$ seen

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        token = self.tokens[self.at]
        if token.mark is Mark.END:
            raise Unreadable("ends too early")
        self.at += 1
        return token

    def ahead(self, by: int = 1) -> Token:
        return self.tokens[min(self.at + by, len(self.tokens) - 1)]

    def sees(self, *texts: str) -> bool:
        token = self.token
        return token.text in texts and token.mark in (Mark.OPERATOR, Mark.COMMAND)

    def takes(self, *texts: str) -> bool:
        if self.sees(*texts):
            self.at += 1
            return True
        return False

    def needs(self, text: str) -> None:
        if not self.takes(text):
            raise Unreadable(f"{text} expected, not {self.token.text}")
