"""The part of the grammar that has values: sums, products, powers, functions. Recursive descent, one token ahead."""

from __future__ import annotations

from fractions import Fraction

from rlvr.verifiers.math.literals import literal
from rlvr.verifiers.math.names import Names
from rlvr.verifiers.math.nodes import (
    MINUS,
    Add,
    Call,
    Mul,
    Node,
    Num,
    Pow,
    Seq,
    Sym,
    negative,
)  # fmt: skip
from rlvr.verifiers.math.tokens import Mark, Token, TooBig, Unreadable

MAX_DEPTH = 40
HALF = Num(Fraction(1, 2))
EXPRESSION = (Num, Sym, Add, Mul, Pow, Call)

_SIGNS = {"+", "-", r"\pm", r"\mp"}
_MANY = {"gcd", "lcm", "max", "min", "binom"}
_STARTS = {
    r"\frac", r"\sqrt", r"\binom", r"\lfloor", r"\lceil", r"\overline", r"\bar", r"\hat", r"\vec",
    r"\angle", r"\triangle", r"\tilde", r"\overrightarrow",
}  # fmt: skip


class Expressions(Names):
    """Reads expressions; `brackets`, `listing` and the rest of the answer grammar come from the subclass."""

    # -- sums and products ------------------------------------------------------------------------

    def sum(self) -> Node:
        first = self.product()
        if not self.sees(*_SIGNS):
            return first
        terms = [expression(first)]
        while self.sees(*_SIGNS):
            terms.append(self.signed(self.next().text, expression(self.product())))
        return Add(tuple(terms))

    def signed(self, sign: str, node: Node) -> Node:
        if sign == "+":
            return node
        if sign == "-":
            return negative(node)
        if sign == r"\mp":
            return Mul((MINUS, Sym(f"±{max(self.signs, 1)}"), node))
        self.signs += 1
        return Mul((Sym(f"±{self.signs}"), node))

    def product(self) -> Node:
        sign = []
        while self.sees(*_SIGNS):
            sign.append(self.next().text)
            if len(sign) > 4:
                raise Unreadable("signs")
        node = self.factors()
        for each in reversed(sign):
            node = self.signed(each, node)
        return node

    def factors(self) -> Node:
        first = self.mixed() or self.power()
        parts = [first]
        while True:
            if self.takes("*"):
                parts.append(expression(self.unary()))
            elif self.takes("/"):
                parts.append(Pow(expression(self.unary()), MINUS))
            elif self.implicit(parts):
                parts.append(expression(self.power()))
            else:
                break
        if len(parts) == 1:
            return first
        expression(first)
        return Mul(tuple(parts))

    def unary(self) -> Node:
        sign = self.next().text if self.sees("-", "+") else "+"
        return self.signed(sign, self.power())

    def implicit(self, parts: list[Node]) -> bool:
        """Does a factor follow without a sign? Two numbers side by side are an error, not a product."""
        token = self.token
        if token.mark is Mark.NUMBER:
            if parts[-1] == Sym("i") and not token.spaced:
                return True
            raise Unreadable("a number directly after a factor")
        if not isinstance(parts[-1], EXPRESSION):
            return False
        if token.mark is Mark.SYMBOL:
            return not (len(parts) == 1 and self.unit_letter(parts[0]))
        if token.mark is Mark.FUNCTION:
            return True
        if token.mark is Mark.COMMAND:
            return token.text in _STARTS
        return token.mark is Mark.OPERATOR and (
            token.text in ("(", "[", "{") or (token.text == "|" and not self.bars)
        )

    def mixed(self) -> Node | None:
        """`1\\frac{2}{3}` and `1 2/3`: a whole number and a proper fraction, taken together."""
        whole = self.token
        if whole.mark is not Mark.NUMBER or not whole.text.isdigit():
            return None
        start = self.at
        self.at += 1
        part = self.proper_fraction()
        if part is None or self.sees("^", "**", "!", "_"):
            self.at = start
            return None
        return Num(int(whole.text) + part)

    def proper_fraction(self) -> Fraction | None:
        token = self.token
        if token.text == r"\frac":
            self.at += 1
            top, bottom = self.argument(), self.argument()
            if not (isinstance(top, Num) and isinstance(bottom, Num)):
                return None
            over, under = top.value, bottom.value
        elif token.mark is Mark.NUMBER and token.spaced and self.ahead().text == "/":
            last = self.ahead(2)
            if not (token.text.isdigit() and last.mark is Mark.NUMBER and last.text.isdigit()):
                return None
            self.at += 3
            over, under = Fraction(int(token.text)), Fraction(int(last.text))
        else:
            return None
        whole = over.denominator == under.denominator == 1
        return over / under if whole and 0 < over < under else None

    # -- powers and atoms -------------------------------------------------------------------------

    def power(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooBig("nested too deeply")
        node = self.atom()
        while True:
            if self.sees("!"):
                self.at += 1
                if self.sees("!", "="):
                    raise Unreadable("double factorial")
                node = Call("factorial", (expression(node),))
            elif self.sees("^", "**"):
                if self.degree():
                    node = Call("deg", (expression(node),))
                    continue
                if self.ahead().mark is Mark.WORD or self.ahead(2).mark is Mark.WORD:
                    break  # 5^{\text{th}}
                self.at += 1
                node = Pow(expression(node), expression(self.exponent()))
            else:
                break
        self.depth -= 1
        return node

    def exponent(self) -> Node:
        sign = self.next().text if self.sees("-", "+") else "+"
        return self.signed(sign, self.power())

    def atom(self) -> Node:
        token = self.next()
        if token.mark is Mark.NUMBER:
            return self.based(token) if self.sees("_") else literal(token.text)
        if token.mark is Mark.SYMBOL:
            return self.symbol(token.text)
        if token.mark is Mark.FUNCTION:
            return self.function(token.text)
        if token.mark is Mark.COMMAND:
            return self.command(token.text)
        if token.mark is Mark.OPERATOR and token.text in ("(", "[", "{"):
            return self.brackets(token.text)
        if token.mark is Mark.OPERATOR and token.text == "|":
            return self.absolute("|")
        raise Unreadable(f"unexpected {token.text}")

    def brackets(self, opening: str) -> Node:
        raise Unreadable(opening)

    def command(self, name: str) -> Node:
        if name == r"\frac":
            top, bottom = self.argument(), self.argument()
            return Mul((expression(top), Pow(expression(bottom), MINUS)))
        if name == r"\sqrt":
            return self.root()
        if name == r"\binom":
            return Call("binom", (expression(self.argument()), expression(self.argument())))
        if name in (r"\lfloor", r"\lceil"):
            inside = expression(self.sum())
            self.needs(name.replace("l", "r", 1))
            return Call(name[2:], (inside,))
        if name == r"\$":
            self.money = True
            return self.atom()
        return self.marked(name)

    def absolute(self, bar: str) -> Node:
        self.bars += 1
        inside = expression(self.sum())
        self.bars -= 1
        self.needs(bar)
        return Call("abs", (inside,))

    # -- functions --------------------------------------------------------------------------------

    def argument(self) -> Node:
        """What a TeX command takes: a group, or one character (`\\frac12` is a half)."""
        token = self.token
        if token.mark is Mark.NUMBER and token.text.isdigit() and len(token.text) > 1:
            self.tokens[self.at] = Token(Mark.NUMBER, token.text[1:])
            return literal(token.text[0])
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooBig("nested too deeply")
        node = self.signed("-", self.atom()) if self.takes("-") else self.atom()
        self.depth -= 1
        return node

    def root(self) -> Node:
        degree = None
        if self.takes("["):
            degree = expression(self.sum())
            self.needs("]")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooBig("nested too deeply")
        inside = expression(self.atom())
        self.depth -= 1
        return Pow(inside, HALF) if degree is None else Call("root", (inside, degree))

    def arguments(self) -> tuple[Node, ...]:
        self.needs("(")
        inside = self.brackets("(")
        return inside.items if isinstance(inside, Seq) else (expression(inside),)

    def function(self, name: str) -> Node:
        if name == "sqrt":
            return self.root()
        power: Node | None = None
        base: Node | None = None
        while self.sees("^", "_"):
            if self.next().text == "^":
                power = expression(self.exponent())
            else:
                base = expression(self.argument())
        if power == MINUS and not name.startswith("arc"):
            name, power = "arc" + name, None
        called = self.call(name, base)
        return called if power is None else Pow(called, power)

    def call(self, name: str, base: Node | None) -> Node:
        if name in _MANY:
            args = self.arguments()
            if not 1 <= len(args) <= 20:
                raise Unreadable(name)
            return Call(name, tuple(expression(each) for each in args))
        inside = self.operand()
        if name == "exp":
            return Pow(Sym("e"), inside)
        if name == "cbrt":
            return Call("root", (inside, Num(Fraction(3))))
        if name == "lg":
            base = Num(Fraction(10))
        return Call(name, (inside,) if base is None else (inside, base))

    def operand(self) -> Node:
        """A function's argument: one bracket, or factors side by side up to the next function."""
        if self.sees("(", "[", "{"):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise TooBig("nested too deeply")
            node = expression(self.atom())
            self.depth -= 1
            return Call("deg", (node,)) if self.sees("^") and self.degree() else node
        if self.sees("-"):
            self.at += 1
            return negative(self.operand())
        parts = [expression(self.power())]
        while (
            self.token.mark is not Mark.FUNCTION
            and self.token.text not in ("[", "(")
            and (self.token.mark is not Mark.NUMBER and self.implicit([*parts, *parts]))
        ):
            parts.append(expression(self.power()))
        return parts[0] if len(parts) == 1 else Mul(tuple(parts))


def expression(node: Node) -> Node:
    if not isinstance(node, EXPRESSION):
        raise Unreadable("not a number")
    return node
