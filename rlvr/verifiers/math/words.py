"""The words of answers: functions, letters by name, numbers in words, units with their size."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


def _words(text: str) -> list[str]:
    return text.split()


FUNCTIONS = frozenset(
    _words(
        "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch "
        "log ln lg exp sqrt cbrt abs floor ceil gcd lcm max min binom"
    )
)
SAME_FUNCTION = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "ceiling": "ceil"}

GREEK = frozenset(
    _words(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
        "sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell "
        "hbar"
    )
)
NAMED = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "oo": "oo", "varpi": "pi"}

NUMBERS = {
    word: value
    for value, word in enumerate(
        _words(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen seventeen eighteen nineteen twenty"
        )
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}

SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip

# words after a number that change what is said: such a phrase is not "a number and its unit"
MEANINGFUL = frozenset(
    _words(
        "or and nor not no none never but if when where for with unless except than less more greater "
        "fewer least most over under above below between from to plus minus times divided by mod modulo "
        "base factorial squared cubed half halves third thirds quarter quarters fourth fourths fifth "
        "fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths hundredth "
        "hundredths thousandth thousandths is are was equals equal negative either neither maybe perhaps "
        "possibly instead wrong incorrect therefore because since so hence wait false"
    )
)

_LENGTH = {
    "mm": Fraction(1, 1000), "cm": Fraction(1, 100), "dm": Fraction(1, 10), "m": Fraction(1),
    "km": Fraction(1000), "in": Fraction(254, 10000), "ft": Fraction(3048, 10000),
    "yd": Fraction(9144, 10000), "mi": Fraction(1609344, 1000),
}  # fmt: skip
_TIME = {
    "ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600),
    "day": Fraction(86400), "week": Fraction(604800), "month": None, "year": None,
}  # fmt: skip
_REST = {
    "mass": {"mg": Fraction(1, 1000), "g": Fraction(1), "kg": Fraction(1000)},
    "weight": {"oz": Fraction(1, 16), "lb": Fraction(1), "ton": Fraction(2000)},
    "volume": {"ml": Fraction(1, 1000), "l": Fraction(1)},
    "liquid": {"pt": Fraction(1, 8), "qt": Fraction(1, 4), "gal": Fraction(1), "cup": Fraction(1, 16)},
    "money": {"dollar": Fraction(1), "cent": Fraction(1, 100)},
    "euro": {"euro": Fraction(1)},
    "pound sterling": {"gbp": Fraction(1)},
    "angle": {"degree": Fraction(1)},
    "radian": {"radian": Fraction(1)},
    "speed": {"mph": Fraction(1609344, 3600000), "kph": Fraction(1000, 3600), "m/s": Fraction(1)},
    "half day": {"am": Fraction(1)},
    "other half day": {"pm": Fraction(1)},
}  # fmt: skip

_SPELLINGS = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter decimetre",
    "m": "meter metre", "km": "kilometer kilometre", "in": "inch inche", "ft": "foot feet",
    "yd": "yard", "mi": "mile", "ms": "millisecond", "s": "sec second", "min": "minute",
    "h": "hr hour", "day": "", "week": "wk", "month": "", "year": "yr", "mg": "milligram",
    "g": "gram gm", "kg": "kilogram kilo", "oz": "ounce", "lb": "pound", "ton": "", "ml": "mL milliliter",
    "l": "L liter litre", "pt": "pint", "qt": "quart", "gal": "gallon", "cup": "",
    "dollar": "usd buck", "cent": "¢ penny pennie", "euro": "eur", "gbp": "", "degree": "deg",
    "radian": "rad", "mph": "", "kph": "kmh", "m/s": "mps", "am": "", "pm": "",
}  # fmt: skip
UNIT_OF = {
    spelling: unit
    for unit, more in _SPELLINGS.items()
    for word in (unit, *more.split())
    for spelling in (word, word + "s")
}
# one-letter and ambiguous short forms count only after a number and a space or inside \text{}
SHORT_UNITS = frozenset(
    _words(
        "mm cm dm km in ft yd mi ms min hr hrs mg kg oz lb lbs ml mL pt qt gal mph kph sec secs deg rad "
        "am pm th st nd rd gm sq cu wk yr yrs usd USD km/h rpm PM AM"
    )
)
ONE_LETTER_UNITS = frozenset("msghLNJWVKCF")


def measure(unit: str) -> tuple[tuple[str, int], Fraction | None] | None:
    """(dimension and power, size in the dimension's own base unit); None for a word that is no known unit.

    >>> measure("square feet") == measure("ft^2")
    True
    """
    words = unit.replace("per hour", "/h").replace("per second", "/s").replace(" /", "/").split()
    power = 1
    if words and words[0] in ("square", "sq", "squared"):
        power, words = 2, words[1:]
    elif words and words[0] in ("cubic", "cu"):
        power, words = 3, words[1:]
    if len(words) != 1:
        return None
    word = words[0]
    for suffix, value in (("^2", 2), ("^3", 3)):
        if word.endswith(suffix):
            power, word = value, word.removesuffix(suffix)
    top, slash, bottom = word.partition("/")
    name = UNIT_OF.get(top, UNIT_OF.get(top.lower()))
    if name is None:
        return None
    if slash:
        joined = {("mi", "h"): "mph", ("km", "h"): "kph", ("m", "s"): "m/s"}
        name = joined.get((name, UNIT_OF.get(bottom, "")))
    tables: dict[str, Mapping[str, Fraction | None]] = {"length": _LENGTH, "time": _TIME, **_REST}
    for dimension, sizes in tables.items():
        if name is not None and name in sizes:
            size = sizes[name]
            if size is None:  # months and years have no fixed length
                return ((name, power), Fraction(1))
            return ((dimension, power), size**power)
    return None
