"""The recipe of a simulated world, and the data set of a path or a world's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from stagelens.pipeline.core import Dataset, Float32
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.worlds.generate import Generated, generate

PREFIX = "world:"
_LIMITS: dict[str, tuple[float, float]] = {"width": (1, 65536), "signal": (0, 1), "missing": (0, 0.99)}
Rendering = dict[Literal["width", "signal", "missing"], float]


def _default_modalities() -> dict[str, Rendering]:
    return {
        "text": {"width": 64, "signal": 0.5, "missing": 0.0},
        "image": {"width": 64, "signal": 0.25, "missing": 0.1},
    }


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
    """

    role: ClassVar[Role] = "world"
    seeded: ClassVar[bool] = True

    users: int = Field(default=2500, ge=1)
    """U."""
    items: int = Field(default=3000, ge=2)
    """I."""
    factors: int = Field(default=16, ge=1)
    """Preference factors."""
    categories: int = Field(default=20, ge=1)
    """Item categories, of uneven size."""
    category_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the items' variance in the factors that lies between categories."""
    focus: float = Field(default=1.8, ge=0)
    """How much taste counts: one standard deviation more of match makes relevance ``exp(focus)`` times as large;
    0: popularity alone."""
    saturation: float = Field(default=2.0, ge=0, le=4)
    """Standard deviations of match beyond which relevance grows no more; 2: for one item in 44."""
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
    """By name: ``width`` of the vectors, ``signal`` (share of the items' variance in the preference factors
    that a perfect linear reader of the vectors recovers) and ``missing`` (share of items without a
    vector)."""

    @field_validator("modalities")
    @classmethod
    def _complete(cls, modalities: dict[str, Rendering]) -> dict[str, Rendering]:
        complete: dict[str, Rendering] = {}
        for name, given in modalities.items():
            said: Rendering = {"width": 64, "signal": 0.5, "missing": 0.0, **given}
            for key, (low, high) in _LIMITS.items():
                if not low <= said[key] <= high:  # type: ignore[index]
                    raise ValueError(f"{name}.{key} = {said[key]}: allowed {low} to {high}")  # type: ignore[index]
            complete[name] = said
        return complete

    def generate(self, seed: int = 0) -> Dataset:
        """Return the data set of this world: a real clock, category, price and country as columns."""
        return self.truth(seed).dataset

    def truth(self, seed: int = 0) -> Generated:
        """Return the data set together with the latent arrays that made it.

        Raises:
            ConfigError: The modalities are narrower than the factors, or a user would take every item.
        """
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
    """Return the data set of a folder, or of a world by name (``world:ecommerce``).

    A world is fixed by its own seed; its columns are features only where they are named, as with a folder.

    Args:
        path: A folder or ``world:NAME``.
        positive: As in ``load_dataset``; a world has no values.
        weight: Likewise.
        columns: Likewise; a world's columns need no mapping.
        item_columns: Item columns that become ranker features.
        user_columns: User columns that become ranker features.

    Raises:
        ConfigError: Unknown world, or an option that it cannot serve.
        DataError: The folder does not fit the contract.
    """
    from stagelens.pipeline.worlds.presets import presets

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
    known = presets()
    name = path.removeprefix(PREFIX)
    if name not in known:
        raise ConfigError(nearest("world", name, known) + f" Write {PREFIX}NAME.")
    options = (("positive", positive), ("weight", weight or None), ("columns", columns or None))
    for option, value in options:
        if value is not None:
            raise ConfigError(
                f"{option} = {value!r} with {path}: a world has positives only, and fixed columns."
            )
    dataset = known[name].open()
    return replace(
        dataset,
        name=path,
        source=path,
        item_columns=_named(dataset.item_columns, item_columns, f"item_columns of {path}"),
        user_columns=_named(dataset.user_columns, user_columns, f"user_columns of {path}"),
    )


def _named(found: Mapping[str, Float32], names: Sequence[str], where: str) -> dict[str, Float32]:
    """Return the columns asked for, in the order asked."""
    for name in names:
        if name not in found:
            raise ConfigError(f"{where}: " + nearest("column", name, found))
    return {name: found[name] for name in names}
