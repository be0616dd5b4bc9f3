"""What a comparison could see with another number of users: its error, taken apart by pilots and put together anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import stdtr, stdtrit

from stagelens.pipeline.evaluate.clusters import two_way_df
from stagelens.pipeline.evaluate.power import detectable, skewness_of
from stagelens.pipeline.evaluate.significance import Sources

MOST_USERS = 1e12
"""Beyond this, no number of users is enough."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What makes a difference uncertain, free of the number of users and seeds it was measured with.

    Attributes:
        user: Variance of one user's difference: falls as 1/n.
        item: Variance owed to items that users share: stays.
        item_se: What ``item`` shows by chance where nothing is owed to items.
        seed: Variance of one training's mean that all users share: falls with seeds alone.
        seed_user: Variance of what one training does to one user: falls with seeds and users.
        items: Effective number of items.
        third_user: Third central moment of one user's difference: falls as 1/n^2.
        third_item: What items add to it: stays.
    """

    user: float
    item: float
    item_se: float
    seed: float
    seed_user: float
    items: float
    third_user: float = 0.0
    third_item: float = 0.0

    @classmethod
    def of(cls, sources: Sources, *, users: int, seeds: int) -> Noise:
        """Read what the variance of a judged difference comes from."""
        return cls(
            sources.users * users,
            sources.items,
            sources.items_se,
            (sources.seeds - sources.seeds_users) * seeds,
            sources.seeds_users * users * seeds,
            sources.effective_items,
            sources.third_users * users**2,
            sources.third_items,
        )

    def scaled(self, factor: float) -> Noise:
        """Return the noise of differences whose squares are ``factor`` times these."""
        squares, cubes = ("user", "item", "item_se", "seed", "seed_user"), ("third_user", "third_item")
        parts = {name: factor * getattr(self, name) for name in squares}
        return replace(self, **parts, **{name: factor**1.5 * getattr(self, name) for name in cubes})


def levelled(parts: Sequence[Noise]) -> list[Noise]:
    """Return the same with what the items and trainings owe set to the group's: one share of the users' part.

    Twenty items can carry most of the item part, and three seeds give it two degrees of freedom: alone it is hardly
    known. Comparisons of one kind at one stage owe items and trainings about the same share. Of the item part counts
    what stands out of chance, (1 - (se / item)^2) of it, because in a study with many more users than the pilot even
    chance would weigh (James & Stein 1961, positive part, with members taken as fully dependent).
    """
    user = math.fsum(part.user for part in parts)
    if not user > 0:
        return list(parts)
    item, chance = math.fsum(part.item for part in parts), math.fsum(part.item_se for part in parts)
    item = item * (1 - (chance / item) ** 2) / user if item > chance else 0.0
    seed = max(0.0, math.fsum(part.seed for part in parts)) / user
    return [
        replace(part, item=item * part.user, item_se=chance / user * part.user, seed=seed * part.user)
        for part in parts
    ]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one comparison could see.

    Attributes:
        noise: Of its difference.
        level: Two-sided p below which the simultaneous interval excludes 0.
        seeds: Trainings that are averaged; with one, the statement is about these fitted systems.
    """

    noise: Noise
    level: float
    seeds: int

    def parts(self, users: float) -> tuple[float, float, float]:
        """Return the parts of the variance with so many users: users, items, seeds."""
        noise = self.noise
        seeds = 0.0
        if self.seeds > 1:
            seeds = (max(0.0, noise.seed) + noise.seed_user / users) / self.seeds
        return noise.user / users, max(0.0, noise.item), seeds

    def detectable(self, users: float) -> float:
        """Return the true gain found with 80 % power by so many users; NaN where nothing varies."""
        if not self.noise.user > 0:
            return math.nan
        user, item, seed = self.parts(users)
        df = two_way_df(user, item, users, self.noise.items)
        if seed > 0:
            df = (user + item + seed) ** 2 / ((user + item) ** 2 / df + seed**2 / (self.seeds - 1))
        se = math.sqrt(user + item + seed)
        skewness = skewness_of(self.noise.third_user / users**2, self.noise.third_item, item, se)
        return detectable(se, df, -float(stdtrit(df, self.level / 2)), skewness=skewness)

    def shifted(self, deviations: float) -> Outlook:
        """Return the outlook with the item part so many of its standard deviations higher, or lower."""
        item = max(0.0, self.noise.item + deviations * self.noise.item_se)
        return replace(self, noise=replace(self.noise, item=item))

    @property
    def limit(self) -> float:
        """Smallest difference that any number of users could see: 0 where nothing but users is behind the error."""
        return self.detectable(MOST_USERS)

    def users_for(self, effect: float) -> float:
        """Return the users needed to see an effect with 80 % power; infinity where no number is enough."""
        low, high = 2.0, MOST_USERS
        if not self.noise.user > 0 or self.detectable(low) <= effect:
            return low if self.noise.user > 0 else math.nan
        if self.detectable(high) > effect:
            return math.inf
        while high > low * 1.0005:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self.detectable(middle) <= effect else (middle, high)
        return math.ceil(high)


def level_of(half_width: float, se: float, df: float) -> float:
    """Return the two-sided p at which a simultaneous interval of this half-width begins to exclude 0."""
    return float(2 * stdtr(df, -half_width / se))
