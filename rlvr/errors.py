"""The two ways this project stops a user's command on purpose. Anything else that escapes is a bug."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

WEIGHT_SYNC = "weight sync"  # the name of the thread that a sync runs in: it may hang for ever


class UserError(Exception):
    """The user's mistake: shown as one line, exit code 2."""


class SafetyStop(Exception):
    """A safety limit was reached (broken verdicts, non-finite gradients, failed sync): state saved, exit code 3."""


def unknown(kind: str, word: str, known: Iterable[str]) -> UserError:
    """`no advantage called 'grop', did you mean 'grpo'?`, with the known words where none is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"known: {', '.join(names)}"
        if names
        else "there are none"
    )
    return UserError(f"no {kind} called '{word}', {hint}")
