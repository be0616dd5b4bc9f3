import numpy as np
import pytest

from stagelens.pipeline.core import Candidates, ModalityTable
from stagelens.pipeline.evaluate.lists import Exposure, value_hit
from stagelens.pipeline.evaluate.neighbours import agreement, table_health, tied_share


def test_exposure_by_hand(make_truth, make_lists):
    lists = make_lists(make_truth([[1], [2], [3]]), [[0, 1, 2], [0, 2], [0]])
    exposure = Exposure.of(lists, n_items=5, cuts=[1, 2])
    degree = np.array([9, 1, 4, 0, 0])
    assert exposure.shown.tolist() == [[3, 0, 0, 0, 0], [3, 1, 1, 0, 0]]
    assert exposure.coverage() == {"coverage@1": 1 / 5, "coverage@2": 3 / 5}
    assert exposure.popularity(degree) == {"popularity@1": 9.0, "popularity@2": (27 + 1 + 4) / 5}
    expected = (3 * np.log(10) + np.log(2) + np.log(5)) / 5
    assert exposure.log_popularity(degree)["log_popularity@2"] == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 3, 20])
def test_exposure_does_not_depend_on_the_blocks(make_truth, make_lists, block):
    rng = np.random.default_rng(0)
    truth = make_truth([[1]] * 20)
    lists = make_lists(truth, [rng.permutation(30)[: rng.integers(1, 9)].tolist() for _ in range(20)])
    whole = Exposure.of(lists, n_items=30, cuts=[1, 5])
    parts = [
        Exposure.of(lists.rows(slice(start, start + block)), n_items=30, cuts=[1, 5])
        for start in range(0, 20, block)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert np.array_equal(total.shown, whole.shown)


def test_exposures_of_different_cuts_do_not_add(make_truth, make_lists):
    lists = make_lists(make_truth([[1]]), [[0, 1]])
    with pytest.raises(ValueError, match="cut-offs"):
        Exposure.of(lists, n_items=5, cuts=[1]) + Exposure.of(lists, n_items=5, cuts=[2])


def test_nothing_shown_has_no_popularity(make_truth, make_lists):
    lists = make_lists(make_truth([[1]]), [[-1]])
    exposure = Exposure.of(lists, n_items=5, cuts=[1])
    assert np.isnan(exposure.popularity(np.ones(5, int))["popularity@1"])


def test_value_weighted_hit(make_truth):
    from dataclasses import replace

    truth = replace(make_truth([[1, 2], [3]]), value=np.array([3, 1, 7], dtype=np.float32))
    credit = value_hit(np.array([2, 9, 0], dtype=np.int32), truth, 5)
    assert credit.tolist() == [0.75, 0.0, 0.0]


def test_agreement_is_fair_to_ties_and_duplicates():
    exact = np.array([[0.9, 0.5, 0.5, 0.5]], dtype=np.float32)
    assert agreement(np.array([[0.9, 0.5]], dtype=np.float32), exact, k=2).tolist() == [1.0]
    assert agreement(np.array([[0.9, 0.4999]], dtype=np.float32), exact, k=2).tolist() == [0.5]
    assert agreement(np.array([[0.9, 0.4999]], dtype=np.float32), exact, k=2, tolerance=1e-3).tolist() == [
        1.0
    ]


def test_agreement_counts_missing_neighbours_and_short_exact_lists():
    inf = np.inf
    exact = np.array([[3, 2, 1], [3, -inf, -inf], [-inf, -inf, -inf]], dtype=np.float32)
    approx = np.array([[3, -inf, -inf], [3, -inf, -inf], [-inf, -inf, -inf]], dtype=np.float32)
    got = agreement(approx, exact, k=3)
    assert got[:2].tolist() == pytest.approx([1 / 3, 1.0])
    assert np.isnan(got[2])


def test_agreement_tolerance_follows_the_size_of_the_scores():
    exact = np.array([[-1e4, -2e4]], dtype=np.float32)
    close = exact - np.array([[0.0, 0.05]], dtype=np.float32)
    assert agreement(close, exact, k=2).tolist() == [1.0]
    assert agreement(close - 1.0, exact, k=2).tolist() == [0.5]


def test_tied_share_by_hand():
    item = np.array([[0, 1, 2, 3], [0, 1, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
    score = np.array([[5, 5, 4, 3], [2, 1, -np.inf, -np.inf], [-np.inf] * 4], dtype=np.float32)
    lists = Candidates.from_channel("a", np.arange(3, dtype=np.int32), item, score)
    assert tied_share(lists).tolist() == [0.5, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_table_health(dtype):
    values = np.array([[3, 4], [0, 0], [3, 4], [2, 2], [np.nan, 1], [6, 8], [-0.0, 1], [0.0, 1]], dtype=dtype)
    health = table_health(ModalityTable.of("text", values), chunk=3)
    assert (health.rows, health.width) == (8, 2)
    assert (health.present, health.zero, health.not_finite) == (6 / 8, 1 / 8, 1 / 8)
    assert health.duplicate == pytest.approx(4 / 6)  # (3, 4) twice; (0, 1) twice, once with -0
    assert health.constant == pytest.approx(1 / 6)
    assert health.norm_median == pytest.approx((5 + 2 * 2**0.5) / 2, rel=1e-3)
    assert health.norm_spread == pytest.approx(health.norm_high / health.norm_low)
    assert 9.5 < health.norm_high <= 10


def test_table_health_of_an_absent_modality():
    health = table_health(ModalityTable.of("text", np.zeros((4, 3), dtype=np.float32)))
    assert (health.present, health.zero, health.duplicate) == (0.0, 1.0, 0.0)
    assert np.isnan(health.norm_median)
    assert np.isnan(health.norm_spread)
