"""The laboratory through its command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from rlvr.cli import main


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs `rlvr lab` on rows; gives (exit code, output rows, printed JSON, stderr)."""

    def run(rows: list[Any], *flags: str, text: str | None = None):
        source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        source.write_text(text if text is not None else "".join(json.dumps(r) + "\n" for r in rows))
        target.unlink(missing_ok=True)
        argv = ["lab", "--input", str(source), "--output", str(target), "--json", *flags]
        code = main(argv)
        printed = capsys.readouterr()
        written = (
            [json.loads(line) for line in target.read_text().splitlines()]
            if target.exists()
            else []
        )
        return code, written, json.loads(printed.out) if printed.out else None, printed.err

    return run


def groups(*rewards: list[float | None], tokens: int = 2, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{q}", "reward": r, "tokens": tokens, **more}
        for q, group in enumerate(rewards)
        for r in group
    ]


def test_defaults_are_grpo_on_token_means(lab):
    code, rows, report, _ = lab(groups([1, 0, 0, 0]))
    assert code == 0
    assert [row["advantage"] for row in rows] == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-4)
    assert [w for row in rows for w in row["weights"]] == pytest.approx(
        [1.5 / 8] * 2 + [-0.5 / 8] * 6, abs=1e-5
    )
    assert all(row["kept"] for row in rows)
    assert report["clip"]["low"] == pytest.approx(0.8)
    assert report["clip"]["high"] == pytest.approx(1.2)
    assert set(report) >= {"advantage", "clip", "select"}


def test_groups_stand_anywhere_and_broken_is_left_out(lab):
    rows = [
        {"prompt": "a", "reward": 1, "tokens": 1},
        {"prompt": ["b"], "reward": 0, "tokens": 1},
        {"prompt": "a", "reward": None, "tokens": 5},
        {"prompt": "a", "reward": 0, "tokens": 1},
        {"prompt": ["b"], "reward": 0, "tokens": 1},
    ]
    _, out, _, _ = lab(rows, "--advantage", "dr_grpo")
    assert [row["advantage"] for row in out] == [0.5, 0, 0, -0.5, 0]
    assert [row["kept"] for row in out] == [True, True, False, True, True]
    assert out[0]["weights"] == [0.125]
    assert out[2]["weights"] == [0] * 5
    assert out[1]["prompt"] == ["b"]


def test_without_tokens_weights_are_null(lab):
    rows = [{"prompt": "a", "reward": r} for r in (1, 0)]
    _, out, _, _ = lab(rows)
    assert [row["weights"] for row in out] == [None, None]
    code, _, _, err = lab(rows, "--advantage", "reinforce_pp")
    assert code == 2
    assert "line 1" in err


def test_correct_may_differ_from_reward(lab):
    rows = [
        {"prompt": "a", "reward": 0.2, "correct": False, "tokens": 1, "logprobs": [-1.0]},
        {"prompt": "a", "reward": 0.1, "correct": True, "tokens": 1, "logprobs": [-1.0]},
    ]
    _, out, report, _ = lab(rows, "--advantage", "drpo", "--advantage.max_tokens", "8")
    assert [row["advantage"] for row in out] == [-1, 1]
    assert report["clip"]["low"] is None
    assert out[1]["weights"] == [1.0]


def test_bnpo_reports_its_fit(lab):
    p = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]
    _, _, report, _ = lab(groups(*p), "--advantage", "bnpo")
    assert report["advantage"]["nu"] == pytest.approx(3)  # mean group size less one
    assert report["advantage"]["a"] == pytest.approx(1.5)
    code, _, _, err = lab(groups([2, 0]), "--advantage", "bnpo")
    assert code == 2
    assert err.count("\n") == 1


def test_riskpo_with_fixed_quantiles(lab):
    flags = ["--advantage", "riskpo", "--advantage.bundle", "2", "--advantage.permute", "false"]
    _, out, report, _ = lab(
        groups([1, 0, 0, 1], [1, 1, 0, 0]), *flags, "--advantage.quantiles", "0.5,1.5"
    )
    assert [row["advantage"] for row in out] == pytest.approx([0, -0.5, -1.75, -0.5] * 2)
    assert report["advantage"]["quantiles"] == [0.5, 1.5]


