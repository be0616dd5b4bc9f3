"""Instruments broken on purpose: the certificate has to find them out."""

from __future__ import annotations

import numpy as np

from stagelens.pipeline.certify.laboratory import Laboratory
from stagelens.pipeline.core import Float64, Int32, Interactions, Lists
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.significance import Judgement, Paired, judge
from stagelens.pipeline.evaluate.truth import Truth


def unpaired(lab: Laboratory, log: Interactions, baseline: Int32, system: Int32, metric: str) -> Judgement:
    """Judge two systems as if each had been measured on users and items of its own.

    The log is laid out twice, under other names of users and items; the baseline counts in the first half, the
    system in the second, each around its own mean. The difference of the means stays; what the halves share is no
    longer seen.

    Args:
        lab: The world.
        log: Where the systems are measured.
        baseline: int32 [P] ranks of all the laboratory's pairs.
        system: int32 [P] ranks.
        metric: Primary metric.
    """
    truth = Truth.of(log)
    places = lab.fresh.places(truth)
    sides = [contributions(ranks[places], truth, metric) for ranks in (baseline, system)]
    even = 1.0 / truth.count[truth.pair_row]  # a user's weight, spread over the user's pairs
    means = [float(side.sum()) / len(truth) for side in sides]
    around = [2 * (side - mean * even) for side, mean in zip(sides, means, strict=True)]
    gap = (means[1] - means[0]) * even
    values: Float64 = np.concatenate([gap - around[0], gap + around[1]])
    measure = lab.study.measure
    [one] = judge([Paired(values[None], 0.0)], twice(truth), alpha=measure.alpha, draws=measure.draws)
    return one


def twice(truth: Truth) -> Truth:
    """Return a truth beside itself, under other names of users and items."""
    users, items = int(truth.user.max()) + 1, int(truth.pair_item.max()) + 1
    pointers = np.concatenate([truth.relevant.indptr, truth.pairs + truth.relevant.indptr[1:]])
    names = np.concatenate([truth.pair_item, truth.pair_item + items]).astype(np.int32)
    user = np.concatenate([truth.user, truth.user + users]).astype(np.int32)
    return Truth(user, Lists(pointers, names), np.concatenate([truth.value, truth.value]))
