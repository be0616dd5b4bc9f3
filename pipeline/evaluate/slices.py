"""Groups of users and of relevant items, so that no mean hides the sparse ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stagelens.pipeline.core import Bool, Float64, Int32, Int64
from stagelens.pipeline.evaluate.metrics import Metric, contributions
from stagelens.pipeline.evaluate.significance import interval
from stagelens.pipeline.evaluate.truth import Truth

USER_EDGES = (0, 5, 10, 15, 20)
ITEM_EDGES = (0, 1, 5, 10, 20, 50)


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Part of the held-out pairs.

    A slice of users holds all their pairs; a slice of items restricts what is relevant, and a user is in it
    who has at least one relevant item left.

    Attributes:
        name: ``user degree``, ``item degree`` or the modality's name.
        value: Such as ``5-9``, ``20+``, ``present`` or ``absent``.
        pairs: bool [P].
    """

    name: str
    value: str
    pairs: Bool


@dataclass(frozen=True, slots=True)
class SliceMetric:
    """One metric in one slice; None where there is nothing to compute it from.

    Attributes:
        slice: The slice's name.
        value: Its value.
        metric: Such as ``ndcg@10``.
        mean: Over the users with a relevant item in the slice.
        low: Lower end of its interval (two-way clustered t, not simultaneous).
        high: Upper end.
        n: These users.
    """

    slice: str
    value: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    n: int


def slices(
    truth: Truth,
    user_degree: Int64,
    item_degree: Int64,
    present: Mapping[str, Bool] | None = None,
) -> list[Slice]:
    """Return every slice, empty ones too.

    Args:
        truth: The held-out pairs.
        user_degree: int64 [U]: training interactions of each user.
        item_degree: int64 [I]: training interactions of each item; 0 is strict cold start.
        present: bool [I] by modality: which items have it.

    Example:
        >>> import numpy as np
        >>> from stagelens.pipeline.core import Interactions
        >>> truth = Truth.of(Interactions.of(np.array([0, 1]), np.array([0, 2]), n_users=2, n_items=3))
        >>> has = {"text": np.array([True, True, False])}
        >>> parts = slices(truth, np.array([4, 31]), np.array([0, 9, 50]), has)
        >>> [f"{part.name} {part.value}" for part in parts if part.pairs[0]]
        ['user degree 0-4', 'item degree 0', 'text present']
    """
    users = user_degree[truth.user][truth.pair_row]
    parts = _by_degree("user degree", users, USER_EDGES)
    parts += _by_degree("item degree", item_degree[truth.pair_item], ITEM_EDGES)
    for modality, has in (present or {}).items():
        inside = has[truth.pair_item]
        parts += [Slice(modality, "present", inside), Slice(modality, "absent", ~inside)]
    return parts


def slice_contributions(ranks: Int32, truth: Truth, name: str | Metric, part: Slice) -> Float64:
    """Return float64 [P]: contributions to the metric on the restricted truth, 0 outside the slice.

    Ranks are kept, the relevant items are those of the slice: R and the ideal order count them alone.
    Differences of these go into ``significance.Paired(..., inside=part.pairs)``.
    """
    out = np.zeros(truth.pairs, dtype=np.float64)
    out[part.pairs] = contributions(ranks[part.pairs], truth.where(part.pairs), name)
    return out


def slice_metric(
    ranks: Int32, truth: Truth, names: Sequence[str | Metric], part: Slice, alpha: float = 0.05
) -> list[SliceMetric]:
    """Return every metric in a slice, with n = 0 and no values where the slice is empty.

    Args:
        ranks: int32 [P], or [S, P] for S seeds.
        truth: The held-out pairs.
        names: Metrics.
        part: The slice.
        alpha: 1 minus the coverage of the intervals.
    """
    restricted = truth.where(part.pairs)
    kept = np.atleast_2d(ranks)[:, part.pairs]
    found = []
    for name in names:
        values = np.stack([contributions(row, restricted, name) for row in kept])
        mean, low, high, n = interval(values, restricted, alpha)
        found.append(
            SliceMetric(part.name, part.value, str(name), _known(mean), _known(low), _known(high), n)
        )
    return found


def _by_degree(name: str, degree: Int64, edges: tuple[int, ...]) -> list[Slice]:
    place = np.searchsorted(edges, degree, side="right") - 1
    values = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in itertools.pairwise(edges)]
    return [Slice(name, value, place == j) for j, value in enumerate([*values, f"{edges[-1]}+"])]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
