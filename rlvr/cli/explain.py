"""`rlvr explain`: from one response's reward to each token's coefficient."""

from __future__ import annotations

import dataclasses
import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr.errors import UserError

if TYPE_CHECKING:
    from rlvr.lab.explanation import Explanation, Token


def explain(run: Path, /, *, step: int, response: int, tokens: int = 60, json: bool = False) -> int:
    """From one response's reward to each token's coefficient, recomputed from the run's files.

    Parameters
    ----------
    run
        A run directory.
    step
        Which step, from 1.
    response
        Which of the step's responses, from 0 (`index` in the rollouts).
    tokens
        How many tokens to print; the sums are over all.
    json
        Print one JSON object, with every token.
    """
    from rlvr.lab.explanation import explain as explained

    for name in ("rollouts.jsonl.zst", "rollouts.jsonl"):
        if (run / name).is_file():
            found = explained(run, run / name, step, response)
            break
    else:
        raise UserError(f"{run} has no rollouts.jsonl.zst")
    if tokens < 0:
        raise UserError("--tokens cannot be negative")
    print(json_module.dumps(_object(found)) if json else "\n".join(_lines(found, tokens)))
    return 0


def _object(found: Explanation) -> dict[str, Any]:
    record = found.saved
    return {
        "step": found.step,
        "response": found.response,
        "status": record.raw.get("status"),
        "reward": record.reward,
        "stages": dict(found.stages),
        "group": dict(found.group),
        "advantage": found.advantage,
        "advantage_recorded": found.recorded,
        "adds_up": found.adds_up,
        "kept": found.kept,
        "tokens": [dataclasses.asdict(token) for token in found.tokens],
        "sum_of_weights": sum(token.weight for token in found.tokens),
        "sum_of_coefficients": sum(token.coefficient for token in found.tokens),
        "advantage_report": found.report["advantage"],
        "select_report": found.report["select"],
        "clip_report": found.report["clip"],
    }


def _lines(found: Explanation, shown: int) -> list[str]:
    record, group, stages = found.saved, found.group, found.stages
    reward = "none (broken verdict)" if record.reward is None else f"{record.reward:g}"
    scales = sum(token.scale for token in found.tokens)
    weights = sum(token.weight for token in found.tokens)
    lines = [
        f"step {found.step}, response {found.response}: {group['problem']}",
        f"  {_clipped(str(record.raw.get('text', '')), 90)}",
        "",
        f"reward      {reward}  ({record.raw.get('status', 'unknown')})"
        + _unless(group["shaped_reward"], record.reward, "  shaped to {:g}"),
        f"group       {group['right']} of {group['responses']} right, "
        f"mean {_number(group['reward_mean'])}, std {_number(group['reward_std'])}",
        f"filter      {stages['filter']}: "
        + ("prompt kept" if group["filter_keeps"] else "prompt dropped"),
        f"advantage   {stages['advantage']}: {found.advantage:+.6g}" + _recorded(found),
        *_report(found.report["advantage"]),
        f"select      {stages['select']}: {'kept' if found.kept else 'dropped'}, "
        f"{sum(token.kept for token in found.tokens)} of {len(found.tokens)} tokens",
        f"aggregate   {stages['aggregate']}: scales sum to {scales:.6g}",
        *_correction(found),
        f"weight      {_product(found, scales)} = {weights:+.6g}",
        f"clip        {stages['clip']}"
        + "".join(
            f", {key} {found.report['clip'][key]:g}"
            for key in ("low", "high", "share", "kl")
            if found.report["clip"].get(key) is not None
        ),
        "coefficient weight x clip factor = -dLoss/dlogp; they sum to "
        f"{sum(token.coefficient for token in found.tokens):+.6g}",
        "",
        f"{'token':>6} {'':<14} {'logprob':>9} {'ratio':>8} {'scale':>11} {'factor':>7} {'weight':>12} "
        f"{'clip':>7} {'coefficient':>12}",
        *(_row(i, token) for i, token in enumerate(found.tokens[:shown])),
    ]
    if len(found.tokens) > shown:
        lines.append(f"... {len(found.tokens) - shown} more (--tokens {len(found.tokens)})")
    return lines


def _correction(found: Explanation) -> list[str]:
    if found.stages["correct"] == "none":
        return []
    mean = sum(token.factor for token in found.tokens) / max(len(found.tokens), 1)
    return [f"correct     {found.stages['correct']}: factor {mean:.6g} on average"]


def _product(found: Explanation, scales: float) -> str:
    """How the weights come about; with a correction each scale has a factor of its own."""
    if found.stages["correct"] == "none":
        return f"advantage x scales = {found.advantage:+.6g} x {scales:.6g}"
    scaled = sum(token.scale * token.factor for token in found.tokens)
    return f"advantage x sum of scale x factor = {found.advantage:+.6g} x {scaled:.6g}"


def _recorded(found: Explanation) -> str:
    if found.recorded is None:
        return ""
    if found.adds_up:
        return "  (as the run recorded)"
    kept = "kept" if found.saved.raw.get("kept", found.kept) else "dropped"
    return f"  (the run recorded {found.recorded:+.6g}, {kept}: its stages were others than these)"


def _report(report: dict[str, Any]) -> list[str]:
    return [
        f"              {key} {_number(value)}"
        for key, value in report.items()
        if not isinstance(value, dict)
    ]


def _row(place: int, token: Token) -> str:
    text = repr(token.text)[1:-1] if token.text is not None else str(token.id)
    logprob = "" if token.logprob is None else f"{token.logprob:.4f}"
    return (
        f"{place:>6} {_clipped(text, 14):<14} {logprob:>9} {token.ratio:>8.4f} "
        f"{token.scale:>11.4g} {token.factor:>7.4g} {token.weight:>+12.4g} {token.clip_factor:>7.4g} "
        f"{token.coefficient:>+12.4g}"
    )


def _number(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_number, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _unless(value: float, same: float | None, text: str) -> str:
    return "" if same is None or abs(value - same) < 1e-12 else text.format(value)


def _clipped(text: str, width: int) -> str:
    text = " ".join(text.split()) or text
    return text if len(text) <= width else text[: width - 3] + "..."
