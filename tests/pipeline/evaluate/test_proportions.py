"""Wilson's interval against its defining equation and a second implementation."""

import math

import pytest
from scipy.stats import binomtest

from stagelens.pipeline.evaluate.proportions import wilson


@pytest.mark.parametrize(("count", "n"), [(0, 10), (1, 10), (3, 30), (50, 1000), (10, 10)])
def test_it_is_scipys(count, n):
    known = binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((known.low, known.high), abs=1e-12)


def test_its_ends_are_the_shares_that_the_score_test_just_refuses():
    for end in wilson(7, 40):
        assert abs(7 / 40 - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / 40))


def test_ends():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    for count in (-1, 6):
        with pytest.raises(ValueError, match="of 5"):
            wilson(count, 5)
