"""A run directory as one HTML file: no network, nothing beside it.

Everything a model or a file said is hostile here. What Python writes is escaped; what the scripts
show comes as JSON in which `<`, `>` and `&` are spelled as escapes, and reaches the page as text
nodes only. The page's policy (a Content-Security-Policy in its head) lets nothing run or load but
the style and the scripts named by their own hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from rlvr.errors import UserError
from rlvr.report import origins, read
from rlvr.report.curves import curves
from rlvr.report.findings import findings
from rlvr.report.headline import Tile, tiles
from rlvr.report.origins import Setting
from rlvr.report.read import Row, interval, number
from rlvr.report.responses import survey
from rlvr.report.wording import count, duration, marked, percent, plain

RESPONSES = 2000  # embedded at most

_SLOT = re.compile(r"<!--(\w+)-->")
_CODE = re.compile(r"<(?:script|style)>(.*)</(?:script|style)>", re.DOTALL)


def write_report(folder: Path, responses: int = RESPONSES) -> Path:
    """Write folder/report.html, of as much of the run as there is; returns its path.

    `responses` is how many are embedded at most. Raises UserError where the file cannot be written.
    """
    path, aside = folder / "report.html", folder / ".report.html"
    page = render(folder, responses)
    try:
        aside.write_bytes(page.encode("utf-8"))
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


@contextmanager
def reporting(folder: Path) -> Iterator[None]:
    """A report when the block ends, however it ends; what ended it is raised, not what stopped the report."""
    try:
        yield
    except BaseException:
        with suppress(UserError):
            write_report(folder)
        raise
    write_report(folder)


def render(folder: Path, responses: int = RESPONSES) -> str:
    """The page as text."""
    metrics, settings = read.metrics(folder), origins.settings(folder)
    surveyed = survey(read.rollouts(folder) or (), responses)
    drawn = curves(metrics, surveyed.ended)
    data = {
        "axes": drawn.axes,
        "panels": drawn.panels,
        "groups": surveyed.groups,
        "total": surveyed.total,
        "embedded": surveyed.embedded,
    }
    style, charts, browser = (_fragment(name) for name in ("style", "charts", "browser"))
    slots = {
        "policy": _policy(style, charts, browser),
        "style": style,
        "title": escaped(folder.resolve().name),
        "folder": escaped(str(folder)),
        "tiles": "".join(map(_tile, tiles(metrics, settings))) or "<p>No step has ended yet.</p>",
        "findings": _list(findings(metrics, surveyed, settings)),
        "unseen": escaped(_unseen(drawn.missing, drawn.constant)),
        "settings": _settings(settings),
        "evaluations": _evaluations(metrics.evals),
        "data": embedded(data),
        "charts": charts,
        "browser": browser,
    }
    return _SLOT.sub(lambda slot: slots[slot[1]], _fragment("page"))


def escaped(text: str) -> str:
    """Text for HTML, attributes too; what is invisible or turns the writing around as its number."""
    return html.escape(marked(text))


def embedded(data: object) -> str:
    """JSON that cannot end the <script> element it stands in, nor open a comment there."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fragment(name: str) -> str:
    return (resources.files("rlvr.report") / "page" / f"{name}.html").read_text(encoding="utf-8")


def _policy(style: str, *scripts: str) -> str:
    code = " ".join(map(_hash, scripts))
    rules = ("default-src 'none'", f"style-src {_hash(style)}", f"script-src {code}")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def _hash(fragment: str) -> str:
    found = _CODE.search(fragment)
    assert found, "a fragment is one element"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def _tile(tile: Tile) -> str:
    label, value, note = (escaped(text) for text in (tile.label, tile.value, tile.note))
    inside = f'<h3>{label}</h3><p class="value">{value}</p><p class="note">{note}</p>'
    return f'<div class="tile{" wide" if tile.wide else ""}">{inside}</div>'


def _list(sentences: list[str]) -> str:
    if not sentences:
        return '<p class="fine">Nothing suspicious was found in the numbers.</p>'
    lines = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
    return f'<ul class="warnings">{lines}</ul>'


def _unseen(missing: list[str], constant: dict[str, float]) -> str:
    parts = []
    if missing:
        parts.append(f"Not measured in this run: {', '.join(missing)}.")
    if constant:
        same = ", ".join(f"{key} {plain(value)}" for key, value in constant.items())
        parts.append(f"The same at every step: {same}.")
    return " ".join(parts)


def _settings(settings: list[Setting]) -> str:
    if not settings:
        return "<p>No config.toml could be read.</p>"
    lines = [
        ("chosen" if each.chosen else "default", [each.name, each.value, each.origin])
        for each in settings
    ]
    return _table(["setting", "value", "from"], lines)


def _evaluations(evals: list[Row]) -> str:
    if not evals:
        return "<p>No evaluation was recorded.</p>"
    passes = sorted({k for row in evals for k in row if re.fullmatch(r"pass@\d+", k)}, key=_length)
    head = ["step", "task", "split", "accuracy", "95% interval", "greedy", *passes]
    lines = [("", _evaluation(row, passes)) for row in evals]
    return _table([*head, "samples", "time"], lines)


def _table(head: list[str], lines: list[tuple[str, list[str]]]) -> str:
    """`lines`: (class, cells), both plain text."""
    heads = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    rows = "".join(
        f'<tr class="{escaped(kind)}">'
        + "".join(f"<td>{escaped(cell)}</td>" for cell in cells)
        + "</tr>"
        for kind, cells in lines
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _evaluation(row: Row, passes: list[str]) -> list[str]:
    bounds = interval(row)
    return [
        str(row["step"]),
        row["task"],
        row["split"],
        percent(number(row.get("accuracy"))),
        f"{percent(bounds[0])} to {percent(bounds[1])}" if bounds else "",
        percent(number(row.get("accuracy_greedy"))),
        *(percent(number(row.get(key))) for key in passes),
        count(number(row.get("samples"))),
        duration(number(row.get("seconds"))),
    ]


def _length(key: str) -> tuple[int, str]:
    """pass@4 before pass@16."""
    return len(key), key
