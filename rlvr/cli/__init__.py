"""The command line. A user's mistake is one line and exit 2; a safety stop is exit 3; a bug keeps its traceback."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Container, Sequence

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
    if not argv or argv[0].startswith("-"):
        app()([*argv])
        return 0
    if argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    place, name = COMMANDS[argv[0]][0].split(":")
    parameters = inspect.signature(getattr(importlib.import_module(place), name)).parameters
    own, flags = split_flags(argv, parameters) if "flags" in parameters else ([*argv], [])
    try:
        command, bound, ignored = app().parse_args(own, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        error.verbose = False
        raise UserError(
            f"{' '.join(str(error).split()).rstrip('.')} (see rlvr {argv[0]} --help)"
        ) from None
    if "flags" in ignored:
        bound.arguments["flags"] = tuple(flags)
    return command(*bound.args, **bound.kwargs) or 0


def split_flags(argv: Sequence[str], parameters: Container[str]) -> tuple[list[str], list[str]]:
    """A command's own words, and the flags of stages and settings (`--clip bapo --steps 9`)."""
    own: list[str] = []
    flags: list[str] = []
    into = own
    for token in argv:
        if token.startswith("--"):
            name = token[2:].partition("=")[0]
            is_own = "." not in name and (name.replace("-", "_") in parameters or name == "help")
            into = own if is_own else flags
        elif into is flags and flags and ("=" in flags[-1] or not flags[-1].startswith("--")):
            into = own  # the flag has its value already
        into.append(token)
    return own, flags


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    except SafetyStop as error:
        print(f"rlvr: stopped: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `rlvr list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
