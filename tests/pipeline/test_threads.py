"""Rows over threads: each once, in calls of like work, and soon over when interrupted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline import native
from stagelens.pipeline.threads import RUN, over_rows


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 10**9), max_size=40), st.sampled_from([1, 2, 5]))
def test_every_row_is_done_once(steps: list[int], number: int) -> None:
    done: list[int] = []
    with native.limited(number):
        over_rows(len(steps), lambda lo, hi: done.extend(range(lo, hi)), steps=np.array(steps, np.int64))
    assert sorted(done) == list(range(len(steps)))


@pytest.mark.parametrize(("rows", "steps"), [(0, 1000.0), (1, 1e12), (7, 1.0), (1000, 1e6)])
def test_every_row_is_done_once_with_one_cost_for_all(rows: int, steps: float) -> None:
    done: list[int] = []
    with native.limited(3):
        over_rows(rows, lambda lo, hi: done.extend(range(lo, hi)), steps=steps)
    assert sorted(done) == list(range(rows))


@pytest.mark.parametrize("number", [1, 4])
def test_no_call_has_much_more_work_than_a_run(number: int) -> None:
    steps = (
        np.arange(1, 2001, dtype=np.int64)[::-1] * 200_000
    )  # dear rows first, as where codes follow popularity
    work: list[int] = []
    with native.limited(number):
        over_rows(len(steps), lambda lo, hi: work.append(int(steps[lo:hi].sum())), steps=steps)
    assert max(work) < 2 * RUN + steps.max()
    assert len(work) >= 8 * number


def test_what_waits_is_given_up_when_one_fails() -> None:
    begun = []
    lock = threading.Lock()

    def work(lo: int, hi: int) -> None:
        with lock:
            begun.append(lo)
        raise KeyboardInterrupt

    with native.limited(2), pytest.raises(KeyboardInterrupt):
        over_rows(1000, work, steps=float(RUN))
    assert len(begun) < 1000
