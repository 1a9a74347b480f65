"""One spelling for what is typed in many: unicode to LaTeX, sizes and spaces of typesetting dropped."""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ", "0123456789+-=()nx")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ]+")

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi o pi rho sigma sigma "
    "tau upsilon phi chi psi omega"
)
_CHARACTERS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "➖": "-",
    "×": r"\times ", "✕": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "∗": "*",
    "÷": "/", "⁄": "/", "∕": "/", "±": r"\pm ", "∓": r"\mp ",
    "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "≅": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∅": r"\emptyset ",
    "∞": r"\infty ", "°": r"^\circ ", "º": r"^\circ ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "π": r"\pi ",
    "𝜋": r"\pi ", "𝝅": r"\pi ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "∠": r"\angle ", "△": r"\triangle ", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ",
    "〉": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "′": "'", "’": "'", "“": '"', "”": '"', "„": '"', "…": r"\ldots ", "⋯": r"\cdots ", "∣": "|",
    "\u2009": r"\,", "\u202f": r"\,", "\u2005": r"\,", "\u00a0": r"\,", "\u200b": "", "\ufeff": "",
    "\u2060": "", "\u200e": "", "\u200f": "", "\u00ad": "", "\u2061": "", "\u2062": "", "\u2063": "",
    "€": r"\$", "£": r"\$", "¥": r"\$", "₹": r"\$", "¢": " cents ", "∶": ":", "，": ",", "：": ":", "≡": r"\equiv ",
} | {
    chr(code): rf"\{name} "
    for code, name in zip(range(0x3B1, 0x3CA), _GREEK.split(), strict=True)
    if name not in ("o",)
} | {"Δ": r"\Delta ", "Γ": r"\Gamma ", "Θ": r"\Theta ", "Ω": r"\Omega ", "Φ": r"\Phi ", "ϕ": r"\phi "}  # fmt: skip

_VULGAR = re.compile("[¼-¾⅐-⅞↉]")

_COSMETIC = re.compile(
    r"\\\\(?:\s*\[\s*-?[\d.]+\s*[a-z]{2}\s*\])?"  # a row's end with its extra space
    r"|\\(?:left|right|middle)(?![A-Za-z])\s*(?:\.(?!\d))?"
    r"|\\(?:[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|noindent|centering|hfill)"
    r"(?![A-Za-z])\s*"
    r"|\\phantom\s*(?:\{[^{}]*\}|.)|\\[hv]space\s*\{[^{}]*\}|\\(?:q?quad|enspace|thinspace)(?![A-Za-z])"
    r"|\\(?:text)?color\s*\{[^{}]{0,40}\}"
    r"|\\[()\[\]]|(?<!\\)\$"
)
_SAME = re.compile(
    r"\\(?:[dtc]frac|tfrac|leq|geq|leqslant|geqslant|neq|lbrace|rbrace|lbrack|rbrack|lvert|rvert|vert|mid|lVert"
    r"|rVert|cdotp|degree|degrees|land|lor|varnothing|longrightarrow|dbinom|tbinom|lparen|rparen|colon"
    r"|backslash|simeq|sim|dots|displaylimits|ast|div|lt|gt|ne|le|ge)(?![A-Za-z])"
)
_RENAMED = {
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "leq": r"\le ", "geq": r"\ge ",
    "leqslant": r"\le ", "geqslant": r"\ge ", "neq": r"\ne ", "lbrace": r"\{", "rbrace": r"\}",
    "lbrack": "[", "rbrack": "]", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "lVert": r"\|",
    "rVert": r"\|", "cdotp": r"\cdot ", "degree": r"^\circ ", "degrees": r"^\circ ", "land": r"\text{ and }",
    "lor": r"\text{ or }", "varnothing": r"\emptyset ", "dbinom": r"\binom", "tbinom": r"\binom",
    "lparen": "(", "rparen": ")", "colon": ":", "backslash": r"\setminus ", "simeq": r"\approx ",
    "sim": r"\approx ", "dots": r"\ldots ", "ast": "*", "div": "/", "lt": "<", "gt": ">",
}  # fmt: skip


_CURRENCY = re.compile(r"(?:US|USD|HK|CAD|AUD|Rs\.?|INR|EUR|GBP)\s*(?=\\\$|\d)")


def clean(text: str) -> str:
    """`text` in plain ASCII LaTeX, without delimiters, sizes and outer punctuation. Linear in its length."""
    if not text.isascii():
        text = _ascii(text)
    if "\\" in text or "$" in text:
        text = _COSMETIC.sub(_cosmetic, text)
        text = _SAME.sub(lambda found: _RENAMED.get(found[0][1:], found[0]), text)
    text = _trim(text)
    found = _CURRENCY.match(text)
    return text[found.end() :] if found else text


def _cosmetic(found: re.Match[str]) -> str:
    word = found[0]
    if word.startswith("\\\\"):
        return "\\\\"
    return " " if word.startswith(("\\q", "\\en", "\\th", "\\h", "\\v")) else ""


_THIN = ("\\,", "\\;", "\\!", "\\:", "\\>")


def _trim(text: str) -> str:
    """Outer spaces, markdown emphasis and closing punctuation."""
    while True:
        before = text
        text = text.strip(" \t\r\n\f\v~")
        for mark in ("**", "__", "`", "*"):
            if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
                text = text[len(mark) : -len(mark)]
        if text.startswith(_THIN):
            text = text[2:]
        escaped = text[-2:-1] == "\\" and text[-3:-2] != "\\"
        if text.endswith(_THIN) and escaped:
            text = text[:-2]
        elif (
            (text.endswith("\\") and not escaped)
            or (text.endswith((",", ";", ":")) and not escaped)
            or (text.endswith(".") and not text.endswith("..."))
        ):
            text = text[:-1]
        if text == before:
            return text


def _ascii(text: str) -> str:
    text = _RAISED.sub(lambda run: "^{" + run[0].translate(_SUPERSCRIPT) + "}", text)
    text = _LOWERED.sub(lambda run: "_{" + run[0].translate(_SUBSCRIPT) + "}", text)
    text = _VULGAR.sub(_vulgar, text)
    return "".join(each if each < "\x7f" else _character(each) for each in text)


def _vulgar(found: re.Match[str]) -> str:
    top, slash, bottom = unicodedata.normalize("NFKC", found[0]).partition("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}" if slash else found[0]


def _character(each: str) -> str:
    if each in _CHARACTERS:
        return _CHARACTERS[each]
    digit = unicodedata.decimal(each, None)
    if digit is not None:
        return str(digit)
    plain = unicodedata.normalize("NFKC", each)
    if plain != each and plain:
        return "".join(_CHARACTERS.get(part, part) for part in plain)
    return each
