"""The page is one file, shows what the run left, and gives hostile text no way to act."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlvr.cli import main
from rlvr.errors import UserError
from rlvr.report.html import embedded, escaped, render, write_report

from .conftest import MakeRun
from .synthetic import eval_row, response, step_row

HOSTILE = (
    "</script><script>document.title='OWNED'</script><img src=x onerror=\"document.title='OWNED'\">"
    "<!--<script><!--tiles--> \u2028\u2029 ${x} `' \"&amp; \\u003c \x00\x1b[31m\u202e\ud800 </style>"
)


class Page(HTMLParser):
    """Elements with their attributes, and what the scripts and the style hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.code: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.code.append((self._inside, data))
        else:
            self.text.append(data)

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(next(code for tag, code in self.code if tag == "script"))


@pytest.fixture
def folder(make_run: MakeRun) -> Path:
    metrics = [eval_row(0, 0.1), step_row(1), step_row(2, reward_mean=0.5), eval_row(2, 0.3)]
    steps = [[response(1), response(1, status="wrong", reward=0.0)], [response(2, 1)]]
    return make_run("a run", metrics, rollouts=steps)


@pytest.fixture
def hostile(make_run: MakeRun) -> Path:
    fields = ("problem", "text", "status", "detail", "extracted", "finish", "reference")
    row = response(1, **dict.fromkeys(fields, HOSTILE), parts={HOSTILE: 1.0})
    chat = [{"role": HOSTILE, "content": HOSTILE}]
    broken = response(1, status="broken", reward=None, detail=HOSTILE, prompt=chat)
    metrics = [
        eval_row(0, 0.1, task=HOSTILE, split=HOSTILE),
        step_row(1, **{f"{HOSTILE}_x": 1.0}),
        step_row(2, **{f"{HOSTILE}_x": 2.0}),
    ]
    made = make_run("<img src=x>", metrics, rollouts=[[row, broken]])
    (made / "config.toml").write_text('name = "</table><script>1</script>"  # flag\n')
    return made


def test_the_page_holds_the_run(folder: Path) -> None:
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    words = " ".join(page.text)
    for expected in ("a run", "10.0% ± 3.9% → 30.0% ± 3.9%", "26.1% to 33.9%", "task.levels"):
        assert expected in words
    assert page.data["total"] == page.data["embedded"] == 3
    assert [group["problem"] for group in page.data["groups"]] == ["p1", "p0"]
    assert {"Reward", "Time by stage"} <= {panel["title"] for panel in page.data["panels"]}


def test_the_page_is_one_file(folder: Path) -> None:
    text = render(folder)
    page = Page(text)
    loading = {"src", "srcset", "data", "action", "background", "poster", "style"}
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert not loading & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    assert "@import" not in text
    assert "url(" not in text
    assert "://" not in text


def test_its_policy_names_exactly_its_own_code(folder: Path) -> None:
    page = Page(render(folder))
    (policy,) = [a["content"] for t, a in page.elements if "http-equiv" in a]
    code = [code for _, code in page.code if not code.startswith("{")]
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in code]
    assert policy is not None
    assert re.findall(r"sha256-([^']+)'", policy) == hashes
    assert "unsafe" not in policy


def test_hostile_text_stays_text(folder: Path, hostile: Path) -> None:
    harmless, attacked = Page(render(folder)), Page(render(hostile))
    for kind in ("script", "style", "img", "svg"):
        count = sum(tag == kind for tag, _ in attacked.elements)
        assert count == sum(tag == kind for tag, _ in harmless.elements)
    handlers = [name for _, attributes in attacked.elements for name in attributes]
    assert not [name for name in handlers if name.startswith("on")]
    (group, *_) = attacked.data["groups"]
    assert HOSTILE in (group["responses"][0]["text"], group["prompt"][0]["content"])
    assert "<img src=x>" in attacked.text


@pytest.mark.parametrize("text", ["</script>", "<!--", "a & b", "]]>", "\u2028", "\ud800"])
def test_embedded_json_says_the_same_without_markup(text: str) -> None:
    found = embedded({"a": text})
    assert not set("<>&\u2028\ud800") & set(found)
    assert json.loads(found) == {"a": text}


def test_invisible_and_turning_characters_are_named() -> None:
    assert escaped("a\x1b\u202eb\ud800\n<") == "a⟨001B⟩⟨202E⟩b⟨D800⟩\n&lt;"


@pytest.mark.parametrize("names", [(), ("metrics.jsonl",), ("rollouts.jsonl.zst",)])
def test_a_run_that_was_killed_at_once_has_a_page(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "No step has ended yet." in " ".join(page.text)
    assert page.data["panels"] == []


def test_the_number_of_responses_can_be_chosen(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    rollouts = [[response(1, group) for group in range(8)]]
    folder = make_run("run", [step_row(1)], rollouts=rollouts)
    assert main(["report", str(folder), "--responses", "3"]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    data = Page((folder / "report.html").read_text(encoding="utf-8")).data
    assert (data["embedded"], data["total"]) == (3, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no run directory nowhere"),
        (["."], "no metrics.jsonl"),
        ([".", "--responses", "-1"], "negative"),
        ([".", "--responses", "many"], "--responses"),
        ([], "RUN_DIR"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_page_that_cannot_be_written_is_the_users_mistake(folder: Path) -> None:
    (folder / "report.html").mkdir()
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=r"cannot write .*report\.html"):
        write_report(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif("RLVR_BROWSER" not in os.environ, reason="RLVR_BROWSER names no Chromium")
def test_a_browser_draws_it_and_runs_nothing_else(hostile: Path, tmp_path: Path) -> None:
    write_report(hostile)
    page = tmp_path / "page.html"
    (hostile / "report.html").rename(page)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    done = subprocess.run(
        [
            os.environ["RLVR_BROWSER"],
            *flags,
            *quiet,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"file://{page}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "<title>OWNED" not in done.stdout
    assert done.stdout.count('<svg class="chart"') >= 10
    assert 'class="card' in done.stdout
    assert "Uncaught" not in done.stderr
