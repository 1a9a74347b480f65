"""How many responses each problem gets, decided before sampling."""

BUILTIN: dict[str, str] = {
    "uniform": "rlvr.advantage.budget.uniform:Uniform",
    "knapsack": "rlvr.advantage.budget.knapsack:Knapsack",
}
