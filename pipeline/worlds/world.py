"""The recipe of a simulated world, and the data set of a path or a world's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from stagelens.pipeline.core import Dataset, Float32
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.worlds.generate import Generated, generate
from stagelens.pipeline.worlds.limits import refuse
from stagelens.pipeline.worlds.rendering import Rendering

PREFIX = "world:"
PLAIN: Rendering = {
    "width": 64,
    "signal": 0.5,
    "redundancy": 0.0,
    "grain": "both",
    "noise": 0.0,
    "style": 0.5,
    "anisotropy": 0.5,
    "missing": 0.0,
    "duplicates": 0.0,
}
"""A modality of which nothing is said."""
_LIMITS = {"width": (1, 65536), "anisotropy": (0, 0.99), "missing": (0, 0.99), "duplicates": (0, 0.99)}
_RESERVED = ("interaction", "all")


def _default_modalities() -> dict[str, Rendering]:
    return {"text": {**PLAIN}, "image": {**PLAIN, "signal": 0.25, "missing": 0.1}}


@recipe
class World(Recipe):
    """Users who choose items over time, for reasons that the items' modalities show in part.

    Items have a place in a space of ``factors`` preference factors, partly shared by their category; users
    have a taste in the same space, centred on a few categories. The *relevance* of an item to a user is the chance
    that the user takes it when the user examines it: ``appeal * min(1, exp(focus * (match - saturation)))``,
    where the match of taste and item has unit variance over the items, and appeal follows Zipf's law. Users
    examine items at Poisson times, at a pace of their own and by the items' exposure, from the moment both are
    there, and never take an item twice. So every pair has a memoryless clock of its own, and fresh logs of the same
    world are as good as the one that was recorded.

    Popularity, arrival, price and country are independent of the factors, and so is what is missing: no
    modality is favoured at a stage, for a kind of user or for a kind of item.

    Raises:
        ValueError: Parameters that cannot hold together; the message says why.
    """

    role: ClassVar[Role] = "world"
    seeded: ClassVar[bool] = True

    users: int = Field(default=2500, ge=1)
    """U."""
    items: int = Field(default=3000, ge=2)
    """I."""
    factors: int = Field(default=16, ge=1)
    """Preference factors, hidden ones included."""
    unseen: float = Field(default=0.0, ge=0, le=1)
    """Share of preference (of the variance of a match over items) that no content shows. As many of the factors, to
    the nearest number, are hidden."""
    categories: int = Field(default=40, ge=1)
    """Item categories."""
    evenness: float = Field(default=4.0, gt=0)
    """Their sizes follow a Dirichlet law with this parameter: 4 spreads them by about half of their mean, 1 widely,
    1000 makes them alike."""
    category_share: float = Field(default=0.5, ge=0, le=1)
    """Share of what content can show that lies between categories; the rest tells items of a category apart."""
    favourites: int = Field(default=3, ge=1)
    """Categories that a user's taste is centred on, at most; their weights are drawn evenly."""
    own_taste: float = Field(default=0.3, ge=0, le=1)
    """Share of a user's visible taste that has nothing to do with the favourite categories."""
    focus: float = Field(default=2.5, ge=0)
    """How much taste counts: one standard deviation more of match makes relevance ``exp(focus)`` times as large;
    0: popularity alone."""
    saturation: float = Field(default=2.5, ge=0, le=4)
    """Standard deviations of match beyond which relevance grows no more; 2.5: for one item in 160."""
    popularity: float = Field(default=0.8, ge=0)
    """Zipf exponent of the items' appeal: that of rank r is r ** -popularity."""
    exposure: Literal["uniform", "popularity"] = "uniform"
    """What users examine. uniform: every item as often as any other, so the log is evidence of relevance alone.
    popularity: slates by popularity, read from the top."""
    slate: int = Field(default=20, ge=1)
    """Places of a slate; with exposure by popularity."""
    skew: float = Field(default=1.0, ge=0)
    """Places of a slate are filled by appeal ** skew; with exposure by popularity."""
    position: float = Field(default=1.0, ge=0)
    """Place p of a slate is examined with chance p ** -position; with exposure by popularity."""
    activity: float = Field(default=26.0, gt=0)
    """Mean events of a user, before the cut below."""
    activity_spread: float = Field(default=0.8, ge=0)
    """Standard deviation of the log of a user's expected events (lognormal)."""
    fewest: float = Field(default=5, gt=0)
    """Expected events of a user at least."""
    days: int = Field(default=365, ge=1)
    """Time span."""
    catalogue_at_start: float = Field(default=0.7, ge=0, le=1)
    """Share of the items that are there from the first day; the others arrive evenly over the span."""
    joining: float = Field(default=0.6, ge=0, lt=1)
    """Users join evenly over this first part of the span."""
    modalities: dict[str, Rendering] = Field(default_factory=_default_modalities)
    """By name. ``signal``: share of the preference variance that content can show which a perfect linear reader
    recovers from the vectors if there is no noise. ``redundancy``: share of the signal that other modalities show as
    well; the rest is its own. ``grain``: between categories, within, or both. ``noise``: share of each shown factor
    that is the encoder's error; a reader recovers signal * (1 - noise). ``style``: share of the vectors' variance
    that has nothing to do with preference. ``anisotropy``: mean cosine of two raw vectors, all in one cone.
    ``width`` of the vectors, ``missing``: share of items without one; ``duplicates``: share whose vector is another
    item's."""

    @field_validator("modalities", mode="before")
    @classmethod
    def _complete(cls, modalities: Any) -> Any:
        if not isinstance(modalities, Mapping):
            raise ValueError("write a table by name, e.g. {text = {signal = 0.5}}")
        complete = {}
        for name, given in modalities.items():
            if name in _RESERVED:
                raise ValueError(f"the name {name!r} is taken; give the modality another")
            if not isinstance(given, Mapping):
                raise ValueError(f"{name} = {given!r}: write a table, e.g. {{signal = 0.5}}")
            for key in given:
                if key not in PLAIN:
                    raise ValueError(nearest(f"field of {name}", key, PLAIN))
            complete[name] = {**PLAIN, **given}
        return complete

    @field_validator("modalities")
    @classmethod
    def _in_range(cls, modalities: dict[str, Rendering]) -> dict[str, Rendering]:
        for name, said in modalities.items():
            for key, value in said.items():
                low, high = _LIMITS.get(key, (0, 1))
                if isinstance(value, int | float) and not low <= value <= high:
                    raise ValueError(f"{name}.{key} = {value:g}: allowed {low} to {high}")
        return modalities

    def __post_init__(self) -> None:
        refuse(self)

    @property
    def visible(self) -> int:
        """The factors that content can show; the rest are hidden."""
        if self.unseen in (0.0, 1.0):
            return self.factors if self.unseen == 0 else 0
        return self.factors - min(max(round(self.unseen * self.factors), 1), self.factors - 1)

    def generate(self, seed: int = 0) -> Dataset:
        """Return the data set of this world: a real clock, category, price and country as columns."""
        return self.truth(seed).dataset

    def truth(self, seed: int = 0) -> Generated:
        """Return the data set together with what made it."""
        return generate(self, seed)


