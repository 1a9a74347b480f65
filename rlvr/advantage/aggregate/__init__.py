"""How tokens share the step: a scale >= 0 a token, fixed before any micro-batch is cut.

An aggregator gets the scores with exactly the kept responses valid and the kept tokens [T]; dropped
tokens get 0.
"""

BUILTIN: dict[str, str] = {
    "token": "rlvr.advantage.aggregate.token:TokenMean",
    "sequence": "rlvr.advantage.aggregate.sequence:SequenceMean",
    "sequence_sum": "rlvr.advantage.aggregate.sequence_sum:SequenceSum",
    "constant": "rlvr.advantage.aggregate.constant:Constant",
    "prompt": "rlvr.advantage.aggregate.prompt:PromptMean",
    "prompt_sum": "rlvr.advantage.aggregate.prompt_sum:PromptSum",
}
