from collections.abc import Callable, Sequence

import numpy as np
import pytest

from stagelens.pipeline.core import Candidates, Interactions
from stagelens.pipeline.evaluate.truth import Truth


def truth_of(relevant: Sequence[Sequence[int]], n_items: int = 50) -> Truth:
    user = [row for row, items in enumerate(relevant) for _ in items]
    item = [code for items in relevant for code in items]
    window = Interactions.of(np.array(user), np.array(item), n_users=len(relevant), n_items=n_items)
    return Truth.of(window)


def lists_of(truth: Truth, items: Sequence[Sequence[int]]) -> Candidates:
    width = max(len(row) for row in items)
    item = np.full((len(items), width), -1, dtype=np.int32)
    score = np.full((len(items), width), -np.inf, dtype=np.float32)
    for row, codes in enumerate(items):
        item[row, : len(codes)] = codes
        score[row, : len(codes)] = -np.arange(len(codes))
    return Candidates.from_channel("lists", truth.user, item, score)


@pytest.fixture
def make_truth() -> Callable[..., Truth]:
    return truth_of


@pytest.fixture
def make_lists() -> Callable[..., Candidates]:
    return lists_of
