"""Sums, gates, choices by task, shaping: reward, status, and every component kept."""

import pytest

from rlvr import config
from rlvr.errors import UserError
from rlvr.types import Status, Verdict
from rlvr.verifiers.compose import ByTask, Gate, Shaped, Weighted
from rlvr.verifiers.pool import Case, Pool
from rlvr.verifiers.shaping import Length, Repetition


def exact(response, reference=None):
    return response.split()[-1:] == [reference]


def half(response):
    return 0.5


def unsure(response):
    return Verdict.broken("no judge")


def composed(response):
    return Verdict(Status.CORRECT, 0.7, parts={"inner": 0.2})


def fails(response):
    raise AssertionError("must not run")


def test_a_sum_has_the_first_ones_status_and_every_part():
    both = Weighted(of=(exact, "format", half), weights=(1.0, 0.25, 2.0))
    right = both(r"\boxed{} 4", "4")
    assert (right.status, right.reward) == (Status.CORRECT, 2.25)
    assert right.parts == {"exact": 1.0, "format": 1.0, "half": 0.5}
    wrong = both("5", "4")
    assert (wrong.status, wrong.reward) == (Status.WRONG, 1.0)
    assert wrong.detail == "format: the format is not met"


def test_weights_default_to_one_and_same_names_are_told_apart():
    verdict = Weighted(of=(half, half, half))("x")
    assert verdict.reward == 1.5
    assert verdict.parts == {"half": 0.5, "half_2": 0.5, "half_3": 0.5}


def test_parts_of_parts_are_kept():
    assert Weighted(of=(half, composed))("x").parts == {
        "half": 0.5,
        "composed": 0.7,
        "composed.inner": 0.2,
    }


@pytest.mark.parametrize(
    "whole", [Weighted(of=(half, unsure)), Gate(of=(unsure, half)), Shaped(unsure)]
)
def test_one_broken_component_breaks_the_whole(whole):
    verdict = whole("x")
    assert (verdict.status, verdict.reward) == (Status.BROKEN, None)
    assert "no judge" in verdict.detail


def test_a_gate_stops_before_what_follows():
    shut = Gate(of=("format", fails))("no box", "4")
    assert (shut.status, shut.reward, shut.parts) == (Status.WRONG, 0.0, {"format": 0.0})
    assert shut.detail.startswith("gate format")


def test_an_open_gate_is_the_last_verdict():
    verdict = Gate(of=("format", exact, composed))(r"\boxed{} 4", "4")
    assert (verdict.status, verdict.reward) == (Status.CORRECT, 0.7)
    assert list(verdict.parts) == ["format", "exact", "composed", "composed.inner"]


def test_the_task_chooses():
    chooser = ByTask(of={"sums": exact, "boxes": "format"})
    assert chooser("4", "4", task="sums").parts == {"exact": 1.0}
    assert chooser("4", "4", task="boxes").parts == {"format": 0.0}
    assert chooser("4", "4", task="poems").status is Status.BROKEN
    assert chooser("4", "4").status is Status.BROKEN
    assert ByTask(of=("boxes=format",), otherwise=exact)("4", "4", task="poems").correct
    assert ByTask(of=("b=format",), field="kind")(r"\boxed{1}", kind="b").correct


def test_shaping_changes_the_reward_and_not_the_status():
    shaped = Shaped(exact, terms=({"name": "length", "limit": 100, "buffer": 50}, "repetition"))
    verdict = shaped("x" * 73 + " 4", "4")
    assert verdict.correct
    assert verdict.reward == 0.5
    assert verdict.parts == {"exact": 1.0, "length": -0.5, "repetition": 0.0}


