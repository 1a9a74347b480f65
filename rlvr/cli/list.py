"""`rlvr list`: every plug-in there is."""

from __future__ import annotations

from rlvr import registry


def list_(stage: str | None = None, /) -> None:
    """Every plug-in: name, one line, where it comes from.

    Parameters
    ----------
    stage
        Only this stage's.
    """
    if stage is not None:
        registry.builtin(stage)  # one line with the nearest right word when there is no such stage
    for each in [stage] if stage else registry.STAGES:
        print(each)
        for name in registry.names(each):
            plugin = registry.load(each, name)
            print(f"  {name:<16} {plugin.summary}  [{plugin.source}]")
