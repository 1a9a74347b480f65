"""One pass over a run's responses: how they ended, step by step, and the groups worth reading.

Not kept: every response. A page holds a sample of whole groups: from steps spread over the run and
from the newest ones, in each step the groups with most to tell, beside ordinary ones so that the
picture is not only of trouble. Memory does not grow with the run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from rlvr.report.read import Row, number
from rlvr.report.wording import marked
from rlvr.types import Status

STEPS = 48  # at most twice as many steps are held while reading
NEWEST = 4  # steps at the end of which all candidates are held
FOR_STEP = 8  # groups held of a step
IN_GROUP = 32  # responses held of a group
TROUBLED = 24  # newest groups with a rare ending, of whatever step
TEXT = 6000  # characters held of a response; prompts likewise
CHARACTERS = 4_000_000  # in all that the page holds
SHOWN = ("step", "problem", "prompt", "reference", "size", "responses")
NUMBERS = ("reward", "advantage", "tokens", "policy_version")
RARE = frozenset((Status.BROKEN.value, Status.FORBIDDEN.value, Status.TIMEOUT.value))


@dataclass
class Ended:
    """How the responses of one step ended."""

    step: int
    status: Counter[str] = field(default_factory=Counter)
    truncated: int = 0

    @property
    def responses(self) -> int:
        return self.status.total()


@dataclass
class Responses:
    """What the page needs to know of all responses."""

    ended: list[Ended]
    groups: list[Row]  # a sample, newest step first: step problem prompt reference size responses
    total: int = 0
    broken: Counter[str] = field(default_factory=Counter)  # detail -> how often

    @property
    def embedded(self) -> int:
        return sum(len(group["responses"]) for group in self.groups)


def survey(rows: Iterable[Row], limit: int) -> Responses:
    """`limit` is how many responses the sample holds at most."""
    ended: dict[int, Ended] = {}
    broken: Counter[str] = Counter()
    sample = _Sample()
    for step, members in groupby(rows, key=_step):
        if step is None:
            continue
        responses = list(members)
        _count(ended.setdefault(step, Ended(step)), responses)
        broken.update(_short(row.get("detail"), 300) for row in responses if _is_broken(row))
        sample.add(list(_groups(step, responses)))
    by_step = [ended[step] for step in sorted(ended)]
    total = sum(each.responses for each in by_step)
    return Responses(by_step, sample.chosen(limit), total, broken)


def _step(row: Row) -> int | None:
    step = number(row.get("step"))
    return None if step is None else int(step)


def _is_broken(row: Row) -> bool:
    return row.get("status") == Status.BROKEN


def _count(ended: Ended, responses: list[Row]) -> None:
    ended.status.update(_short(row.get("status"), 20) or "not judged" for row in responses)
    ended.truncated += sum(row.get("finish") == "length" for row in responses)


def _groups(step: int, responses: list[Row]) -> Iterator[Row]:
    """Responses of a step by group; without a `group` number, by problem."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in responses:
        found.setdefault((str(row.get("problem")), str(row.get("group"))), []).append(row)
    for (problem, _), members in found.items():
        yield {
            "step": step,
            "problem": _short(problem, 200),
            "members": members,
            "rare": (rare := any(str(row.get("status")) in RARE for row in members)),
            "telling": _telling(members, rare),
        }


def _telling(members: list[Row], rare: bool) -> float:
    """More for groups that warn or teach: rare endings, rewards that differ."""
    rewards = [reward for row in members if (reward := number(row.get("reward"))) is not None]
    spread = max(rewards) - min(rewards) if rewards else 0.0
    return 2.0 * rare + (spread > 0)


