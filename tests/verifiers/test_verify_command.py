"""`rlvr verify` and `rlvr new verifier`, typed as a user types them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlvr.cli import main

MISC = Path(__file__).parent / "plugins" / "misc.py"
EQUAL = f"{MISC}:equal"
OBEY = f"{MISC}:Obey"


def verify(tmp_path, text, *more, verifier=EQUAL):
    """(exit code, verdicts) of the command on these input lines."""
    source, sink = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    code = main(
        ["verify", "--verifier", verifier, "--input", str(source), "--output", str(sink), *more]
    )
    lines = sink.read_text().splitlines() if sink.exists() else []
    return code, [json.loads(line) for line in lines]


def line(name, response, reference=None, **fields):
    return json.dumps({"id": name, "response": response, "reference": reference, **fields})


def test_one_verdict_a_line_in_input_order(tmp_path):
    text = "\n".join(line(number, str(number % 3), "1") for number in range(500))
    code, verdicts = verify(tmp_path, text)
    assert code == 0
    assert [verdict["id"] for verdict in verdicts] == [*range(500)]
    assert [verdict["reward"] for verdict in verdicts] == [float(n % 3 == 1) for n in range(500)]
    assert set(verdicts[0]) == {"id", "status", "reward", "detail", "seconds"}
    assert {verdict["status"] for verdict in verdicts} == {"correct", "wrong"}


BAD = [
    (b"not json", "not JSON"),
    (b'{"id": 1, "response": "x"', "not JSON"),
    (b'{"id": 1, "response": "x", "reference": NaN}', "NaN"),
    (b"[1, 2]", "not a JSON object"),
    (b'"text"', "not a JSON object"),
    (b"null", "not a JSON object"),
    (b'{"response": "x"}', "no 'id'"),
    (b'{"id": 1}', "no 'response'"),
    (b'{"id": 1, "response": 7}', "no 'response'"),
    (b'{"id": 1, "response": null}', "no 'response'"),
    (b'\xff{"id": 1}', "not JSON"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"id": 1, "response": "x", "reference": ' + b"9" * 5000 + b"}", "not JSON"),
    (b"", "empty"),
    (b"   ", "empty"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_line_is_broken_and_the_rest_goes_on(tmp_path, bad, reason):
    good = line("good", "a", "a").encode()
    code, verdicts = verify(tmp_path, b"\n".join([good, bad, good]) + b"\n\n\n")
    assert code == 0
    assert [verdict["status"] for verdict in verdicts] == ["correct", "broken", "correct"]
    assert verdicts[1]["reward"] is None
    assert verdicts[1]["detail"].startswith("line 2: ")
    assert reason in verdicts[1]["detail"]


def test_an_input_of_nothing_but_bad_lines_is_no_failure(tmp_path):
    code, verdicts = verify(tmp_path, "x\n" * 3000)
    assert code == 0
    assert [verdict["detail"][:10] for verdict in verdicts[-1:]] == ["line 3000:"]
    assert len(verdicts) == 3000


def test_a_missing_field_is_broken_with_its_line(tmp_path):
    verifier = tmp_path / "needs.py"
    verifier.write_text("def tests(response, *, tests):\n    return response == tests\n")
    text = "\n".join([line(1, "a", tests="a"), line(2, "a")])
    _, verdicts = verify(tmp_path, text, verifier=f"{verifier}:tests")
    assert [verdict["status"] for verdict in verdicts] == ["correct", "broken"]
    assert verdicts[1]["detail"].startswith("line 2: TypeError")


def test_text_of_any_kind_comes_through(tmp_path):
    names = ["é", "\ud800", "\u2028", 'quote"', "", 7, 1.5, True, [1], {"a": "\ud800"}]
    text = "\n".join(line(name, "\ud800é", "\ud800é") for name in names)
    _, verdicts = verify(tmp_path, text)
    assert [verdict["id"] for verdict in verdicts] == names
    assert all(verdict["status"] == "correct" for verdict in verdicts)


def test_an_empty_input_gives_an_empty_output(tmp_path):
    assert verify(tmp_path, "") == (0, [])


def test_hanging_and_crashing_lines_cost_only_themselves(tmp_path):
    verbs = ["ok 1", "hang", "ok 2", "segv", "raise x", "ok 3", "spin", "ok 4", "print", "no"]
    text = "\n".join(line(verb, verb) for verb in verbs)
    started = time.monotonic()
    code, verdicts = verify(tmp_path, text, "--timeout", "0.7", verifier=OBEY)
    assert time.monotonic() - started < 6
    assert code == 0
    assert [verdict["status"] for verdict in verdicts] == (
        [
            "correct",
            "timeout",
            "correct",
            "broken",
            "broken",
            "correct",
            "timeout",
            "correct",
            "correct",
            "wrong",
        ]
    )
    assert all(verdict["seconds"] < 1.7 for verdict in verdicts)
    assert "within 0.7 s" in verdicts[1]["detail"]


def test_settings_reach_the_verifier(tmp_path):
    text = line(1, r"\fbox{1}")
    pattern = r"\\fbox"
    code, verdicts = verify(tmp_path, text, "--verifier.pattern", pattern, verifier="format")
    assert (code, verdicts[0]["status"]) == (0, "correct")


def test_quarantine_is_an_input_again(tmp_path):
    path = tmp_path / "bad.jsonl"
    text = "\n".join([line("p1", "hang", "r"), line("p2", "ok")])
    more = ("--timeout", "0.3", "--quarantine", str(path))
    verify(tmp_path, text, *more, verifier=OBEY)
    _, verdicts = verify(tmp_path, path.read_text(), "--timeout", "0.3", verifier=OBEY)
    assert [(verdict["id"], verdict["status"]) for verdict in verdicts] == [("p1", "timeout")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"--verifier": "maht"}, "did you mean 'math'"),
        ({"--verifier": f"{MISC}:equl"}, "did you mean 'equal'"),
        ({"--verifier": "./nowhere.py:f"}, "no file"),
        ({"--verifier": None}, "--verifier"),
        ({"--input": "nowhere.jsonl"}, "no such file"),
        ({"--input": "."}, "is a directory"),
        ({"--input": None}, "--input"),
        ({"--output": None}, "--output"),
        ({"--output": "nowhere/out.jsonl"}, "no such file"),
        ({"--output": "in.jsonl"}, "is the input"),
        ({"--workers": "0"}, "at least one worker"),
        ({"--workers": "many"}, "--workers"),
        ({"--timeout": "-1"}, "timeout"),
        ({"--timeout": "soon"}, "--timeout"),
        ({"--timeot": "3"}, "did you mean 'timeout'"),
        ({"--verifier.timeout": "1"}, "no settings"),
        ({"--verifier": OBEY, "--verifier.timeot": "1"}, "did you mean 'timeout'"),
        ({"--verifier": OBEY, "--verifier.timeout": "soon"}, "valid number"),
    ],
)
def test_the_users_mistakes_are_one_line_and_exit_2(
    tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(line(1, "a", "a"))
    given = {"--verifier": EQUAL, "--input": "in.jsonl", "--output": "out.jsonl", **arguments}
    argv = [part for pair in given.items() if pair[1] is not None for part in pair]
    assert main(["verify", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert Path("in.jsonl").read_text() == line(1, "a", "a")


def test_a_pipe_in_and_a_pipe_out_with_the_summary_on_stderr():
    command = [
        sys.executable,
        "-m",
        "rlvr",
        "verify",
        "--verifier",
        EQUAL,
        "--input",
        "-",
        "--output",
        "-",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(line(1, "a", "a") + "\n" + line(2, "a", "b") + "\n")
        process.stdin.close()
        rows = [json.loads(row) for row in process.stdout]
        assert "2 judged" in process.stderr.read()
    assert process.returncode == 0
    assert [row["status"] for row in rows] == ["correct", "wrong"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_keeps_what_is_judged(tmp_path, sent, code):
    source, sink = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(
        line(1, "ok") + "\n" + "\n".join(line(n, f"sleep 5 {n}") for n in range(2, 9))
    )
    command = [
        sys.executable,
        "-m",
        "rlvr",
        "verify",
        "--verifier",
        OBEY,
        "--verifier.timeout",
        "20",
    ]
    with subprocess.Popen(
        [*command, "--input", str(source), "--output", str(sink)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        limit = time.monotonic() + 60
        while not sink.exists() and time.monotonic() < limit:  # the command is loaded by then
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(sent)
        started = time.monotonic()
        assert process.wait(20) == code
        assert time.monotonic() - started < 3
        assert "Traceback" not in process.stderr.read()
    assert [json.loads(row)["id"] for row in sink.read_text().splitlines()] == [1]


def test_memory_does_not_grow_with_the_input(tmp_path):
    """Peak resident memory of the command itself, for 2,000 and 40,000 lines."""
    script = (
        "import sys, resource; from rlvr.cli import main; main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(count):
        source = tmp_path / f"{count}.jsonl"
        with source.open("w") as file:
            for number in range(count):
                file.write(line(number, "x" * 2000 + str(number % 500), "y") + "\n")
        command = [sys.executable, "-c", script, "verify", "--verifier", EQUAL]
        answer = subprocess.run(
            [*command, "--input", str(source), "--output", os.devnull],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(answer.stdout)  # KiB

    assert peak(40_000) - peak(2_000) < 30_000


def test_a_new_verifier_runs_with_its_table(tmp_path, capsys):
    assert main(["new", "verifier", "last_line", "--directory", str(tmp_path)]) == 0
    assert "rlvr verify" in capsys.readouterr().out
    assert len((tmp_path / "last_line.py").read_text().splitlines()) <= 10
    table = tmp_path / "last_line.jsonl"
    code, verdicts = verify(
        tmp_path, table.read_text(), verifier=f"{tmp_path / 'last_line.py'}:last_line"
    )
    expected = [json.loads(row)["expect"] for row in table.read_text().splitlines()]
    assert (code, [verdict["status"] for verdict in verdicts]) == (0, expected)
    assert len(set(expected)) == 2
    own_test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    assert subprocess.run(own_test, capture_output=True, cwd=tmp_path).returncode == 0
    assert main(["new", "verifier", "last_line", "--directory", str(tmp_path)]) == 2
    assert main(["new", "verifier", "last-line", "--directory", str(tmp_path)]) == 2
    assert main(["new", "verifir", "x", "--directory", str(tmp_path)]) == 2
