"""HOW MUCH EACH TOKEN COUNTS: budget, filters, estimators, selection, aggregation.

Everything here is small tensors on the CPU; no model and no GPU is needed. Not here: the ratio, its
clipping and the KL term, which need the new policy's log-probabilities (`rlvr.loss`).
"""

BUILTIN: dict[str, str] = {
    "grpo": "rlvr.advantage.grpo:GRPO",
    "dr_grpo": "rlvr.advantage.dr_grpo:DrGRPO",
    "rloo": "rlvr.advantage.rloo:RLOO",
    "reinforce_pp": "rlvr.advantage.reinforce_pp:ReinforcePP",
    "bnpo": "rlvr.advantage.bnpo:BNPO",
    "drpo": "rlvr.advantage.drpo:DRPO",
    "riskpo": "rlvr.advantage.riskpo:RiskPO",
}
