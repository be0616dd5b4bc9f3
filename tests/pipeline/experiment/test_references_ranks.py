"""Mean ranks and their correlation with the published ones, against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from stagelens.pipeline.experiment.references_options import SYSTEMS
from stagelens.pipeline.experiment.references_ranks import (
    PUBLISHED,
    Standing,
    agreement,
    ranks,
    spearman,
    standings,
)

VALUES = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12)


@given(VALUES)
def test_ranks_are_scipys(values):
    assert ranks(values).tolist() == scipy.stats.rankdata(-np.array(values)).tolist()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_the_correlation_is_scipys(pairs):
    first, second = (np.array(side, float) for side in zip(*pairs, strict=True))
    ours = spearman(first.tolist(), second.tolist())
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-12)


def test_fewer_than_three_pairs_have_no_correlation():
    assert math.isnan(spearman([1.0, 2.0], [1.0, 2.0]))
    with pytest.raises(ValueError, match="3 values against 2"):
        spearman([1.0, 2.0, 3.0], [1.0, 2.0])


def test_standings_average_over_cells_and_skip_what_is_not_there():
    cells = [{"a": 0.3, "b": 0.2, "c": 0.1}, {"a": 0.1, "b": 0.1, "c": 0.4}, {"a": 0.2, "b": None}]
    assert standings(cells) == [
        Standing("a", (1 + 2.5 + 1) / 3, 1.0, 2.5, 3),
        Standing("c", 2.0, 1.0, 3.0, 2),
        Standing("b", 2.25, 2.0, 2.5, 2),
    ]


def test_the_published_order_is_that_of_the_systems():
    assert [name for name, _ in SYSTEMS] == sorted(PUBLISHED, key=lambda name: PUBLISHED[name])
    made = [Standing(name, value / 2, 1, 20, 1) for name, value in PUBLISHED.items()]
    assert agreement([*made, Standing("ours", 1.0, 1, 1, 1)]) == (pytest.approx(1.0), 13)
    turned = [Standing(name, -value, 1, 20, 1) for name, value in PUBLISHED.items()]
    assert agreement(turned) == (pytest.approx(-1.0), 13)
