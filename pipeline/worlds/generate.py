"""Sampling of a world: latent factors, events in time, and the modalities' renderings of items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Dataset, Float32, Float64, Int64, Interactions, ModalityTable
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator

if TYPE_CHECKING:
    from stagelens.pipeline.worlds.world import World

START = 1_672_531_200
"""First second of a world: 2023-01-01 00:00 UTC."""
DAY = 86_400
BLOCK = 512
"""Users whose pairs are drawn together; the draws do not depend on it."""
COUNTRIES = ("US", "DE", "FR", "JP", "BR")
COUNTRY_SHARES = (0.4, 0.2, 0.15, 0.15, 0.1)
NUISANCE = 0.5
"""Share of a vector's variance that lies in directions without any preference factor: style, encoder,
noise."""
OFFSET = 1.0
"""Length of the mean vector of a modality against the spread around it: encoders put all items in one
cone."""
OWN_TASTE = 0.3
"""Share of a user's taste that has nothing to do with the favourite categories."""
FAVOURITES = 3
"""Categories a user's taste is centred on, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """A world's data set and what made it.

    Attributes:
        dataset: What a recommender may see.
        items: The items' raw columns by name: text category, price, days since the start at arrival.
        users: The users' raw columns: text country, days since the start at joining.
        taste: float64 [U, factors]; utility of taste is ``focus * taste @ traits.T``.
        traits: float64 [I, factors].
        log_popularity: float64 [I].
    """

    dataset: Dataset
    items: Mapping[str, NDArray[Any]]
    users: Mapping[str, NDArray[Any]]
    taste: Float64
    traits: Float64
    log_popularity: Float64


def generate(world: World, seed: int) -> Generated:
    """Return the world of a seed: same seed, same bytes, on one machine whatever its load."""
    category, centres, traits = _traits(world, generator(seed, "world", "items"))
    taste = _taste(world, centres, traits, generator(seed, "world", "users"))
    log_popularity = -world.popularity * np.log1p(
        generator(seed, "world", "popularity").permutation(world.items)
    )
    rng = generator(seed, "world", "arrivals")
    arrival = np.where(
        rng.random(world.items) < world.catalogue_at_start, 0.0, rng.uniform(0, world.days, world.items)
    )
    joined = rng.uniform(0, world.joining * world.days, world.users)
    count = _activity(world, generator(seed, "world", "activity"))
    user, item, day = _choices(
        world, taste, traits, log_popularity, arrival, joined, count, generator(seed, "world", "choices")
    )
    log = Interactions.of(
        user,
        item,
        n_users=world.users,
        n_items=world.items,
        time=START + np.floor(day * DAY).astype(np.int64),
    )
    rng = generator(seed, "world", "columns")
    price = np.round(
        np.exp(rng.normal(2.5, 0.5, world.categories)[category] + rng.normal(0, 0.5, world.items)), 2
    )
    country = rng.choice(len(COUNTRIES), size=world.users, p=COUNTRY_SHARES)
    modalities = {
        name: _rendering(world, name, traits, generator(seed, "world", "modality", name))
        for name in world.modalities
    }
    dataset = Dataset(
        name=f"world (seed {seed})",
        interactions=log,
        given=np.full(len(log), -1, dtype=np.int8),
        clock="real",
        users=_ids("u", world.users),
        items=_ids("i", world.items),
        modalities=modalities,
        item_columns={"category": _codes(category), "price": price.astype(np.float32)},
        user_columns={"country": _codes(country)},
        notes=("a simulated world: what holds here holds by construction",),
        source=f"world seed {seed}",
    )
    return Generated(
        dataset=dataset,
        items={"category": _ids("c", world.categories)[category], "price": price, "arrival_day": arrival},
        users={"country": np.asarray(COUNTRIES)[country], "joined_day": joined},
        taste=taste,
        traits=traits,
        log_popularity=log_popularity,
    )


def _ids(letter: str, count: int) -> NDArray[np.str_]:
    width = len(str(count - 1))
    return np.asarray([f"{letter}{number:0{width}d}" for number in range(count)])


def _codes(groups: Int64) -> Float32:
    """Return groups as codes by falling frequency, as columns of text are coded."""
    count = np.bincount(groups)
    place = np.empty(len(count), dtype=np.float32)
    place[np.lexsort((np.arange(len(count)), -count))] = np.arange(len(count))
    return place[groups]


def _traits(world: World, rng: np.random.Generator) -> tuple[Int64, Float64, Float64]:
    """Return categories [I], their centres, and the items' factors [I, factors] of unit variance."""
    share = rng.dirichlet(np.full(world.categories, 2.0))
    category = rng.choice(world.categories, size=world.items, p=share)
    centres = rng.standard_normal((world.categories, world.factors))
    own = rng.standard_normal((world.items, world.factors))
    traits = np.sqrt(world.category_share) * centres[category] + np.sqrt(1 - world.category_share) * own
    traits -= traits.mean(axis=0)
    return category, centres, traits / traits.std(axis=0)


