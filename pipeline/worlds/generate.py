"""A world made: latent factors, the log that follows from them, and the modalities' renderings of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Dataset, Float32, Float64, Int64, Interactions
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.worlds.clocks import Clocks
from stagelens.pipeline.worlds.items import Items, tastes
from stagelens.pipeline.worlds.preference import (
    Preference,
    appeal_of,
    slate_exposure,
    uniform_exposure,
)
from stagelens.pipeline.worlds.rendering import renderings

if TYPE_CHECKING:
    from stagelens.pipeline.worlds.world import World

START = 1_672_531_200
"""First second of a world: 2023-01-01 00:00 UTC."""
DAY = 86_400
COUNTRIES = ("US", "DE", "FR", "JP", "BR")
COUNTRY_SHARES = (0.4, 0.2, 0.15, 0.15, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """A world's data set, and what made it.

    Attributes:
        dataset: What a recommender may see.
        items: The items' raw columns by name: text category, price, days since the start at arrival.
        users: The users' raw columns: text country, days since the start at joining.
        clocks: When who takes what.
    """

    dataset: Dataset
    items: Mapping[str, NDArray[Any]]
    users: Mapping[str, NDArray[Any]]
    clocks: Clocks

    @property
    def preference(self) -> Preference:
        """Who likes what."""
        return self.clocks.preference

    @property
    def start(self) -> int:
        """The first second of the world, Unix time."""
        return START

    @property
    def end(self) -> int:
        """The second after the last, Unix time."""
        return START + int(self.clocks.end)

    def relevance(self, user: NDArray[Any], item: NDArray[Any]) -> Float64:
        """Return float64 in (0, 1]: the chance that a user takes an item when the user examines it.

        Index arrays that broadcast. It knows neither exposure nor log.
        """
        return self.preference.relevance(user, item)

    def chance(
        self, user: NDArray[Any], item: NDArray[Any], *, start: int, end: int | None = None
    ) -> Float64:
        """Return float64: the chance that a pair is in a log of the span, given that it was not taken before.

        ``1 - exp(-pace * exposure * relevance * time)`` with the time in [start, end) at which both are there. Index
        arrays that broadcast; ``start`` and ``end`` in Unix seconds, by default the end of the world.
        """
        user, item, clocks = np.asarray(user), np.asarray(item), self.clocks
        began = np.maximum(np.maximum(clocks.arrival[item], clocks.joined[user]), start - START)
        time = np.maximum((self.end if end is None else end) - START - began, 0.0)
        rate = clocks.pace[user] * clocks.exposure[item] * self.relevance(user, item)
        chance: Float64 = -np.expm1(-rate * time)
        return chance

    def fresh(
        self, draw: int, *, start: int, end: int | None = None, taken: Interactions | None = None
    ) -> Interactions:
        """Return a fresh log of the span [start, end) of the same world under the same policy.

        Given what was taken before ``start``, it has the law of the world's own log after ``start`` and is independent
        of it and of the other draws. A pair appears with ``chance``, independently of all others.

        Args:
            draw: Number of the log; with the world's seed it fixes every byte.
            start: Unix seconds.
            end: Unix seconds, exclusive; by default the end of the world.
            taken: What users took before ``start``; these pairs never come again.

        Raises:
            ValueError: The span is empty, or ``taken`` is of other users or items.
        """
        end = self.end if end is None else end
        size = (self.dataset.n_users, self.dataset.n_items)
        if not START <= start < end:
            raise ValueError(f"start = {start}, end = {end}: allowed {START} <= start < end")
        if taken is not None and (taken.n_users, taken.n_items) != size:
            raise ValueError(
                f"taken is of {taken.n_users} users and {taken.n_items} items, the world of {size[0]} and {size[1]}"
            )
        held = None if taken is None else taken.lists()
        log = self.clocks.ring("fresh", draw, begin=float(start - START), end=float(end - START), taken=held)
        return replace(log, time=log.time + START)


def generate(world: World, seed: int) -> Generated:
    """Return the world of a seed: same seed, same bytes, whatever the machine's load and threads."""
    items = Items.of(world, generator(seed, "world", "items"))
    taste = tastes(world, items, generator(seed, "world", "users"))
    ranks = generator(seed, "world", "popularity").permutation(world.items)
    appeal = appeal_of(ranks, world.popularity)
    preference = Preference(taste, items.traits, appeal, world.focus, world.saturation)
    rng, end = generator(seed, "world", "arrivals"), float(world.days * DAY)
    at_start = rng.random(world.items) < world.catalogue_at_start
    clocks = Clocks.of(
        preference,
        _exposure(world, ranks, appeal),
        np.where(at_start, 0.0, rng.uniform(0, end, world.items)),
        rng.uniform(0, world.joining * end, world.users),
        events=_activity(world, generator(seed, "world", "activity")),
        end=end,
        seed=seed,
    )
    log = clocks.ring("events", begin=0.0, end=end)
    log = replace(log, time=log.time + START)
    rng = generator(seed, "world", "columns")
    price = np.round(
        np.exp(rng.normal(2.5, 0.5, world.categories)[items.category] + rng.normal(0, 0.5, world.items)), 2
    )
    country = rng.choice(len(COUNTRIES), size=world.users, p=COUNTRY_SHARES)
    dataset = Dataset(
        name=f"world (seed {seed})",
        interactions=log,
        given=np.full(len(log), -1, dtype=np.int8),
        clock="real",
        users=_ids("u", world.users),
        items=_ids("i", world.items),
        modalities=renderings(world, items, seed),
        item_columns={"category": _codes(items.category), "price": price.astype(np.float32)},
        user_columns={"country": _codes(country)},
        notes=("a simulated world: what holds here holds by construction",),
        source=f"world seed {seed}",
    )
    return Generated(
        dataset=dataset,
        items={
            "category": _ids("c", world.categories)[items.category],
            "price": price,
            "arrival_day": clocks.arrival / DAY,
        },
        users={"country": np.asarray(COUNTRIES)[country], "joined_day": clocks.joined / DAY},
        clocks=clocks,
    )


def _exposure(world: World, ranks: Int64, appeal: Float64) -> Float64:
    if world.exposure == "uniform":
        return uniform_exposure(world.items)
    return slate_exposure(ranks, appeal**world.skew, world.slate, world.position)


def _ids(letter: str, count: int) -> NDArray[np.str_]:
    width = len(str(count - 1))
    return np.asarray([f"{letter}{number:0{width}d}" for number in range(count)])


def _codes(groups: Int64) -> Float32:
    """Return groups as codes by falling frequency, as columns of text are coded."""
    count = np.bincount(groups)
    place = np.empty(len(count), dtype=np.float32)
    place[np.lexsort((np.arange(len(count)), -count))] = np.arange(len(count))
    return place[groups]


def _activity(world: World, rng: np.random.Generator) -> Float64:
    """Return the mean number of events of every user: lognormal, cut below."""
    mean = np.log(world.activity) - world.activity_spread**2 / 2
    count = np.exp(rng.normal(mean, world.activity_spread, world.users))
    return np.clip(count, world.fewest, world.items / 2)
