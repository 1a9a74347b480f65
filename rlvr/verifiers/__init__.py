"""Whether a response is right: one plug-in a file, and the pool of killable workers they run in."""

BUILTIN: dict[str, str] = {
    "math": "rlvr.verifiers.math:Math",
    "code": "rlvr.verifiers.code:Code",
    "sql": "rlvr.verifiers.sql:Sql",
    "countdown": "rlvr.verifiers.countdown:Countdown",
    "format": "rlvr.verifiers.format:Format",
    "weighted": "rlvr.verifiers.compose:Weighted",
    "gate": "rlvr.verifiers.compose:Gate",
    "by_task": "rlvr.verifiers.compose:ByTask",
    "shaped": "rlvr.verifiers.compose:Shaped",
}

# "prefix:./mine.py:f" is the function f of mine.py, written for another library
ADAPTERS: dict[str, str] = {
    "trl": "rlvr.verifiers.adapters:trl",
    "verl": "rlvr.verifiers.adapters:verl",
}
