"""What a token counts when another policy wrote it than the one that is trained: importance weights."""

BUILTIN: dict[str, str] = {
    "none": "rlvr.advantage.correct.none:NoCorrection",
    "tis": "rlvr.advantage.correct.tis:Truncated",
    "mis": "rlvr.advantage.correct.mis:Masked",
}
