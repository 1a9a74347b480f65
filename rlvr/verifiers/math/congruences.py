"""`x \\equiv 2 \\pmod 5` and its spellings.

Not covered: several residues, a modulus or a residue that is not a written whole number; such a reference is compared
by its text.
"""

from __future__ import annotations

import re

from rlvr.verifiers.math.nodes import Congruence, Node

_WORD = r"(?:\\[pb]?mod|\\operatorname\s*\{\s*mod\s*\}|\\(?:text|mathrm)\s*\{\s*mod\s*\}|mod)"
_NUMBER = r"(-?\d{1,40})"
_CONGRUENCE = re.compile(
    rf"(?:([A-Za-z](?:_\{{?\w+\}}?)?(?:\^\{{?\w+\}}?)?)\s*\\equiv\s*)?{_NUMBER}"
    rf"(?:\\[ ,;:!]|\s)*\(?\s*{_WORD}\s*(?:\\[ ,;:!]|\s)*(?:\{{\s*(\d{{1,40}})\s*\}}|(\d{{1,40}}))\s*\)?\s*"
)


def congruence(text: str) -> Node | None:
    """Of a cleaned string; None where it is no congruence."""
    if "mod" not in text or len(text) > 200:
        return None
    found = _CONGRUENCE.fullmatch(text)
    if found is None:
        return None
    modulus = int(found[3] or found[4])
    name = re.sub(r"[{}\s]", "", found[1] or "")
    return Congruence(name, int(found[2]) % modulus, modulus) if modulus else None