def open_dataset(
    path: str,
    *,
    positive: float | None = None,
    weight: bool = False,
    columns: Mapping[str, str] | None = None,
    item_columns: Sequence[str] = (),
    user_columns: Sequence[str] = (),
) -> Dataset:
    """Return the data set of a folder, or of a world: ``world:ecommerce``, ``world:mine.toml``.

    A world is fixed by its own seed; its columns are features only where they are named, as with a folder.

    Args:
        path: A folder, ``world:NAME`` or ``world:PATH.toml``.
        positive: As in ``load_dataset``; a world has no values.
        weight: Likewise.
        columns: Likewise; a world's columns need no mapping.
        item_columns: Item columns that become ranker features.
        user_columns: User columns that become ranker features.

    Raises:
        ConfigError: Unknown world, or an option that it cannot serve.
        DataError: The folder does not fit the contract.
    """
    from stagelens.pipeline.worlds.presets import find_world, presets

    if not path.startswith(PREFIX):
        if path in presets() and not Path(path).exists():
            raise ConfigError(f"No folder {path!r}. Did you mean '{PREFIX}{path}'?")
        from stagelens.pipeline.data.datasets import load_dataset

        return load_dataset(
            path,
            positive=positive,
            weight=weight,
            columns=columns,
            item_columns=item_columns,
            user_columns=user_columns,
        )
    preset = find_world(path.removeprefix(PREFIX))
    options = (("positive", positive), ("weight", weight or None), ("columns", columns or None))
    for option, value in options:
        if value is not None:
            raise ConfigError(
                f"{option} = {value!r} with {path}: a world has positives only, and fixed columns."
            )
    dataset = preset.open()
    return replace(
        dataset,
        item_columns=_named(dataset.item_columns, item_columns, f"item_columns of {path}"),
        user_columns=_named(dataset.user_columns, user_columns, f"user_columns of {path}"),
    )


def _named(found: Mapping[str, Float32], names: Sequence[str], where: str) -> dict[str, Float32]:
    """Return the columns asked for, in the order asked."""
    for name in names:
        if name not in found:
            raise ConfigError(f"{where}: " + nearest("column", name, found))
    return {name: found[name] for name in names}
