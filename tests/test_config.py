"""Settings: layers, origins, and errors that name the nearest right word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rlvr import config
from rlvr.errors import UserError


@dataclass(frozen=True)
class Top:
    steps: int = 60
    rate: float | None = None
    names: tuple[str, ...] = ()
    folder: Path | None = None
    deep: bool = False


def resolve(flags: str = "", recipe: dict[str, object] | None = None) -> config.Resolved:
    return config.resolve(
        {"advantage": "grpo"}, {"": Top}, recipe=recipe, flags=config.flags_to_tree(flags.split())
    )


def top(flags: str) -> Top:
    return resolve(flags).section("", Top)


def test_flags_over_recipe_over_defaults_with_origins() -> None:
    resolved = resolve("--steps 7", {"steps": {"name": 5}, "rate": {"name": 0.5}})
    values = resolved.sections[""]
    assert (values["steps"].value, values["steps"].origin) == (7, "flag")
    assert (values["rate"].value, values["rate"].origin) == (0.5, "recipe")
    assert values["deep"].origin == "default"


def test_a_stage_is_a_name_and_its_settings() -> None:
    stage = resolve("--advantage grpo --advantage.eps 0.5").stages["advantage"]
    assert (stage.origin, stage.settings["eps"].value) == ("flag", 0.5)
    assert stage.build().eps == 0.5


def test_settings_of_another_plugin_do_not_carry_over() -> None:
    recipe = {"advantage": {"name": "grpo", "eps": 0.5}}
    assert "eps" not in resolve("--advantage rloo", recipe).stages["advantage"].settings


def test_values_are_converted() -> None:
    assert top("--names a,b --folder /x --deep") == Top(
        names=("a", "b"), folder=Path("/x"), deep=True
    )
    assert top("--rate none").rate is None
    assert top("--deep=false").deep is False
    assert top("--rate -1e-3").rate == -1e-3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--stepz 3", "did you mean 'steps'"),
        ("--steps three", "--steps 'three'"),
        ("--steps 1.5", "--steps '1.5'"),
        ("--advantage gropo", "did you mean 'grpo'"),
        ("--advantage.epz 1", "did you mean 'eps'"),
        ("--advantage.eps x", "--advantage.eps 'x'"),
        ("--advantage nowhere:Thing", "no module called 'nowhere'"),
        ("--advantage ./none.py:Thing", "no file"),
        ("steps 3", "neither a flag"),
        ("--", "neither a flag"),
    ],
)
def test_mistakes_are_one_line(flags: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(flags)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_resolved_settings_are_a_recipe_that_says_the_same(tmp_path: Path) -> None:
    resolved = resolve("--steps 9 --names a,b --advantage grpo --advantage.eps 0.25")
    (tmp_path / "config.toml").write_text(resolved.to_toml())
    again = resolve("", config.read_recipe(tmp_path / "config.toml"))
    assert again.section("", Top) == resolved.section("", Top)
    assert again.stages["advantage"].build() == resolved.stages["advantage"].build()
    assert "steps = 9  # flag" in resolved.to_toml()


@pytest.mark.parametrize("text", ["steps = ", "[advantage\n", "\xff"])
def test_a_broken_recipe_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="recipe"):
        config.read_recipe(path)
