"""What each method reaches on the embedded default: accuracy, tokens, entropy, informative groups, by seed.

python benchmarks/methods.py --seeds 3
python benchmarks/methods.py --seeds 2 --what staleness

Every finished run is one line of `runs.jsonl` in --out; a run that is there is not run again, so that
the work can be cut into pieces. Writes the table and a plot (SVG) there as well.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import rlvr

Row = Mapping[str, Any]

# name of a row: what is set beside the defaults
METHODS: dict[str, dict[str, Any]] = {
    name: {"advantage": name}
    for name in ("grpo", "dr_grpo", "rloo", "reinforce_pp", "bnpo", "drpo", "riskpo")
}
# what another stage or setting changes
STAGES: dict[str, dict[str, Any]] = {
    "riskpo, natural baseline": {"advantage": {"name": "riskpo", "baseline": "natural"}},
    "grpo + dapo filter": {"filter": "dapo"},
    "grpo + d3s": {"select": "d3s"},
    "grpo, 4 minibatches": {"minibatches": 4},
    "grpo + bapo, 4 minibatches": {"clip": "bapo", "minibatches": 4},
    "grpo, 320 problems": {"task": {"name": "arithmetic", "size": 320}},
    "grpo + knapsack, 320 problems": {
        "task": {"name": "arithmetic", "size": 320},
        "budget": "knapsack",
    },
}
# responses of older weights, and what is done about them
STALENESS: dict[str, dict[str, Any]] = {
    "on-policy": {},
    **{
        f"staleness {steps}{how}": {"staleness": steps, **settings}
        for steps in (1, 4)
        for how, settings in {
            "": {},
            " + tis": {"correct": "tis"},
            " + bapo": {"clip": "bapo"},
        }.items()
    },
    "staleness 4, no clip": {"staleness": 4, "clip": {"eps_low": 1.0, "eps_high": 1e6}},
}
WHAT: dict[str, tuple[dict[str, dict[str, Any]], ...]] = {
    "methods": (METHODS, STAGES),
    "staleness": (STALENESS,),
}
HEAD = """\
The embedded default, {steps} steps of 32 problems x 8 responses, torch {torch} on a CPU. Every method with its
default settings and the same learning rate. Mean over seeds (lowest-highest). With groups of one size rloo is dr_grpo
times G / (G - 1), a factor that Adam takes out.

before, after       held-out pass@1 at temperature 1, 128 problems x 4; standard error of one run about 0.02
greedy after        the same problems, one greedy answer
entropy at end      nats a token, mean of the last five steps
informative groups  share of the sampled prompts whose rewards differ, mean over the steps

"""
CURVES = ("correct_rate", "entropy", "informative_groups", "tokens_sampled", "tokens_trained")


@dataclass(frozen=True)
class Column:
    """One number of a run."""

    title: str
    of: Callable[[Row], float]
    form: str = ".3f"


def _entropy_at_end(row: Row) -> float:
    return fmean(row["curves"]["entropy"][-5:])


COLUMNS = (
    Column("before", lambda row: row["evals"][0]["accuracy"]),
    Column("after", lambda row: row["evals"][-1]["accuracy"]),
    Column("greedy after", lambda row: row["evals"][-1]["greedy"]),
    Column("entropy at end", _entropy_at_end),
    Column("informative groups", lambda row: fmean(row["curves"]["informative_groups"])),
    Column("k tokens sampled", lambda row: sum(row["curves"]["tokens_sampled"]) / 1e3, ".0f"),
    Column("k tokens trained", lambda row: sum(row["curves"]["tokens_trained"]) / 1e3, ".0f"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", nargs="*", help="names of rows to run; all by default")
    parser.add_argument("--what", choices=list(WHAT), default="methods")
    parser.add_argument("--out", type=Path, help="default: runs/methods or runs/staleness")
    options = parser.parse_args()
    out = options.out or Path("runs") / options.what
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "runs.jsonl"
    parts = WHAT[options.what]
    rows = {name: settings for part in parts for name, settings in part.items()}
    for part in parts:
        for seed in range(options.seeds):
            for name in part:
                done = {key(row) for row in read(kept)}
                wanted = options.only is None or name in options.only
                if wanted and (name, seed, options.steps) not in done:
                    row = {"name": name, "seed": seed, **run(rows[name], seed, options.steps)}
                    with kept.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(_line(row), flush=True)
    found = [row for row in read(kept) if row["steps"] == options.steps]
    shown = {name: [row for row in found if row["name"] == name] for name in rows}
    shown = {name: runs for name, runs in shown.items() if runs}
    (out / f"{options.what}.svg").write_text(plot(shown, parts))
    text = table(shown)
    (out / f"{options.what}.txt").write_text(text)
    print(text, end="")


def read(kept: Path) -> list[Row]:
    return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def key(row: Row) -> tuple[str, int, int]:
    return row["name"], row["seed"], row["steps"]


def run(settings: Mapping[str, Any], seed: int, steps: int) -> Row:
    """One training run, boiled down to what the table and the plot show."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        metrics = rlvr.train(
            out=Path(folder) / "run",
            seed=seed,
            steps=steps,
            eval={"every": 20},
            checkpoint={"every": 0},
            **settings,
        ).metrics
    trained = [row for row in metrics if row["kind"] == "step"]
    if len(trained) < steps:
        raise SystemExit("interrupted: this run is not kept")
    return {
        "steps": steps,
        "cpu_seconds": time.process_time() - started,
        "evals": [
            {"step": row["step"], "accuracy": row["accuracy"], "greedy": row["accuracy_greedy"]}
            for row in metrics
            if row["kind"] == "eval"
        ],
        "curves": {name: [float(f"{row[name]:.4g}") for row in trained] for name in CURVES},
    }


