"""Numbers and names as a reader wants them."""

from __future__ import annotations

import re

# control characters, zero-width ones, bidirectional overrides, lone surrogates; not tab and newline
_ODD = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def percent(share: float | None, digits: int = 1) -> str:
    return "n/a" if share is None else f"{100 * share:.{digits}f}%"


def count(number: float | None) -> str:
    """1234567 -> 1.23M, 1360 -> 1,360."""
    if number is None:
        return "n/a"
    if abs(number) < 1e4:
        return f"{number:,.0f}" if number >= 100 or number.is_integer() else f"{number:.3g}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(number) >= size:
            return f"{number / size:.2f}{letter}"
    return f"{number / 1e3:.0f}k"


def duration(seconds: float | None) -> str:
    """3725 -> 1 h 02 min."""
    if seconds is None:
        return "n/a"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def plain(number: float | None) -> str:
    """Three significant digits."""
    return "n/a" if number is None else f"{number:.3g}"


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def marked(text: str) -> str:
    """Characters that are invisible, or turn the writing around, as their number: \u27e8202E\u27e9."""
    return _ODD.sub(lambda odd: f"\u27e8{ord(odd[0]):04X}\u27e9", text)
