"""Any shape of callable, and the settings that cross to another process."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from rlvr.errors import UserError
from rlvr.types import Status, Verdict
from rlvr.verifiers.calling import Call, Traits
from rlvr.verifiers.compose import Gate, Weighted
from rlvr.verifiers.format import Format
from rlvr.verifiers.spec import Spec

MISC = Path(__file__).parent / "plugins" / "misc.py"


def only_response(response):
    return (response,)


def with_reference(response, reference):
    return (response, reference)


def other_name(text, gold=None):
    return (text, gold)


def second_is_a_field(response, tests):
    return (response, tests)


def with_named_field(response, reference=None, *, tests=None):
    return (response, reference, tests)


def with_all_fields(response, reference=None, **fields):
    return (response, reference, fields)


def all_by_keyword(response, **fields):
    return (response, fields)


FIELDS = {"tests": "t", "other": 1}


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (only_response, ("a",)),
        (with_reference, ("a", "b")),
        (other_name, ("a", "b")),
        (second_is_a_field, ("a", "t")),
        (with_named_field, ("a", "b", "t")),
        (with_all_fields, ("a", "b", FIELDS)),
        (all_by_keyword, ("a", {**FIELDS, "reference": "b"})),
    ],
)
def test_a_function_gets_what_it_names(function, seen):
    record = []

    def spy(outcome):
        record.append(outcome)
        return True

    call = Call(function)
    call.verifier = lambda *args, **kwargs: spy(function(*args, **kwargs))
    assert call("a", "b", FIELDS).correct
    assert record == [seen]


@pytest.mark.parametrize(
    ("outcome", "status", "reward"),
    [
        (True, Status.CORRECT, 1.0),
        (False, Status.WRONG, 0.0),
        (0.5, Status.CORRECT, 0.5),
        (-1, Status.WRONG, -1.0),
        (float("nan"), Status.BROKEN, None),
        (Verdict.broken("x"), Status.BROKEN, None),
    ],
)
def test_any_outcome_becomes_a_verdict(outcome, status, reward):
    verdict = Call(lambda response: outcome)("", None, {})
    assert (verdict.status, verdict.reward) == (status, reward)


@dataclass(frozen=True)
class Timed:
    timeout: float = 3.0
    memory_mb: int = 4096
    version = "7"

    def __call__(self, response: str) -> bool:
        return True


def test_traits_come_from_the_verifier_and_the_user():
    own, given, bare = (
        Traits.of(Timed(), None),
        Traits.of(Timed(), 1.0),
        Traits.of(only_response, None),
    )
    assert (own.timeout, own.deadline, own.memory_mb, own.version) == (3.0, 3.5, 8192, "7")
    assert (given.timeout, given.deadline) == (1.0, 1.5)
    assert (bare.timeout, bare.deadline, bare.memory_mb) == (5.0, 5.0, 2048)


def test_nested_verifiers_survive_the_crossing():
    whole = Weighted(
        of=(Gate(of=(Format(pattern="x"), "format")), {"name": "format"}), weights=(1, 2)
    )
    again = Spec.from_json(Spec.of(whole).to_json()).build()
    assert again == whole
    assert again.of[0].of[0].pattern == "x"


def test_a_function_of_a_file_is_named_by_its_file():
    from rlvr import registry

    plugin = registry.load("verifier", f"{MISC}:equal")
    for verifier in (plugin, plugin.target, f"{MISC}:equal"):
        spec = Spec.of(verifier)
        assert spec.name == f"{MISC}:equal"
        assert spec.build()("a", "a")


def test_the_fingerprint_knows_settings_and_version():
    one, two = Spec("format", {"pattern": "a"}), Spec("format", {"pattern": "b"})
    prints = {one.fingerprint("1"), one.fingerprint("2"), two.fingerprint("1")}
    assert len(prints) == 3
    assert one.fingerprint("1") == Spec("format", {"pattern": "a"}).fingerprint("1")


@pytest.mark.parametrize("value", [object(), {1: 2}, {1, 2}, b"x"])
def test_a_setting_that_is_not_data_is_refused(value):
    with pytest.raises(UserError, match="setting cannot be"):
        Spec("format", {"pattern": value}).to_json()