def _line(row: Row) -> str:
    evals = "  ".join(f"{each['step']}: {each['accuracy']:.3f}" for each in row["evals"])
    return f"{row['name']}, seed {row['seed']}:  {evals}  entropy {_entropy_at_end(row):.3f}"


def table(shown: Mapping[str, Sequence[Row]]) -> str:
    """Mean over seeds and, behind it, the range."""
    head = ["", "seeds", *(column.title for column in COLUMNS)]
    lines = [head]
    for name, runs in shown.items():
        cells = [_cell(column, runs) for column in COLUMNS]
        lines.append([name, str(len(runs)), *cells])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    steps = next(iter(shown.values()))[0]["steps"] if shown else 0
    title = HEAD.format(steps=steps, torch=torch.__version__)
    body = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return title + body + "\n"


def _cell(column: Column, runs: Sequence[Row]) -> str:
    values = [column.of(row) for row in runs]
    mean = format(fmean(values), column.form)
    low, high = (format(each, column.form) for each in (min(values), max(values)))
    return mean if len(values) == 1 or low == high else f"{mean} ({low}-{high})"


def plot(
    shown: Mapping[str, Sequence[Row]], groups: Sequence[Mapping[str, Mapping[str, Any]]]
) -> str:
    """SVG: accuracy and entropy by step, a row of the picture for each group of rows."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    parts = [{name: runs for name, runs in shown.items() if name in part} for part in groups]
    if len(parts) > 1 and parts[1] and "grpo" in shown:
        parts[1] = {"grpo": shown["grpo"], **parts[1]}
    parts = [part for part in parts if part]
    settings = {"svg.fonttype": "none", "svg.hashsalt": "methods", "font.size": 9}
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(len(parts), 2, figsize=(11, 4 * len(parts)), squeeze=False)
        for (accuracy, entropy), part in zip(axes, parts, strict=True):
            for place, (name, runs) in enumerate(part.items()):
                _draw(accuracy, entropy, name, runs, (place - len(part) / 2) * 0.25)
            accuracy.set(xlabel="step", ylabel="right (dots: held out; lines: sampled in training)")
            entropy.set(xlabel="step", ylabel="entropy, nats a token", ylim=(0, None))
            accuracy.grid(alpha=0.3)
            entropy.grid(alpha=0.3)
            accuracy.legend(frameon=False)
        figure.tight_layout()
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return re.sub(r"(\d\.\d\d)\d+", r"\1", text.getvalue())  # hundredths of a point are enough


def _draw(accuracy: Any, entropy: Any, name: str, runs: Sequence[Row], aside: float) -> None:
    """Means over seeds; the bar of a dot is their range. `aside` keeps dots off each other."""
    steps = range(1, runs[0]["steps"] + 1)
    colour = accuracy.plot(steps, _smooth(runs, "correct_rate"), label=name, linewidth=1)[
        0
    ].get_color()
    for i, each in enumerate(runs[0]["evals"]):
        found = [row["evals"][i]["accuracy"] for row in runs]
        mean = fmean(found)
        bar = [[mean - min(found)], [max(found) - mean]]
        accuracy.errorbar(
            each["step"] + aside, mean, bar, fmt="o", color=colour, markersize=4, linewidth=1
        )
    entropy.plot(steps, _smooth(runs, "entropy"), color=colour, linewidth=1)


def _smooth(runs: Sequence[Row], name: str, width: int = 5) -> list[float]:
    """Mean over seeds and over the last `width` steps."""
    mean = [fmean(values) for values in zip(*(row["curves"][name] for row in runs), strict=True)]
    return [fmean(mean[max(i - width + 1, 0) : i + 1]) for i in range(len(mean))]


if __name__ == "__main__":
    main()
