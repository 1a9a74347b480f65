"""Golds in other words: rewrites that keep a mathematical answer's value, and edits that change it.

Not covered: rewrites that need mathematics (expanding a product), which stand in the corpus as pairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Rewrite = Callable[[str], str | None]  # None: does not apply


def rewrites(gold: str) -> Iterator[tuple[str, str]]:
    """(name, response) pairs that say the same as `gold`."""
    for name, rewrite in REWRITES.items():
        response = rewrite(gold)
        if response is not None:
            yield name, response


def edits(gold: str) -> Iterator[tuple[str, str]]:
    """(name, response) pairs that say something else than `gold`."""
    for name, edit in EDITS.items():
        changed = edit(gold)
        if changed is not None and changed != gold:
            yield name, f"\\boxed{{{changed}}}"


def _minus(gold: str) -> str | None:
    return f"\\boxed{{{gold.replace('-', '−')}}}" if "-" in gold else None


def _fraction(gold: str) -> str | None:
    other = re.sub(r"\\[dt]frac(?![a-z])", r"\\frac", gold)
    other = other if other != gold else gold.replace(r"\frac", r"\dfrac")
    return f"\\boxed{{{other}}}" if other != gold else None


def _brackets(gold: str) -> str | None:
    if r"\left" in gold or not re.search(r"(?<!\\)[(]", gold):
        return None
    if gold.count("(") != gold.count(")"):
        return None
    return "\\boxed{" + gold.replace("(", r"\left(").replace(")", r"\right)") + "}"


def _thousands(gold: str) -> str | None:
    return f"\\boxed{{{int(gold):,}}}" if re.fullmatch(r"\d{4,15}", gold) else None


def _decimal(gold: str) -> str | None:
    return f"\\boxed{{{gold}.0}}" if re.fullmatch(r"-?\d{1,15}", gold) else None


def _named(gold: str) -> str | None:
    return f"\\boxed{{x = {gold}}}" if re.fullmatch(r"-?\d{1,15}(?:\.\d+)?", gold) else None


def _unicode_digits(gold: str) -> str | None:
    if not re.fullmatch(r"-?\d{1,15}", gold):
        return None
    wide = gold.translate({ord(digit): 0xFF10 + int(digit) for digit in "0123456789"})
    return f"\\boxed{{{wide}}}"


REWRITES: dict[str, Rewrite] = {
    "box": lambda gold: f"So the result is $\\boxed{{{gold}}}$.",
    "phrase": lambda gold: None if "$" in gold or "\n" in gold else f"The answer is ${gold}$.",
    "after thinking": lambda gold: f"<think>\\boxed{{0}}?</think> It is \\boxed{{{gold}}}",
    "second box": lambda gold: f"First \\boxed{{0}}. No, that is wrong: it is \\boxed{{{gold}}}",
    "full stop": lambda gold: f"\\boxed{{{gold}.}}",
    "spaces": lambda gold: f"\\boxed{{ \\, {gold} \\; }}",
    "display style": lambda gold: f"\\boxed{{\\displaystyle {gold}}}",
    "unicode minus": _minus,
    "fraction command": _fraction,
    "sized brackets": _brackets,
    "thousands separator": _thousands,
    "decimal point": _decimal,
    "named": _named,
    "full-width digits": _unicode_digits,
}


def _digit(gold: str) -> str | None:
    """The last digit of the first number, raised by one."""
    found = re.search(r"(?<![\d.])(\d+)", gold)
    if found is None:
        return None
    at = found.end() - 1
    return f"{gold[:at]}{(int(gold[at]) + 1) % 10}{gold[at + 1 :]}"


def _first_digit(gold: str) -> str | None:
    found = re.search(r"[1-9]", gold)
    if found is None:
        return None
    return f"{gold[: found.start()]}{int(found[0]) % 9 + 1}{gold[found.end() :]}"


def _scalar(gold: str) -> bool:
    return bool(
        re.fullmatch(r"-?(?:\d+(?:\.\d+)?|\\[dt]?frac\{\d+\}\{\d+\}|\d*\\sqrt\{\d+\})", gold)
    )


def _nonzero(gold: str) -> bool:
    return _scalar(gold) and bool(re.search("[1-9]", gold))


def _sign(gold: str) -> str | None:
    if not _nonzero(gold):
        return None
    return gold[1:] if gold.startswith("-") else f"-{gold}"


def _swapped(gold: str) -> str | None:
    found = re.fullmatch(r"\((-?\d+), ?(-?\d+)\)", gold)
    return f"({found[2]},{found[1]})" if found and found[1] != found[2] else None


def _end(gold: str) -> str | None:
    if r"\infty" in gold[-9:] or r"\begin" in gold:
        return None
    found = re.search(r"[\])]$", gold)
    if found is None or not re.match(r"[\[(]", gold) or gold.count(",") != 1:
        return None
    return gold[:-1] + (")" if found[0] == "]" else "]")


def _variable(gold: str) -> str | None:
    if "\\text" in gold or "\\mbox" in gold or "\\begin" in gold:
        return None
    return re.sub(r"(?<![A-Za-z\\])x(?![A-Za-z])", "w", gold)


def _more(gold: str) -> str | None:
    return f"{gold}+1" if _scalar(gold) else None


EDITS: dict[str, Rewrite] = {
    "last digit": _digit,
    "first digit": _first_digit,
    "sign": _sign,
    "order": _swapped,
    "interval end": _end,
    "variable": _variable,
    "plus one": _more,
    "ten times": lambda gold: f"{gold}0" if re.fullmatch(r"-?[1-9]\d*", gold) else None,
    "a tenth": lambda gold: f"0.{gold}" if re.fullmatch(r"[1-9]\d*", gold) else None,
    "extra value": lambda gold: f"{gold}, 987",
    "or": lambda gold: f"{gold} \\text{{ or }} 987",
    "chain": lambda gold: f"{gold} = {gold}9" if _nonzero(gold) else None,
    "base": lambda gold: f"{gold}_{{11}}" if re.fullmatch(r"[1-9]\d+", gold) else None,
    "subset": lambda gold: f"[{gold}, 987654]" if re.fullmatch(r"\d{1,5}", gold) else None,
    "plus minus": lambda gold: f"\\pm {gold}" if _nonzero(gold) else None,
    "free variable": lambda gold: f"{gold}q" if _nonzero(gold) else None,
}
