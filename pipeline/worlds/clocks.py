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
        return cls(preference, exposure, arrival, joined, pace, end, seed)

    def ring(self, *path: str | int, begin: float, end: float, taken: Lists | None = None) -> Interactions:
        """Return the events from ``begin`` to ``end``, with the times in seconds since the world began.

        Args:
            path: Names the random streams.
            begin: Start of the span.
            end: End of the span, exclusive.
            taken: What every user took before; these pairs never come again.
        """
        weight = self.preference.appeal * self.exposure
        proposals = _Proposals.of(weight, self.pace)
        n_users = len(self.pace)
        before = taken or Lists(np.zeros(n_users + 1, np.int64), np.empty(0, np.int32))
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
        return Interactions(user, items, times, np.ones(len(user), np.float32), n_users, len(weight))

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
                *(rng(), first, stop, begin, end, likes.taste, likes.traits, self.arrival, self.joined),
                *(proposals.rate, proposals.share, proposals.cumulated, proposals.guide),
                *(likes.focus, likes.saturation),
                *(taken.indptr, taken.items, count, item, time),
            )
            if written <= room:
                return count, item[:written].copy(), time[:written].astype(np.int64)
            room = written  # the same stream again, with room for all of it


@dataclass(frozen=True, slots=True, eq=False)
class _Proposals:
    """Where examinations fall: a table that finds an item by its weight in about one step.

    Attributes:
        rate: float64 [U], proposals a second.
        share: float64 [I], of an item.
        cumulated: float64 [I], the items' shares added up; the last is 1.
        guide: int32 [I]: the item at each I-th part of the whole.
    """

    rate: Float64
    share: Float64
    cumulated: Float64
    guide: Int32

    @classmethod
    def of(cls, weight: Float64, pace: Float64) -> _Proposals:
        total = weight.sum()
        cumulated = np.cumsum(weight / total)
        cumulated[-1] = 1.0
        parts = np.arange(len(weight)) / len(weight)
        guide = np.searchsorted(cumulated, parts, side="right").astype(np.int32)
        return cls(pace * total, weight / total, cumulated, guide)


def _panel(weight: Float64, rng: np.random.Generator) -> tuple[Int64, Float64]:
    """Return items [P] that represent all, and how many each stands for: systematic sampling, half by weight."""
    if len(weight) <= PANEL:
        return np.arange(len(weight)), np.ones(len(weight))
    size = (weight / weight.mean() + 1) / 2
    chance = np.minimum(size * PANEL / len(weight), 1.0)
    panel = np.flatnonzero(np.diff(np.floor(np.cumsum(chance) + rng.random()), prepend=0.0) > 0)
    return panel, 1 / chance[panel]
