"""See the folder name: one plug-in a file."""

BUILTIN: dict[str, str] = {}
