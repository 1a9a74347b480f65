"""The model card of a checkpoint: the settings it was trained with and what it reached."""

from __future__ import annotations

import json
from pathlib import Path

CARD = """---
library_name: transformers
tags: [rlvr, reinforcement-learning, verifiable-rewards]
---

# Trained with rlvr, step {step}

{results}

## Settings

```toml
{settings}```
"""


def model_card(run: Path, step: int) -> str:
    """Markdown from the run's config.toml and the evaluations in its metrics.jsonl."""
    config, metrics = run / "config.toml", run / "metrics.jsonl"
    return CARD.format(
        step=step,
        results=_results(metrics) if metrics.exists() else "No evaluation was recorded.",
        settings=config.read_text() if config.exists() else "",
    )


def _results(metrics: Path) -> str:
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    evaluations = [row for row in rows if row.get("kind") == "eval"]
    if not evaluations:
        return "No evaluation was recorded."
    lines = [
        "| step | task | split | pass@1 | standard error | greedy |",
        "|---|---|---|---|---|---|",
    ]
    for row in evaluations:
        error, greedy = row.get("stderr"), row.get("accuracy_greedy")
        lines.append(
            f"| {row['step']} | {row['task']} | {row['split']} | {row['accuracy']:.3f} "
            f"| {'' if error is None else f'{error:.3f}'} | {'' if greedy is None else f'{greedy:.3f}'} |"
        )
    return "\n".join(lines)
