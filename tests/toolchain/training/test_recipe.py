"""Recipes: those of the package, strict reading, overriding."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UsageError
from toolchain.training.recipe import Recipe, parse_recipe, read_recipe, recipe_names


def test_published_recipe_is_the_published_one() -> None:
    recipe = read_recipe("published")
    assert (recipe.epochs, recipe.weight_average) == (190, 0.0)
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("rmsprop", 5e-4)
    assert (recipe.schedule.name, recipe.schedule.every, recipe.schedule.factor) == ("steps", 40, 0.1)
    assert (recipe.loss.cross_entropy, recipe.loss.dice, recipe.loss.boundary) == (1.0, 0.0, 0.0)


def test_names_of_the_recipes() -> None:
    assert recipe_names() == ["best", "published", "qat", "quick"]
    assert all(read_recipe(name).name == name and read_recipe(name).description for name in recipe_names())


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_overrides_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(
        write(tmp_path, "epochs = 3\n[optimizer]\nlearning_rate = 1\n[augment]\nscale = [0.9, 1.1]")
    )
    assert recipe.name == "mine"
    assert (recipe.epochs, recipe.batch_size) == (3, Recipe().batch_size)
    assert recipe.optimizer.learning_rate == 1.0
    assert recipe.augment.scale == (0.9, 1.1)
    assert recipe.augment.flip == Recipe().augment.flip


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("epoch = 3", "unknown key 'epoch'", "did you mean epochs"),
        (
            "[optimizer]\nlearningrate = 1",
            "unknown key 'optimizer.learningrate'",
            "did you mean learning_rate",
        ),
        ("[losses]\ndice = 1", "unknown key 'losses'", "did you mean loss"),
        ("[loss]\ndise = 1", "unknown key 'loss.dise'", "did you mean dice"),
        ("name = 'x'", "unknown key 'name'", "called like its file"),
        ("loss = 3", "'loss' is not a table", "[loss]"),
        ("epochs = 0", "epochs is 0", "at least 1"),
        ("epochs = 2.5", "epochs is 2.5", "whole number"),
        ("epochs = true", "epochs is True", "whole number"),
        ("size = 100", "size 100 is not a multiple of 32", "128"),
        ("description = 3", "description is 3", "text"),
        ("precision = 'fp8'", "precision is 'fp8'", "bf16-mixed"),
        ("weight_average = 1.0", "weight_average is 1.0", "0.999999"),
        ("[optimizer]\nname = 'adam'", "optimizer.name is 'adam'", "adamw"),
        ("[optimizer]\nlearning_rate = '1'", "optimizer.learning_rate is '1', not a number", "number"),
        ("[optimizer]\nlearning_rate = nan", "optimizer.learning_rate is nan", "number"),
        ("[augment]\nflip = 2", "augment.flip is 2", "0 to 1"),
        ("[schedule]\nevery = 0", "schedule.every is 0", "at least 1"),
        ("epochs = ", "is not TOML", "best"),
    ],
)
def test_mistakes_are_named(text: str, message: str, hint: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert message in caught.value.message
    assert "mine.toml" in caught.value.message
    assert hint in caught.value.hint


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown recipe 'quik'") as caught:
        read_recipe("quik")
    assert "did you mean quick" in caught.value.hint
    with pytest.raises(UsageError, match="No such file"):
        read_recipe(tmp_path / "no.toml")
    (tmp_path / "latin.toml").write_bytes(b"description = '\xe4'")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_recipe(tmp_path / "latin.toml")


def test_other_values() -> None:
    recipe = read_recipe("best")
    other = recipe.with_values(size=64, learning_rate=0.1)
    assert (other.size, other.optimizer.learning_rate) == (64, 0.1)
    assert (other.epochs, other.optimizer.weight_decay) == (recipe.epochs, recipe.optimizer.weight_decay)
    assert recipe.with_values() == recipe
    with pytest.raises(UsageError, match="multiple of 32"):
        recipe.with_values(size=100)


@pytest.mark.parametrize("name", ["best", "published", "qat", "quick"])
def test_json_makes_the_same_recipe_again(name: str) -> None:
    recipe = read_recipe(name)
    table = {key: value for key, value in recipe.as_json().items() if key != "name"}
    assert parse_recipe(name, table) == recipe


@given(st.text(min_size=1).filter(lambda key: key not in {item.name for item in fields(Recipe)}))
def test_no_unknown_key_is_accepted(key: str) -> None:
    with pytest.raises(UsageError, match="unknown key"):
        parse_recipe("any", {key: 1})
