"""Recipes of training: every number that decides what a network becomes, in a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog.atmosphere import Level
from catalog.errors import BadInput
from catalog.radar import RADAR_CHANNELS

DEFAULT_RECIPE = "match-teacher"
_SHIPPED = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(
        default=(16, 32, 160, 320), min_length=2, max_length=5, description="channels at each level of the UNet"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="of whole channels, at the lowest level")
    learn_from: Literal["teacher", "labels"] = Field(
        default="teacher", description="a teacher's answers for every patch, or the chips' own labels"
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="both sides' logits are divided by it (Hinton et al. 2015, \"Distilling the knowledge in a neural "
        'network"); below 1 what is learned becomes surer',
    )
    hard_labels: float = Field(
        default=0.05, ge=0, le=1, description="with a teacher: share of the patches from chips it did not label"
    )
    label_smoothing: float = Field(default=0.2, ge=0, lt=1, description="of hard labels, never of a teacher's answers")
    brightness: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="from labels: spread of a factor on all bands of a patch, and of a third of it on each band: other "
        "air and other sensors",
    )
    class_weights: Literal["none", "inverse-log"] = Field(
        default="none", description="inverse-log: 1 / ln(1.02 + share of the pixels) (Paszke et al. 2016, ENet)"
    )
    patch: int = Field(default=128, multiple_of=16, ge=32, le=1024, description="side in pixels")
    radar: tuple[str, ...] = Field(
        default=(), description="radar channels that it sees after the six bands, as VV_ascending; from labels only"
    )
    channel_dropout: float = Field(
        default=0.5, ge=0, le=1, description="with radar: share of the patches that see none of its channels"
    )
    batch: int = Field(default=16, ge=1, description="patches a step")
    buffer: int = Field(default=4000, ge=1, description="with a teacher: patches kept and used again")
    fresh: int = Field(default=1, ge=1, description="with a teacher: new patches a step; each costs a teacher's answer")
    learning_rate: float = Field(default=2e-3, gt=0, description="highest, of AdamW")
    weight_decay: float = Field(default=1e-2, ge=0)
    decay: Literal["cosine", "none"] = Field(default="cosine", description="of the learning rate, to 0 at the end")
    minutes: float | None = Field(default=None, gt=0, description="how long; or")
    epochs: int | None = Field(default=None, ge=1, description="how often each chip is seen; from labels only")
    held_out: float = Field(
        default=0.05, ge=0, lt=1, description="share of the training places that are watched, not learned"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many looks at the held-out places without a better one"
    )
    seed: int = Field(default=0, ge=0, description="of weights, patches, and the places held out")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.minutes is None) == (self.epochs is None):
            raise ValueError("give either minutes or epochs")
        if self.epochs and self.learn_from == "teacher":
            raise ValueError("patches for a teacher are drawn without end: give minutes, not epochs")
        if self.patience and not self.held_out:
            raise ValueError("patience needs places held_out")
        if unknown := [name for name in self.radar if name not in RADAR_CHANNELS]:
            raise ValueError(f"{unknown[0]!r} is no radar channel; there are {', '.join(RADAR_CHANNELS)}")
        if self.radar and self.learn_from == "teacher":
            raise ValueError("a teacher sees no radar: learn radar channels from labels")
        if any(width < 1 for width in self.widths):
            raise ValueError("widths are at least 1")
        return self


def level_learned(learn_from: str | None) -> Level | None:
    """The level that a network wants to see: a teacher's answers are learned for corrected L1C, labels for either."""
    return "L2A" if learn_from == "teacher" else None


def load_recipe(name: str, minutes: float | None = None) -> Recipe:
    """A shipped recipe by its name, or one in a TOML file.

    Args:
        name: `match-teacher`, `karra-2021`, or a path.
        minutes: take the place of the recipe's length.

    Raises:
        BadInput: no such recipe, or one that says something impossible.
    """
    if minutes is not None and not minutes > 0:
        raise BadInput(f"--minutes {minutes:g} is not possible. Give more than 0.")
    shipped = {path.stem: path for path in _SHIPPED.glob("*.toml")}
    path = shipped.get(name, Path(name))
    try:
        told = tomllib.loads(path.read_text())
        if minutes is not None:
            told = {key: value for key, value in told.items() if key not in ("minutes", "epochs")}
            told["minutes"] = minutes
        return Recipe.model_validate(told)
    except OSError as error:
        raise BadInput(
            f"There is no recipe {name!r}. Give the path of a TOML file, or one of {', '.join(sorted(shipped))}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"Recipe {str(path)!r} is no TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][0])
            known = difflib.get_close_matches(name, Recipe.model_fields, n=1) or list(Recipe.model_fields)
            raise BadInput(f"Recipe {str(path)!r}: there is no {name!r}. Use {', '.join(known)}.") from error
        where = f"{'.'.join(map(str, first['loc']))} = {first['input']!r}: " if first["loc"] else ""
        raise BadInput(f"Recipe {str(path)!r}: {where}{first['msg'].removeprefix('Value error, ')}.") from error
