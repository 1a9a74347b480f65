"""Mathematical answers: where they stand, what they say, whether two say the same."""

from rlvr.verifiers.math.verifier import Math

__all__ = ["Math"]
