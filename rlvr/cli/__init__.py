"""The command line. A user's mistake is one line and exit 2; a safety stop is exit 3; a bug keeps its traceback."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import cyclopts

import rlvr
from rlvr.errors import WEIGHT_SYNC, SafetyStop, UserError, unknown

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


def app(chosen: str = "") -> cyclopts.App:
    """All commands; only the chosen one is imported, for the whole of its docstring."""
    built = cyclopts.App(
        name="rlvr",
        help="Reinforcement learning with verifiable rewards.",
        version=rlvr.__version__,
        result_action="return_value",
        default_parameter=cyclopts.Parameter(negative=()),
    )
    for name, (where, summary) in COMMANDS.items():
        built.command(where, name=name, help=None if name == chosen else summary)
    return built


def run(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code. UserError and SafetyStop propagate."""
    if not argv or argv[0] in ("--help", "-h", "--version"):
        app()([*argv[:1]])
        return 0
    if argv[0].startswith("-"):
        raise unknown("option", argv[0], ("--help", "--version"))
    if argv[0] not in COMMANDS:
        raise unknown("command", argv[0], COMMANDS)
    place, name = COMMANDS[argv[0]][0].split(":")
    parameters = inspect.signature(getattr(importlib.import_module(place), name)).parameters
    own, flags = split_flags(argv, parameters) if "flags" in parameters else ([*argv], [])
    try:
        command, bound, ignored = app(argv[0]).parse_args(
            own, exit_on_error=False, print_error=False
        )
    except cyclopts.CycloptsError as error:
        raise _mistake(error, argv[0], parameters, flags) from None
    if "flags" in ignored:
        bound.arguments["flags"] = tuple(flags)
    return command(*bound.args, **bound.kwargs) or 0


def _mistake(
    error: cyclopts.CycloptsError, command: str, parameters: Iterable[str], flags: Sequence[str]
) -> UserError:
    """The parser's complaint in one line; a misspelt flag that it missed an argument for comes first."""
    options = [name.replace("_", "-") for name in parameters if name != "flags"]
    for word in (flag[2:].partition("=")[0] for flag in flags if flag.startswith("--")):
        if isinstance(error, cyclopts.MissingArgumentError) and get_close_matches(word, options, 1):
            return unknown("flag", word, options)
    if isinstance(error, cyclopts.UnusedCliTokensError):
        said = f"too many words for rlvr {command}: {' '.join(error.unused_tokens or ())}"
    else:
        error.verbose = False
        said = " ".join(str(error).split()).rstrip(".")
    return UserError(f"{said} (see rlvr {command} --help)")


def split_flags(argv: Sequence[str], parameters: Iterable[str]) -> tuple[list[str], list[str]]:
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


def _leave(code: int) -> None:
    """End at once where a thread still hangs in a sync: unwinding below it would abort the process."""
    if any(thread.name == WEIGHT_SYNC for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"rlvr: {error}", file=sys.stderr)
        return 2
    except SafetyStop as error:
        print(f"rlvr: stopped: {error}", file=sys.stderr)
        _leave(3)
        return 3
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `rlvr list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
