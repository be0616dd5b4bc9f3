"""Who likes what: the relevance of every pair, which no log and no exposure can change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float64


@dataclass(frozen=True, slots=True, eq=False)
class Preference:
    """Relevance: the chance that a user takes an item when the user examines it.

    ``appeal * min(1, exp(focus * (match - saturation)))``, where the match of a user's taste and an item's traits has
    mean 0 and unit variance over the items for every user.

    Attributes:
        taste: float64 [U, factors].
        traits: float64 [I, factors].
        appeal: float64 [I] in (0, 1], the most appealing item has 1.
        focus: How much a match counts.
        saturation: The match beyond which more of it changes nothing.
    """

    taste: Float64
    traits: Float64
    appeal: Float64
    focus: float
    saturation: float

    def match(self, user: NDArray[Any], item: NDArray[Any]) -> Float64:
        """Return float64: the match of users and items; index arrays that broadcast."""
        sides = (self.taste[np.asarray(user)], self.traits[np.asarray(item)])
        match: Float64 = np.einsum("...f,...f->...", *sides)
        return match

    def relevance(self, user: NDArray[Any], item: NDArray[Any]) -> Float64:
        """Return float64 in (0, 1]: the relevance of items to users; index arrays that broadcast."""
        short = np.minimum(self.match(user, item) - self.saturation, 0.0)
        relevance: Float64 = self.appeal[np.asarray(item)] * np.exp(self.focus * short)
        return relevance


def appeal_of(ranks: NDArray[np.integer[Any]], exponent: float) -> Float64:
    """Return float64 [I]: Zipf's law, ``(1 + rank) ** -exponent``."""
    appeal: Float64 = np.power(1.0 + ranks, -exponent, dtype=np.float64)
    return appeal


def uniform_exposure(items: int) -> Float64:
    """Return float64 [I]: every item is examined as often as any other."""
    return np.ones(items)


def slate_exposure(ranks: NDArray[np.integer[Any]], drawn: Float64, slate: int, position: float) -> Float64:
    """Return float64 [I], mean 1: how often an item is examined where slates are shown by popularity.

    The places of a slate are filled one by one from the whole catalogue and shown by falling popularity; the place
    p is examined with chance ``p ** -position``. An item stands at place 1 + B, where B of the other places hold more
    popular items and is binomial, so its examinations have the rate
    ``share * E[(1 + B) ** -position]``. A place filled by an item that is not there yet stays empty.

    Args:
        ranks: Places by falling popularity, 0 to I - 1, no ties.
        drawn: Weights by which places are filled.
        slate: Places.
        position: Exponent of attention.

    References:
        Richardson, Dominowska & Ragno 2007, doi:10.1145/1242572.1242643 (examination by position alone).
    """
    from scipy.special import gammaln, xlog1py, xlogy

    share = drawn / drawn.sum()
    ahead = np.empty_like(share)
    order = np.argsort(ranks)
    ahead[order] = np.minimum(np.cumsum(share[order]) - share[order], 1.0)
    seen = np.zeros_like(share)
    for others in range(slate):
        rest = slate - 1 - others
        ways = gammaln(slate) - gammaln(others + 1) - gammaln(rest + 1)  # as logs: their number overflows
        chance = np.exp(ways + xlogy(others, ahead) + xlog1py(rest, -ahead))
        seen += chance * (1.0 + others) ** -position
    rate: Float64 = share * seen
    return rate / float(rate.mean())
