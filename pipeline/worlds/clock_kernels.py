"""The hot loops of the pairs' clocks (numba; imported only inside functions)."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

CLOSE = 1e-6
"""Newton's method ends where a user's expected events are met to this share."""
STEPS = 60
"""Steps of Newton's method at most; five are usual."""


@njit(cache=True, nogil=True)
def _accepts(u: int, i: int, taste: Any, traits: Any, focus: float, saturation: float) -> float:
    """Return the chance that taste does not stand against an examined item."""
    match = 0.0
    for f in range(traits.shape[1]):
        match += taste[u, f] * traits[i, f]
    if match >= saturation:
        return 1.0
    return float(np.exp(focus * (match - saturation)))


@njit(cache=True, nogil=True)
def _sort(time: Any, item: Any, first: int, stop: int) -> None:
    """Put a stretch in the order of time, in place: Shell's sort with gaps by Ciura."""
    for gap in (1750, 701, 301, 132, 57, 23, 10, 4, 1):
        for place in range(first + gap, stop):
            moment, code = time[place], item[place]
            at = place
            while at >= first + gap and time[at - gap] > moment:
                time[at], item[at] = time[at - gap], item[at - gap]
                at -= gap
            time[at], item[at] = moment, code


@njit(cache=True, nogil=True)
def paces(
    first: int,
    stop: int,
    taste: Any,
    traits: Any,
    weight: Any,
    stands_for: Any,
    arrival: Any,
    joined: Any,
    wanted: Any,
    end: float,
    focus: float,
    saturation: float,
    pace: Any,
) -> None:
    """Set the pace of users ``first`` to ``stop`` so that they take ``wanted`` items by ``end`` on average.

    The expected number is concave in the pace and below its tangent at 0, so Newton's method from there climbs
    to the root and never passes it. NaN where floating point does not get there: all but a few rates are 0.
    """
    panel = traits.shape[0]
    reach = np.empty(panel)
    for u in range(first, stop):
        total = 0.0
        for i in range(panel):
            there = end - max(arrival[i], joined[u])
            reach[i] = weight[i] * there * _accepts(u, i, taste, traits, focus, saturation)
            total += stands_for[i] * reach[i]
        pace[u] = np.nan
        if not total > 0.0:
            continue
        value = wanted[u] / total
        for _ in range(STEPS):
            expected, slope = 0.0, 0.0
            for i in range(panel):
                left = np.exp(-value * reach[i])
                expected += stands_for[i] * (1.0 - left)
                slope += stands_for[i] * reach[i] * left
            if expected >= wanted[u] * (1.0 - CLOSE):
                pace[u] = value
                break
            if not slope > 0.0:
                break
            value += (wanted[u] - expected) / slope


@njit(cache=True, nogil=True)
def ring(
    rng: Any,
    first: int,
    stop: int,
    begin: float,
    end: float,
    taste: Any,
    traits: Any,
    arrival: Any,
    joined: Any,
    rate: Any,
    weight: Any,
    cumulated: Any,
    guide: Any,
    focus: float,
    saturation: float,
    taken_indptr: Any,
    taken_items: Any,
    count: Any,
    item: Any,
    time: Any,
) -> int:
    """Write what users ``first`` to ``stop`` take from ``begin`` to ``end``, in order; return how many there are.

    A user's examinations come at ``rate`` and fall on items by their share ``weight``, found from ``cumulated`` and
    ``guide``; each is thinned by taste. Where a user would examine more often than there are items, every item's
    clock is read instead: the law is the same. Events beyond the room of ``item`` are counted and not written.
    """
    items, room = traits.shape[0], len(item)
    held = np.full(items, -1, dtype=np.int32)
    written = 0
    for u in range(first, stop):
        for place in range(taken_indptr[u], taken_indptr[u + 1]):
            held[taken_items[place]] = u
        before = written
        now = max(begin, joined[u])
        if rate[u] * (end - now) > items:
            for i in range(items):
                if held[i] == u:
                    continue
                pair = rate[u] * weight[i] * _accepts(u, i, taste, traits, focus, saturation)
                waiting = rng.standard_exponential()
                if not pair > 0.0:
                    continue
                moment = max(now, arrival[i]) + waiting / pair
                if moment < end:
                    if written < room:
                        item[written], time[written] = i, moment
                    written += 1
            if written <= room:
                _sort(time, item, before, written)
        else:
            while True:
                now += rng.standard_exponential() / rate[u]
                if now >= end:
                    break
                draw = rng.random()
                i = guide[int(draw * items)]
                while cumulated[i] <= draw:
                    i += 1
                if arrival[i] > now or held[i] == u:
                    continue
                if rng.random() < _accepts(u, i, taste, traits, focus, saturation):
                    held[i] = u
                    if written < room:
                        item[written], time[written] = i, now
                    written += 1
        count[u - first] = written - before
    return written