@pytest.mark.parametrize(
    ("characters", "cost"), [(0, 0.0), (80, 0.0), (85, -0.5), (90, -1.0), (100, -2.0), (9999, -2.0)]
)
def test_length(characters, cost):
    term = Length(limit=100, buffer=20, weight=2.0)
    assert term(Verdict.of(True), "x" * characters) == pytest.approx(cost)
    assert Length(limit=100, buffer=20, correct_only=True)(Verdict.of(False), "x" * 200) == 0.0


@pytest.mark.parametrize(
    ("text", "cost"),
    [("", 0.0), ("a", 0.0), ("a b c d", 0.0), ("a b a b a b", -0.4), ("no " * 101, -0.79)],
)
def test_repetition(text, cost):
    """5 pairs of which 2 are different: 0.6 are repeats, 0.2 are free; 100 pairs, one different."""
    assert Repetition(words=2, free=0.2)(Verdict.of(True), text) == pytest.approx(cost)


def test_limits_are_those_of_the_components():
    class Slow:
        timeout = 3.0
        grace = 0.75
        pool_memory_mb = 5000
        cacheable = False
        version = "9"

        def __call__(self, response):
            return True

    whole = Weighted(of=(Slow(), half, Slow()))
    assert (whole.timeout, whole.pool_memory_mb, whole.cacheable) == (11.0, 5000, False)
    assert whole.grace == 0.75
    assert whole.version == "slow-9 half-0 slow_2-9"
    assert ByTask(of={"a": Slow(), "b": half}).timeout == 5.0


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Weighted(of=()), "at least one"),
        (lambda: Weighted(of=(half,), weights=(1.0, 2.0)), "2 weights for 1"),
        (lambda: ByTask(of=("no equals sign",)), "task=verifier"),
        (lambda: Weighted(of=("formt",)).components, "did you mean 'format'"),
        (lambda: Weighted(of=({"name": "format", "patern": "x"},)).components, "patern"),
        (lambda: Weighted(of=(3,)).components, "not a verifier"),
        (lambda: Shaped(half, terms=("lenght",)), "did you mean 'length'"),
    ],
)
def test_mistakes_are_named(build, words):
    with pytest.raises((ValueError, UserError), match=words):
        build()


def test_a_composition_crosses_to_the_workers():
    whole = Gate(of=({"name": "format", "pattern": "^a"}, Weighted(of=("format",), weights=(2.0,))))
    with Pool(whole, workers=1) as pool:
        verdict = pool.submit(Case(r"a \boxed{1}")).result(30)
        assert (verdict.reward, verdict.parts) == (
            2.0,
            {"format": 1.0, "weighted": 2.0, "weighted.format": 1.0},
        )
        assert pool.submit(Case(r"b \boxed{1}")).result(30).reward == 0.0


RECIPES = [
    'name = "weighted"\nof = ["math", {name = "format", pattern = "^x # y"}]\nweights = [1, 0.1]',
    'name = "weighted"\nof = [{name = "format", pattern = "a"}, {name = "format", pattern = "b"}]',
    'name = "by_task"\nof = {sums = "math", "two words" = {name = "format"}}\notherwise = "math"',
    'name = "shaped"\nof = {name = "format"}\nterms = [{name = "length", limit = 100}]',
]


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_survives_being_written_down(tmp_path, text):
    path = tmp_path / "recipe.toml"

    def resolved():
        return config.resolve({"verifier": "math"}, {}, recipe=config.read_recipe(path))

    path.write_text(f"[verifier]\n{text}\n")
    first = resolved()
    path.write_text(first.to_toml())
    again = resolved()
    assert again.stages["verifier"].values() == first.stages["verifier"].values()
    assert again.stages["verifier"].build().components


def test_a_pattern_that_never_ends_ends_at_the_deadline():
    with Pool(
        Weighted(of=({"name": "format", "pattern": "(a+)+$"},)), workers=1, timeout=0.5
    ) as pool:
        verdict = pool.submit(Case("a" * 40 + "b")).result(30)
    assert (verdict.status, verdict.reward) == (Status.TIMEOUT, 0.0)
