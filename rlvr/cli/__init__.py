"""The command line. A user's mistake is one line and exit 2; a safety stop is exit 3; a bug keeps its traceback."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Sequence

import cyclopts

import rlvr
from rlvr.errors import SafetyStop, UserError, unknown

# command -> (where its function lives, its line in the help); a function with a parameter `flags` takes stage flags
COMMANDS = {
    "train": ("rlvr.cli.train:train", "Train a model; with nothing else, the embedded default."),
    "eval": ("rlvr.cli.eval:eval_", "Measure a model on a task: greedy and pass@k."),
    "verify": ("rlvr.cli.verify:verify", "Judge responses from a JSONL file."),
    "audit": ("rlvr.cli.audit:audit", "How often a verifier is wrong, with intervals."),
    "lab": ("rlvr.cli.lab:lab", "What a choice of stages would do with saved groups."),
    "explain": (
        "rlvr.cli.explain:explain",
        "From one response's reward to each token's coefficient.",
    ),
    "report": ("rlvr.cli.report:report", "Write a run's report.html."),
    "compare": ("rlvr.cli.compare:compare", "Compare runs, paired by problem."),
    "list": ("rlvr.cli.list:list_", "Every plug-in: name, one line, where it comes from."),
    "doctor": ("rlvr.cli.doctor:doctor", "What this machine gives, and what to install."),
    "bench": ("rlvr.cli.bench:bench", "Time the loss, a step or the verifiers."),
    "new": ("rlvr.cli.new:new", "Write a plug-in to start from."),
}


def app() -> cyclopts.App:
    built = cyclopts.App(
        name="rlvr",
        help="Reinforcement learning with verifiable rewards.",
        version=rlvr.__version__,
        result_action="return_value",
    )
    for name, (where, summary) in COMMANDS.items():
        built.command(where, name=name, help=summary)
    return built


def run(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code. UserError and SafetyStop propagate."""
    application = app()
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    try:
        command, bound, unused, ignored = application.parse_known_args([*argv])
    except cyclopts.CycloptsError as error:
        error.verbose = False
        raise UserError(" ".join(str(error).split())) from None
    if "flags" in ignored:
        bound.arguments["flags"] = tuple(unused)
    elif unused:
        raise UserError(f"{argv[0]} does not take '{unused[0]}' (see rlvr {argv[0]} --help)")
    parameters = inspect.signature(command).parameters.values()
    for each in parameters:
        named = each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        if named and each.default is each.empty and each.name not in bound.arguments:
            raise UserError(f"{argv[0]} needs --{each.name}")
    return command(*bound.args, **bound.kwargs) or 0


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    except SafetyStop as error:
        print(f"rlvr: stopped: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # `rlvr list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