def test_d3s_has_no_schedule_and_counts(lab):
    flags = ["--select", "d3s", "--select.samples", "0.5", "--select.tokens", "1"]
    _, out, report, _ = lab(groups([1, 0, 0, 0], [1, 1, 1, 0]), *flags)
    assert sum(row["kept"] for row in out) == report["select"]["kept_responses"] == 4
    kept = [row for row in out if row["kept"]]
    assert kept[0]["weights"][0] == pytest.approx(kept[0]["advantage"] / 8)
    dropped = next(row for row in out if not row["kept"])
    assert dropped["weights"] == [0, 0]


def test_bapo_reports_bounds_and_share(lab):
    import math

    positive, negative = [0.5, 0.9, 1.1, 1.58, 2.42], [0.41, 0.71, 0.87, 1.0, 1.3, 1.5, 0.95]
    rows = [
        {"prompt": "a", "reward": r, "tokens": len(ratio), "logprobs": [math.log(x) for x in ratio],
         "old_logprobs": [0.0] * len(ratio)}
        for r, ratio in ((1, positive), (0, negative))
    ]  # fmt: skip
    _, _, report, _ = lab(rows, "--clip", "bapo", "--clip.target", "0.45")
    clip = report["clip"]
    assert (clip["low"], clip["high"]) == pytest.approx((0.6, 2.45))
    assert clip["share"] == pytest.approx(0.506625, abs=1e-5)
    for row in rows:
        row["old_logprobs"] = row["logprobs"]
    _, _, report, _ = lab(rows, "--clip", "bapo", "--clip.target", "0.9")
    assert (report["clip"]["low"], report["clip"]["high"]) == (0.6, 1.2)


def test_knapsack_input(lab):
    rows = [
        {"prompt": name, "successes": s, "attempts": n}
        for name, s, n in (("a", 1, 20), ("b", 10, 20), ("c", 18, 20))
    ]
    flags = ("--budget", "knapsack", "--budget.total", "24")
    _, out, report, _ = lab(rows, *flags)
    assert out == [{"prompt": p, "responses": n} for p, n in (("a", 15), ("b", 7), ("c", 2))]
    assert report["budget"]["spent"] == 24
    code, _, _, err = lab([*rows, {"prompt": "d", "successes": 3, "attempts": 2}], *flags)
    assert code == 2
    assert "line 4" in err


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ("{nonsense", "JSON"),
        ("[1]", "object"),
        ('{"reward": 1}', "prompt"),
        ('{"prompt": "a"}', "reward"),
        ('{"prompt": "a", "reward": "1"}', "number"),
        ('{"prompt": "a", "reward": NaN}', "number"),
        ('{"prompt": "a", "reward": 1, "tokens": -1}', "tokens"),
        ('{"prompt": "a", "reward": 1, "tokens": 2, "logprobs": [0.1]}', "logprobs"),
        ('{"prompt": "a", "reward": 1, "tokens": 1, "entropies": ["x"]}', "entropies"),
        ('{"prompt": "a", "reward": 1, "tokens": 1, "logprobs": [Infinity]}', "finite"),
        ('{"prompt": "a", "reward": 1, "correct": "yes"}', "correct"),
    ],
)
def test_malformed_lines_name_their_number(lab, bad, word):
    good = '{"prompt": "a", "reward": 0, "tokens": 2}\n'
    code, rows, _, err = lab([], text=good + "\n" + bad + "\n")
    assert code == 2
    assert rows == []
    assert "line 3" in err
    assert word in err
    assert err.count("\n") == 1


def test_empty_files_and_missing_ones(lab):
    code, _, _, err = lab([])
    assert code == 2
    assert "no responses" in err
    assert main(["lab", "--input", "/no/such/file"]) == 2


@pytest.mark.parametrize(
    "flags",
    [
        "--advantage drpo --clip bapo",
        "--advantage drpo --clip dapo",
        "--advantage riskpo --filter dapo",
    ],
)
def test_contradictions_are_refused_with_the_reason(lab, flags):
    code, _, _, err = lab(groups([1, 0]), *flags.split())
    assert code == 2
    assert err.count("\n") == 1
    assert ("ratio" in err) or ("all-wrong" in err)