def _taste(world: World, centres: Float64, traits: Float64, rng: np.random.Generator) -> Float64:
    """Return the users' directions [U, factors], scaled to matches of unit variance over the items."""
    favourites = rng.integers(0, world.categories, size=(world.users, FAVOURITES))
    weight = rng.dirichlet(np.ones(FAVOURITES), size=world.users)
    shared = np.einsum("uf,ufd->ud", weight, centres[favourites])
    shared /= np.linalg.norm(shared, axis=1, keepdims=True)
    own = rng.standard_normal((world.users, world.factors))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    taste = np.sqrt(1 - OWN_TASTE) * shared + np.sqrt(OWN_TASTE) * own
    scale: Float64 = taste / (taste @ traits.T).std(axis=1, keepdims=True)
    return scale


def _activity(world: World, rng: np.random.Generator) -> Int64:
    """Return the events of every user: lognormal with the asked mean, cut below."""
    mean = np.log(world.activity) - world.activity_spread**2 / 2
    count = np.exp(rng.normal(mean, world.activity_spread, world.users))
    limit = world.items // 2
    if world.fewest > limit:
        raise ConfigError(f"fewest = {world.fewest} of {world.items} items: allowed at most half of them")
    return np.clip(np.rint(count), world.fewest, limit).astype(np.int64)


def _choices(
    world: World,
    taste: Float64,
    traits: Float64,
    log_popularity: Float64,
    arrival: Float64,
    joined: Float64,
    count: Int64,
    rng: np.random.Generator,
) -> tuple[Int64, Int64, Float64]:
    """Return user, item and day of every event.

    A pair's clock rings ``wait / (pace * exp(utility))`` days after both are there. The pace of a user is set
    between the waits of the last event and of the first one past the end, so that ``count`` events happen.
    """
    users, items, days = [], [], []
    for start in range(0, world.users, BLOCK):
        rows = np.arange(start, min(start + BLOCK, world.users))
        began = np.maximum(arrival, joined[rows, None])
        utility = world.focus * (taste[rows] @ traits.T) + log_popularity
        wait = np.log(rng.standard_exponential((len(rows), world.items))) - utility
        key = wait - np.log(world.days - began)  # log of the pace at which the clock rings at the very end
        most = int(count[rows].max())
        ends = np.sort(np.partition(key, most, axis=1)[:, : most + 1], axis=1)
        picked = np.arange(len(rows))
        pace = (ends[picked, count[rows] - 1] + ends[picked, count[rows]]) / 2
        row, item = np.nonzero(key < pace[:, None])
        users.append(rows[row])
        items.append(item)
        days.append(began[row, item] + np.exp(wait[row, item] - pace[row]))
    return np.concatenate(users), np.concatenate(items), np.concatenate(days)


def _rendering(world: World, name: str, traits: Float64, rng: np.random.Generator) -> ModalityTable:
    """Return a modality: the factors it shows, blurred, turned into its own directions, among nuisance."""
    said = world.modalities[name]
    width, factors = int(said["width"]), world.factors
    if width < factors:
        raise ConfigError(f"modalities.{name}.width = {width}: allowed {factors} (the factors) and more")
    spread = np.linalg.cholesky(np.cov(traits, rowvar=False).reshape(factors, factors))
    blur = rng.standard_normal(traits.shape) @ spread.T  # of the traits' covariance, so no reader can undo it
    shown = np.sqrt(said["signal"]) * traits + np.sqrt(1 - said["signal"]) * blur
    directions = np.linalg.qr(rng.standard_normal((width, width)))[0]
    vectors = np.sqrt((1 - NUISANCE) / factors) * (shown @ directions[:, :factors].T)
    if width > factors:
        other = rng.standard_normal((world.items, width - factors))
        vectors += np.sqrt(NUISANCE / (width - factors)) * (other @ directions[:, factors:].T)
    mean = rng.standard_normal(width)
    vectors += OFFSET * mean / np.linalg.norm(mean)
    values = vectors.astype(np.float32)
    missing = rng.permutation(world.items)[: round(said["missing"] * world.items)]
    values[missing] = 0
    return ModalityTable.of(name, values)
