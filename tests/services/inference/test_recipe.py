"""Recipes of training, read from files."""

from __future__ import annotations

import pytest

from catalog.errors import BadInput
from services.inference.recipe import DEFAULT_RECIPE, load_recipe


def test_a_recipe_is_found_by_name_or_path_and_may_be_made_longer(tmp_path):
    assert load_recipe(DEFAULT_RECIPE).learn_from == "teacher"
    mine = tmp_path / "mine.toml"
    mine.write_text('learn_from = "labels"\nepochs = 3\nwidths = [8, 16]\n')
    assert (load_recipe(str(mine)).epochs, load_recipe(str(mine)).widths) == (3, (8, 16))
    timed = load_recipe(str(mine), minutes=5)
    assert (timed.epochs, timed.minutes) == (None, 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epochs =", "is no TOML"),
        ("minutes = -1", r"minutes = -1: .*greater than 0"),
        ("minutes = 1\nlearning_rat = 0.1", r"there is no 'learning_rat'\. Use learning_rate\."),
        ("minutes = 1\nxyz = 0.1", r"there is no 'xyz'\. Use widths, dropout, .*, seed\."),
        ("minutes = 1\nseed = -5", "seed = -5: .*greater than or equal to 0"),
        ("widths = [16, 0]\nminutes = 1", "widths are at least 1"),
        ("learning_rate = 0.1", "give either minutes or epochs"),
        ("epochs = 3", "give minutes, not epochs"),
        ("minutes = 3\nheld_out = 0\npatience = 2", "patience needs places held_out"),
    ],
)
def test_what_a_recipe_cannot_say_is_named(tmp_path, text, told):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(BadInput, match=told):
        load_recipe(str(tmp_path / "mine.toml"))


def test_a_length_that_cannot_be_is_the_options_fault():
    with pytest.raises(BadInput, match="--minutes -3 is not possible"):
        load_recipe("karra-2021", minutes=-3)


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(BadInput, match=r"no recipe 'karra'.*karra-2021, labels-30m, match-teacher"):
        load_recipe("karra")
