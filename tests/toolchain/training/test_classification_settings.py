"""Recipes of classifiers: those that come along, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import UsageError
from toolchain.models.zoo import zoo
from toolchain.spec import CLASSIFICATION
from toolchain.training.classification import settings_for
from toolchain.training.classification_settings import (
    ClassifierSettings,
    classifier_recipes,
    parse_classifier_settings,
    read_classifier_settings,
)


@pytest.mark.parametrize("name", ["lenet", "lenet-cifar", "vgg11", "alexnet"])
def test_recipes_are_those_of_networks(name: str) -> None:
    assert name in classifier_recipes()
    assert zoo().get(name).spec.task == CLASSIFICATION
    settings = settings_for(name)
    assert settings.name == name
    assert settings.description
    # What a card holds makes the same settings again.
    values = settings.as_json()
    assert parse_classifier_settings(values.pop("name"), values) == settings


def test_a_network_without_recipe_has_the_defaults() -> None:
    assert settings_for("mobilenetv2") == ClassifierSettings()


def test_values_from_the_command_line_come_first() -> None:
    changed = settings_for("lenet").with_values(epochs=3, learning_rate=0.5)
    assert (changed.epochs, changed.optimizer.learning_rate) == (3, 0.5)
    assert changed.batch_size == settings_for("lenet").batch_size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 0", "epochs is 0"),
        ("epoch = 3", "unknown key 'epoch'"),
        ('name = "x"', "unknown key 'name'"),
        ("optimizer = 3", "'optimizer' is not a table"),
        ('[optimizer]\nname = "adam"', "optimizer.name is 'adam'"),
        ("[optimizer]\nrate = 1", "unknown key 'optimizer.rate'"),
        ("[augment]\nzoom = [2.0, 1.0]", "augment.zoom"),
        ("channels_last = 1", "channels_last is 1"),
        ('precision = "64"', "recipe.precision is '64'"),
        ("label_smoothing = nan", "recipe.label_smoothing is nan"),
        ("epochs = ", "is not TOML"),
    ],
)
def test_wrong_recipes(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_classifier_settings(path)
    assert "mine.toml" in caught.value.message


@pytest.mark.parametrize(("name", "message"), [("lnet", "no recipe 'lnet'"), ("none.toml", "cannot be read")])
def test_missing_recipes(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_classifier_settings(name)
