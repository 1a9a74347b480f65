"""Reward functions written for TRL and verl, loaded as the command line loads them."""

from pathlib import Path

import pytest

from rlvr import registry
from rlvr.errors import UserError
from rlvr.types import Status
from rlvr.verifiers.calling import Call
from rlvr.verifiers.pool import Case, Pool

FILE = Path(__file__).parent / "plugins" / "rewards.py"
CHAT = [{"role": "user", "content": "2+2?"}]


def judge(name, response="4", reference="4", fields=None, prompt=None):
    scheme = name.split("_")[0]
    verifier = registry.load("verifier", f"{scheme}:{FILE}:{name}").target
    return Call(verifier)(response, reference, fields or {}, prompt)


@pytest.mark.parametrize(
    ("name", "given", "status", "reward"),
    [
        ("trl_strings", {}, "correct", 1.0),
        ("trl_strings", {"response": "5"}, "wrong", 0.0),
        ("trl_strings", {"fields": {"answer": "5"}}, "wrong", 0.0),
        ("trl_messages", {}, "correct", 1.0),
        ("trl_messages", {"prompt": CHAT}, "correct", 1.0),
        ("trl_prompts", {"prompt": "abc"}, "correct", 3.0),
        ("trl_prompts", {"fields": {"prompt": "ab"}}, "correct", 2.0),
        ("trl_kind", {"prompt": "abc"}, "wrong", 0.0),
        ("trl_kind", {"prompt": CHAT}, "correct", 1.0),
        ("trl_kind", {}, "wrong", 0.0),
        ("trl_none", {}, "broken", None),
        ("trl_two", {}, "broken", None),
        ("trl_column", {"fields": {"level": 2}}, "correct", 2.0),
        ("trl_async", {}, "correct", 0.5),
        ("verl_number", {}, "correct", 1.0),
        ("verl_number", {"fields": {"ground_truth": "5"}}, "wrong", 0.0),
        ("verl_dict", {}, "correct", 1.0),
        ("verl_dict", {"response": "5"}, "wrong", -1.0),
        ("verl_partial", {}, "wrong", 0.3),
        ("verl_source", {"fields": {"data_source": "gsm8k", "split": "train"}}, "correct", 1.0),
        ("verl_source", {"fields": {"extra_info": {"split": "test"}}}, "wrong", 0.0),
        ("verl_list", {}, "correct", 0.25),
        ("verl_keywords", {}, "correct", 1.0),
    ],
)
def test_a_reward_function_works_unchanged(name, given, status, reward):
    verdict = judge(name, **given)
    assert (verdict.status.value, verdict.reward) == (status, reward)


def test_the_numbers_of_a_verl_dict_are_kept():
    verdict = judge("verl_dict")
    assert verdict.parts == {"score": 1.0, "acc": 1.0, "n": 2.0}
    assert verdict.extracted == "4"


def test_an_exception_is_a_broken_verdict_in_the_pool():
    with Pool(f"trl:{FILE}:trl_raises", workers=1) as pool:
        verdict = pool.submit(Case("4", "4")).result(30)
    assert verdict.status is Status.BROKEN
    assert verdict.detail.startswith("ZeroDivisionError")


def test_the_pool_hands_the_prompt_over():
    with Pool(f"trl:{FILE}:trl_kind", workers=1) as pool:
        assert pool.submit(Case("4", "4", prompt=CHAT)).result(30).correct
        assert not pool.submit(Case("4", "4", prompt="2+2=")).result(30).correct


def test_the_plugin_says_where_it_comes_from():
    plugin = registry.load("verifier", f"verl:{FILE}:verl_dict")
    assert plugin.spec == f"verl:{FILE}:verl_dict"
    assert "as written for verl" in plugin.source


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"trl:{FILE}:trl_string", "did you mean 'trl_strings'"),
        ("trl:./nowhere.py:f", "no file"),
        ("trl:nowhere", "no module called 'trl'"),
    ],
)
def test_a_wrong_name_is_the_users_mistake(name, words):
    with pytest.raises(UserError, match=words):
        registry.load("verifier", name)
