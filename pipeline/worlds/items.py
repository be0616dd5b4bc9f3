"""Items and users in the space of preference factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stagelens.pipeline.core import Float64, Int64

if TYPE_CHECKING:
    from stagelens.pipeline.worlds.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What users may like in items: layers of equal factors, each of unit variance over the items.

    The first two layers are what content can show; over the items every factor of ``between`` is uncorrelated with
    every other, and with all of ``within``, so that a linear reader of some cannot guess the rest.

    Attributes:
        category: int64 [I].
        between: float64 [categories, visible]: the part that a category's items share.
        within: float64 [I, visible]: the part of an item's own.
        hidden: float64 [I, hidden]: what no content shows; it knows no categories.
        share: Share of the visible variance that lies between categories.
    """

    category: Int64
    between: Float64
    within: Float64
    hidden: Float64
    share: float

    @classmethod
    def of(cls, world: World, rng: np.random.Generator) -> Items:
        """Draw the items of a world."""
        share = rng.dirichlet(np.full(world.categories, world.evenness))
        pair = np.repeat(np.arange(world.categories), 2)  # every category has at least two items
        rest = rng.choice(world.categories, size=world.items - len(pair), p=share)
        category = rng.permutation(np.concatenate([pair, rest]))
        between = rng.standard_normal((world.categories, world.visible))
        within = rng.standard_normal((world.items, world.visible))
        if world.category_share:
            between = _uncorrelated(between, np.bincount(category) / world.items)
            within -= _means(within, category)
        return cls(
            category,
            between,
            _standardised(within),
            _standardised(rng.standard_normal((world.items, world.factors - world.visible))),
            world.category_share,
        )

    @property
    def traits(self) -> Float64:
        """float64 [I, factors]: visible, then hidden factors."""
        visible = np.sqrt(self.share) * self.between[self.category] + np.sqrt(1 - self.share) * self.within
        return np.hstack([visible, self.hidden])


def tastes(world: World, items: Items, rng: np.random.Generator) -> Float64:
    """Return the users' directions [U, factors]: their match with the items has unit variance for every user.

    ``1 - unseen`` of that variance is of visible factors, centred on a few favourite categories.
    """
    traits = items.traits
    visible = world.visible
    favourites = rng.integers(0, world.categories, size=(world.users, world.favourites))
    weight = rng.dirichlet(np.ones(world.favourites), size=world.users)
    shared = np.einsum("uf,ufd->ud", weight, items.between[favourites])
    shared /= np.linalg.norm(shared, axis=1, keepdims=True)
    own = rng.standard_normal((world.users, visible))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    seen = np.sqrt(1 - world.own_taste) * shared + np.sqrt(world.own_taste) * own
    unseen = rng.standard_normal((world.users, world.factors - visible))
    taste = np.hstack(
        [
            np.sqrt(1 - world.unseen) * _scaled(seen, traits[:, :visible]),
            np.sqrt(world.unseen) * _scaled(unseen, traits[:, visible:]),
        ]
    )
    return _scaled(taste, traits)


def _scaled(taste: Float64, traits: Float64) -> Float64:
    """Return directions whose match with the traits has unit variance over the items."""
    if not taste.shape[1]:
        return taste
    spread = np.cov(traits, rowvar=False, bias=True).reshape(traits.shape[1], traits.shape[1])
    variance = np.einsum("uf,fg,ug->u", taste, spread, taste, optimize=True)
    scaled: Float64 = taste / np.sqrt(variance)[:, None]
    return scaled


def _standardised(values: Float64) -> Float64:
    centred = values - values.mean(axis=0)
    standardised: Float64 = centred / centred.std(axis=0)
    return standardised


def _means(values: Float64, group: Int64) -> Float64:
    """Return each row's group mean."""
    sums = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(sums, group, values)
    means: Float64 = (sums / np.bincount(group)[:, None])[group]
    return means


def _uncorrelated(centres: Float64, share: Float64) -> Float64:
    """Return the centres turned so that over the items their factors are uncorrelated, of mean 0 and variance 1."""
    centred = centres - share @ centres
    root = np.linalg.cholesky((centred * share[:, None]).T @ centred)
    turned: Float64 = np.linalg.solve(root, centred.T).T
    return turned
