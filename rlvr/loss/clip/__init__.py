"""The surrogate: what a token's new log-probability is worth, given its weight.

Loss per token, to be summed; minimised. At ratio 1 every rule's gradient is -weight.
"""

BUILTIN: dict[str, str] = {
    "ppo": "rlvr.loss.clip.ppo:PPO",
    "dapo": "rlvr.loss.clip.dapo:DAPO",
    "cispo": "rlvr.loss.clip.cispo:CISPO",
    "gspo": "rlvr.loss.clip.gspo:GSPO",
    "bapo": "rlvr.loss.clip.bapo:BAPO",
    "loglik": "rlvr.loss.clip.loglik:LogLikelihood",
}
