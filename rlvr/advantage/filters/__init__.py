"""Which prompts go on to the advantages, and how rewards are shaped before."""

BUILTIN: dict[str, str] = {
    "none": "rlvr.advantage.filters.none:NoFilter",
    "dapo": "rlvr.advantage.filters.dapo:Dynamic",
}