class _Sample:
    """Groups of steps spread evenly over a run whose length is not known before its end."""

    def __init__(self) -> None:
        self._spread: list[list[Row]] = []  # every `stride`-th step
        self._newest: deque[list[Row]] = deque(maxlen=NEWEST)
        self._troubled: deque[Row] = deque(maxlen=TROUBLED)
        self._stride, self._seen = 1, 0

    def add(self, groups: list[Row]) -> None:
        """All groups of the next step."""
        ranked = sorted(groups, key=lambda group: -group["telling"])
        ordinary = groups[:: max(len(groups) // (FOR_STEP // 4), 1)]
        picked = [*ranked[: FOR_STEP - FOR_STEP // 4], *ordinary, *ranked]
        unique = list({id(group): group for group in picked}.values())[:FOR_STEP]
        for group in unique:
            _trim(group)
        for group in [group for group in ranked if group["rare"]][:TROUBLED]:
            _trim(group)
            self._troubled.append(group)
        self._newest.append(unique)
        if self._seen % self._stride == 0:
            self._spread.append(unique)
            if len(self._spread) > 2 * STEPS:
                self._spread, self._stride = self._spread[::2], 2 * self._stride
        self._seen += 1

    def chosen(self, limit: int) -> list[Row]:
        """At most `limit` responses: rare endings, then round by round the next group of every step.

        Within a round the newest step comes first and the oldest second; however early the limit
        ends a round, its steps lie evenly over the run.
        """
        unique = {step[0]["step"]: step for step in (*self._spread, *self._newest) if step}
        steps = [unique[number] for number in sorted(unique, reverse=True)]
        turns = {index: turn for turn, index in enumerate(_evenly(len(steps)))}
        rounds = [
            (place, turns[index], group)
            for index, step in enumerate(steps)
            for place, group in enumerate(step)
        ]
        rounds += [(-1, 0, group) for group in reversed(self._troubled)]
        rounds.sort(key=lambda each: each[:2])
        taken: dict[int, Row] = {}
        responses = characters = 0
        for *_, group in rounds:
            size, length = len(group["responses"]), group["length"]
            fits = responses + size <= limit and characters + length <= CHARACTERS
            if id(group) in taken or (taken and not fits):
                continue
            taken[id(group)] = group
            responses, characters = responses + size, characters + length
        newest_first = sorted(taken.values(), key=lambda group: -group["step"])
        return [{key: each[key] for key in SHOWN} for each in newest_first]


def _evenly(count: int) -> list[int]:
    """0 to count - 1, both ends first, then halving the gaps (van der Corput)."""
    bits = max(count - 1, 1).bit_length()
    halving = sorted(range(count), key=lambda index: int(f"{index:0{bits}b}"[::-1], 2))
    return list(dict.fromkeys([*halving[:1], *range(count)[-1:], *halving]))


def _trim(group: Row) -> None:
    """Keep what the page shows of a group, long texts cut in the middle."""
    if "members" not in group:
        return
    members = group.pop("members")
    first = members[0]
    group["prompt"] = _prompt(first.get("prompt"))
    group["reference"] = _text(first.get("reference"))
    group["size"] = len(members)
    group["responses"] = [_response(row) for row in members[:IN_GROUP]]
    prompt = sum(len(message["content"]) for message in group["prompt"])
    group["length"] = prompt + sum(
        len(row[key] or "") for row in group["responses"] for key in ("text", "detail", "extracted")
    )


def _response(row: Row) -> Row:
    kept, extracted = row.get("kept"), row.get("extracted")
    return {
        "text": _text(row.get("text")),
        "status": _short(row.get("status"), 20) or "not judged",
        "detail": _short(row.get("detail"), 2000),
        "extracted": None if extracted is None else _text(extracted),
        "finish": _short(row.get("finish"), 20),
        "kept": kept if isinstance(kept, bool) else None,
        "parts": _parts(row.get("parts")),
        **{key: number(row.get(key)) for key in NUMBERS},
    }


def _parts(parts: object) -> dict[str, float | None]:
    """The components of a composed reward."""
    known = parts if isinstance(parts, dict) else {}
    return {_short(name, 60): number(value) for name, value in [*known.items()][:20]}


def _prompt(prompt: object) -> list[dict[str, str]]:
    """A plain prompt is one message without a role."""
    messages = prompt if isinstance(prompt, list) else [{"role": "", "content": prompt}]
    return [
        {"role": _short(message.get("role"), 40), "content": _text(message.get("content"))}
        if isinstance(message, dict)
        else {"role": "", "content": _text(message)}
        for message in messages[:50]
    ]


def _text(value: object) -> str:
    """At most TEXT characters, the beginning and the end, where the answer is."""
    text = "" if value is None else str(value)
    if len(text) <= TEXT:
        return text
    left_out = len(text) - TEXT
    return f"{text[: TEXT // 2]}\n[... {left_out:,} characters left out ...]\n{text[-TEXT // 2 :]}"


def _short(value: object, most: int) -> str:
    """A name or a remark."""
    text = "" if value is None else str(value)
    return marked(text if len(text) <= most else text[: most - 3] + "...")
