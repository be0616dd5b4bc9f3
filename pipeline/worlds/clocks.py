"""When a user takes an item: one memoryless clock for every pair, sampled without visiting the pairs.

A user examines an item at Poisson times, at the rate ``pace`` times the item's ``exposure``, from the moment both
are there, and takes it with the pair's relevance; a taken item never comes again. So the pair's waiting time is
exponential with rate ``pace * exposure * relevance`` and independent of all other pairs: what was taken before says
nothing about when the rest will be, and a fresh log of any span has the law of the log itself.

Examinations are proposed from the items' weights, appeal times exposure, and accepted by taste: thinning, in time
that grows with the events and not with users times items.

References:
    Lewis & Shedler 1979, doi:10.1002/nav.3800260304 (thinning); Chen & Asau 1974, doi:10.1080/05695557408974949 (the
    guide table that finds an item by its weight).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Float64, Int32, Int64, Interactions, Lists
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.threads import over_rows
from stagelens.pipeline.worlds.preference import Preference

USERS = 1024
"""Users of one random stream: part of the law, so that threads cannot change a world."""
PANEL = 1024
"""Items by which a user's pace is set; all of them where there are no more."""
STEPS_OF_A_USER = 20_000.0
ROOM = 64
"""Events of a user that a block has room for at first."""