@pytest.mark.parametrize(
    ("flags", "condition"),
    [
        ("--advantage riskpo --clip bapo", "batch_mean"),
        ("--advantage riskpo --select d3s --select.tokens 1", "whole exams"),
        ("--advantage bnpo --filter dapo", "before"),
        ("--advantage bnpo --budget knapsack", "noise"),
        ("--advantage riskpo --budget knapsack", "equal groups"),
        ("--advantage drpo --select d3s", "both classes"),
        ("--budget knapsack --filter dapo", "choose one"),
        ("--select d3s --filter dapo --select.tokens 1", "cross-group"),
    ],
)
def test_conditions_are_one_line_on_stderr(lab, flags, condition):
    rows = groups([1, 0, 0, 1], [0, 1, 1, 0], logprobs=[-1.0, -0.5])
    code, out, _, err = lab(rows, *flags.split())
    assert code == 0
    assert err.count("\n") == 1
    assert condition in err
    assert len(out) == 8


def test_legal_pairs_are_silent(lab):
    rows = groups([1, 0, 0, 1], [0, 1, 1, 1], logprobs=[-1.0, -0.5], entropies=[0.5, 1.5])
    for advantage in ("grpo", "dr_grpo", "rloo", "reinforce_pp", "bnpo"):
        for clip in ("ppo", "dapo", "bapo", "cispo", "gspo"):
            for select in ("all", "d3s"):
                for aggregate in ("token", "sequence", "prompt", "sequence_sum"):
                    flags = f"--advantage {advantage} --clip {clip} --select {select}"
                    code, out, _, err = lab(rows, *flags.split(), "--aggregate", aggregate)
                    assert (code, err) == (0, "")
                    assert len(out) == 8


def test_unknown_words_are_answered_with_the_nearest(lab):
    code, _, _, err = lab(groups([1, 0]), "--advantage", "gropo")
    assert code == 2
    assert "grpo" in err
    code, _, _, err = lab(groups([1, 0]), "--advantag", "grpo")
    assert code == 2
    assert "advantage" in err


def test_a_file_without_a_name_is_told_how_to_name_one(lab, tmp_path):
    code, _, _, err = lab(groups([1, 0]), "--advantage", f"{tmp_path}/mine.py")
    assert code == 2
    assert "mine.py:NAME" in err


def test_an_estimator_of_ones_own(lab, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Best:\n"
        '    """One for the best, nothing for the rest."""\n'
        "    gain: float = 1.0\n"
        "    def __call__(self, scores):\n"
        "        return self.gain * scores.informative * (scores.reward > 0.5)\n"
    )
    _, out, _, _ = lab(
        groups([1, 0], [1, 1]), "--advantage", f"{tmp_path}/mine.py:Best", "--advantage.gain", "3"
    )
    assert [row["advantage"] for row in out] == [3, 0, 0, 0]


def write_run(folder: Path) -> Path:
    folder.mkdir()
    compressor = zstandard.ZstdCompressor()
    with (folder / "rollouts.jsonl.zst").open("wb") as file:
        for step, rewards in ((1, [1, 0, 0, 1]), (2, [1, 0, 0, 0])):
            lines = [
                json.dumps(
                    {"step": step, "problem": f"q{i // 2}", "group": i // 2, "index": i,
                     "status": "correct" if r else "wrong", "reward": r, "tokens": 2,
                     "finish": "stop", "logprobs": [-1.0, -0.5], "token_ids": [5, 7]}
                )
                for i, r in enumerate(rewards)
            ]  # fmt: skip
            file.write(compressor.compress(("\n".join(lines) + "\n").encode()))
    return folder


def test_a_runs_rollouts_go_step_by_step(tmp_path, capsys):
    run, out = write_run(tmp_path / "run"), tmp_path / "w.jsonl"
    assert main(["lab", "--input", str(run), "--output", str(out), "--advantage", "dr_grpo"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1] * 4 + [2] * 4
    assert [row["advantage"] for row in rows] == [0.5, -0.5, -0.5, 0.5, 0.5, -0.5, 0, 0]
    assert "kept_share" in capsys.readouterr().out
    assert main(["lab", "--input", str(run), "--step", "2", "--output", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 4
    assert main(["lab", "--input", str(run), "--step", "9"]) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # matplotlib's own imports
def test_compare_prints_a_table_and_draws(tmp_path, capsys):
    run, picture = write_run(tmp_path / "run"), tmp_path / "p.png"
    argv = ["lab", "--input", str(run), "--compare", "grpo,bnpo,riskpo", "--plot", str(picture)]
    assert main(argv) == 0
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()] == [
        "estimator",
        "grpo",
        "bnpo",
        "riskpo",
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
