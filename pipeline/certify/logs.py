"""Fresh logs of a world's test span, many and quickly: the law of ``Generated.fresh``, from its chances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stagelens.pipeline.core import Float64, Interactions, Split
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.worlds.evened import evened
from stagelens.pipeline.worlds.generate import Generated


@dataclass(frozen=True, slots=True, eq=False)
class Logs:
    """What chance every pair has to be in a log of the test span, given what was taken before.

    Pairs are independent, so a log is one coin a pair. In a small world all coins of a log are tossed in less time
    than a sampler takes that avoids the rare ones.

    Attributes:
        chance: float64 [U, I]; 0 where the pair was taken before.
        start: First second of the span.
        seed: Of the world.
        name: Which policy; part of the seed.
    """

    chance: Float64
    start: int
    seed: int
    name: str = "policy"

    @classmethod
    def of(cls, made: Generated, split: Split) -> Logs:
        """Return the logs of the world's own policy after its split's last cut."""
        start = int(split.test.time.min())
        users, items = np.arange(made.dataset.n_users), np.arange(made.dataset.n_items)
        chance = made.chance(users[:, None], items[None, :], start=start)
        for window in (split.train, split.valid):
            chance[window.user, window.item] = 0.0
        return cls(chance, start, made.clocks.seed)

    @classmethod
    def even(cls, made: Generated, split: Split) -> Logs:
        """Return logs in which all items are examined alike, with as many events of every user as the policy has."""
        start, taken = int(split.test.time.min()), split.train.merged(split.valid)
        return replace(cls.of(evened(made, start, taken), split), name="even")

    def draw(self, number: int) -> Interactions:
        """Return one log; numbers are independent. Its events carry no time within the span."""
        rng = generator(self.seed, "certify", self.name, number)
        users, items = self.chance.shape
        user, item = np.nonzero(rng.random(self.chance.shape) < self.chance)
        return Interactions.of(user, item, n_users=users, n_items=items)
