"""Numbers and verdicts as people read them."""

from __future__ import annotations

import math

import pytest

from stagelens.pipeline.report import figures


@pytest.mark.parametrize("value", [None, math.nan, math.inf, True, "0.3"])
def test_what_is_no_number_is_a_dash(value: object) -> None:
    for write in (
        figures.plain,
        figures.signed,
        figures.share,
        figures.count,
        figures.seconds,
        figures.memory,
    ):
        assert write(value) == figures.DASH
    assert figures.interval(0.1, value) == figures.DASH


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0.40 s"), (59.94, "59.9 s"), (59.99, "1 min 00 s"), (185, "3 min 05 s"), (7260, "2 h 01 min")],
)
def test_seconds(value: float, text: str) -> None:
    assert figures.seconds(value) == text


def test_memory_and_shares() -> None:
    assert figures.memory(0) == "0 B"
    assert figures.memory(1536) == "1.5 KiB"
    assert figures.memory(5 * 2**40) == "5.0 TiB"
    assert figures.share(0.1234) == "12.3 %"
    assert figures.signed(-0.00004) == "-0.0000"
    assert figures.probability(0.0004) == "<0.001"


def test_verdicts_carry_the_size_that_they_depend_on() -> None:
    record = {"margin": 0.0068, "detectable": 0.0075}
    small = {**record, "verdict": "cannot tell"}
    assert figures.verdict(small) == "too small to tell (would have seen >= 0.0075)"
    assert figures.verdict({**small, "detectable": 0.005}) == "cannot tell (would have seen >= 0.0050)"
    assert figures.verdict({**small, "detectable": None}) == "too small to tell"
    assert figures.verdict({**record, "verdict": "no difference"}) == "no difference (within ±0.0068)"
    assert figures.verdict({**record, "verdict": "helps"}) == "helps"
    assert figures.verdict({**record, "verdict": None}) == figures.DASH