@dataclass(frozen=True, slots=True, eq=False)
class Clocks:
    """The clocks of all pairs. Times are seconds since the world began.

    Attributes:
        preference: Who likes what.
        exposure: float64 [I], mean 1: how often an item is examined, against others.
        arrival: float64 [I]: when an item is there.
        joined: float64 [U]: when a user is there.
        pace: float64 [U]: examinations a second of an item of exposure 1.
        end: When the world ends.
        seed: Of the world.
    """

    preference: Preference
    exposure: Float64
    arrival: Float64
    joined: Float64
    pace: Float64
    end: float
    seed: int

    @classmethod
    def of(
        cls,
        preference: Preference,
        exposure: Float64,
        arrival: Float64,
        joined: Float64,
        *,
        events: Float64,
        end: float,
        seed: int,
    ) -> Clocks:
        """Set every user's pace so that the mean number of events until the end is ``events`` [U].

        Catalogues above ``PANEL`` items are represented by a sample of them, so the mean is met up to a few per
        cent; the pace itself is a fixed number of the world and the clocks stay exact.

        Raises:
            ConfigError: No pace makes so many events: nearly all pairs have a relevance of 0 to a computer.
        """
        from stagelens.pipeline.worlds.clock_kernels import paces

        weight = preference.appeal * exposure
        panel, stands_for = _panel(weight, generator(seed, "world", "panel"))
        pace = np.empty(len(joined))
        sides = (np.ascontiguousarray(preference.traits[panel]), weight[panel], stands_for, arrival[panel])

        def work(first: int, stop: int) -> None:
            scale = (end, preference.focus, preference.saturation, pace)
            paces(first, stop, preference.taste, *sides, joined, events, *scale)

        over_rows(len(pace), work, steps=STEPS_OF_A_USER)
        lost = np.flatnonzero(~np.isfinite(pace))
        if len(lost):
            raise ConfigError(
                f"focus = {preference.focus:g}, popularity or the policy are too sharp: a user who is to take "
                f"{events[lost[0]]:.3g} items meets too few whose relevance is above 0 to a computer ({len(lost)} of "
                f"{len(pace)} users). Lower focus, popularity, skew or position, or activity"
            )
        return cls(preference, exposure, arrival, joined, pace, end, seed)

    def ring(self, *path: str | int, begin: float, end: float, taken: Lists | None = None) -> Interactions:
        """Return the events from ``begin`` to ``end``, with the times in seconds since the world began.

        Args:
            path: Names the random streams.
            begin: Start of the span.
            end: End of the span, exclusive.
            taken: What every user took before; these pairs never come again.
        """
        n_users, n_items = len(self.pace), len(self.arrival)
        proposals = _Proposals.of(self)
        before = Lists(np.zeros(n_users + 1, np.int64), np.empty(0, np.int32))
        if taken is not None:
            place = np.empty(n_items, dtype=np.int32)
            place[proposals.order] = np.arange(n_items, dtype=np.int32)
            before = Lists(taken.indptr, place[taken.items])
        blocks: dict[int, tuple[Int64, Int32, Int64]] = {}

        def work(first: int, stop: int) -> None:
            for block in range(first, stop):
                rng = functools.partial(generator, self.seed, "world", *path, block)
                blocks[block] = self._block(block * USERS, rng, proposals, before, begin, end)

        over_rows(-(-n_users // USERS), work, steps=STEPS_OF_A_USER * USERS)
        counts, items, times = (
            np.concatenate(part) for part in zip(*(blocks[block] for block in sorted(blocks)), strict=True)
        )
        user = np.repeat(np.arange(n_users, dtype=np.int32), counts)
        return Interactions(user, items, times, np.ones(len(user), np.float32), n_users, n_items)

    def _block(
        self,
        first: int,
        rng: Callable[[], np.random.Generator],
        proposals: _Proposals,
        taken: Lists,
        begin: float,
        end: float,
    ) -> tuple[Int64, Int32, Int64]:
        """Return events per user, items and times of one block of users."""
        from stagelens.pipeline.worlds.clock_kernels import ring

        stop = min(first + USERS, len(self.pace))
        count = np.empty(stop - first, dtype=np.int64)
        likes = self.preference
        room = ROOM * (stop - first)
        while True:
            item, time = np.empty(room, dtype=np.int32), np.empty(room)
            written = ring(
                *(rng(), first, stop, begin, end, likes.taste, proposals.traits, proposals.arrival),
                *(self.joined, proposals.rate, proposals.share, proposals.cumulated, proposals.guide),
                *(likes.focus, likes.saturation, taken.indptr, taken.items, count, item, time),
            )
            if written <= room:
                return count, proposals.order[item[:written]], time[:written].astype(np.int64)
            room = written  # the same stream again, with room for all of it


@dataclass(frozen=True, slots=True, eq=False)
class _Proposals:
    """Where examinations fall: a table that finds an item by its weight in about one step.

    Items stand by falling weight, so that those that are asked for most lie together in memory.

    Attributes:
        order: int32 [I]: the items.
        traits: float64 [I, factors], in this order.
        arrival: float64 [I], likewise.
        share: float64 [I], of all proposals.
        cumulated: float64 [I], the shares added up; the last is 1.
        guide: int32 [I]: the place at each I-th part of the whole.
        rate: float64 [U], proposals a second.
    """

    order: Int32
    traits: Float64
    arrival: Float64
    share: Float64
    cumulated: Float64
    guide: Int32
    rate: Float64

    @classmethod
    def of(cls, clocks: Clocks) -> _Proposals:
        weight = clocks.preference.appeal * clocks.exposure
        order = np.argsort(-weight, kind="stable").astype(np.int32)
        total = float(weight.sum())
        share = weight[order] / total
        cumulated = np.minimum(np.cumsum(share), 1.0)
        cumulated[-1] = 1.0
        parts = np.arange(len(order)) / len(order)
        guide = np.searchsorted(cumulated, parts, side="right").astype(np.int32)
        sides = (clocks.preference.traits[order], clocks.arrival[order])
        return cls(order, *sides, share, cumulated, guide, clocks.pace * total)


def _panel(weight: Float64, rng: np.random.Generator) -> tuple[Int64, Float64]:
    """Return items [P] that represent all, and how many each stands for: systematic sampling, half by weight."""
    if len(weight) <= PANEL:
        return np.arange(len(weight)), np.ones(len(weight))
    size = (weight / weight.mean() + 1) / 2
    chance = np.minimum(size * PANEL / len(weight), 1.0)
    panel = np.flatnonzero(np.diff(np.floor(np.cumsum(chance) + rng.random()), prepend=0.0) > 0)
    return panel, 1 / chance[panel]
