import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stagelens.pipeline.evaluate.corrections import benjamini_hochberg, holm
from stagelens.pipeline.evaluate.resampling import rank_test, sign_flips, smallest_p

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_one_variable_has_uniform_p_even_with_few_degrees_of_freedom():
    drawn = smallest_p(np.eye(1), np.array([2.3]), 20_000, 0)
    assert stats.kstest(drawn, "uniform").pvalue > 0.01


def test_independent_variables_follow_the_minimum_law():
    drawn = smallest_p(np.eye(5), np.full(5, 1e6), 20_000, 0)
    assert np.quantile(drawn, 0.05) == pytest.approx(1 - 0.95 ** (1 / 5), rel=0.06)


def test_equal_variables_are_one():
    drawn = smallest_p(np.ones((4, 4)), np.full(4, 8.0), 100_000, 0)
    assert np.quantile(drawn, 0.05) == pytest.approx(0.05, rel=0.06)


def test_a_matrix_that_is_no_correlation_is_mended():
    broken = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    assert np.linalg.eigvalsh(broken).min() < -0.5
    drawn = smallest_p(broken, np.full(3, 50.0), 2000, 0)
    assert np.isfinite(drawn).all()
    assert 0.01 < np.quantile(drawn, 0.05) < 0.06


def test_sign_flips_reach_the_exact_p():
    # 4 users, all positive: of the 16 sign patterns only two reach the observed sum on either side
    totals = np.array([[1.0], [2.0], [3.0], [4.0]])
    assert sign_flips(totals, 20_000, 0)[0] == pytest.approx(2 / 16, abs=0.01)


def test_sign_flips_against_enumeration():
    values = np.array([0.5, -0.25, 1.0, 0.75, -0.1, 0.3, 0.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1)
    exact = np.mean(np.abs(values @ signs) >= abs(values.sum()) - 1e-12)
    assert sign_flips(values[:, None], 20_000, 1)[0] == pytest.approx(exact, abs=0.012)


def test_sign_flips_of_nothing():
    assert sign_flips(np.zeros((5, 2)), 99, 0).tolist() == [1.0, 1.0]


def test_rank_test_counts_ties_against_the_real_one():
    assert rank_test(0.5, [0.1] * 19) == 0.05
    assert rank_test(0.5, [0.5] + [0.1] * 18) == 0.1
    assert rank_test(0.1, [0.5] * 19) == 1.0
    with pytest.raises(ValueError, match="at least one"):
        rank_test(0.5, [])


@given(P_VALUES)
def test_benjamini_hochberg_agrees_with_scipy(p):
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


@given(P_VALUES)
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p):
    adjusted, raw = holm(p), np.array(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(raw)) + 1e-15).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_by_hand():
    # .01 * 4, .013 * 3 -> not below .04, .04 * 2, .5 * 1
    assert holm([0.5, 0.01, 0.013, 0.04]).tolist() == pytest.approx([0.5, 0.04, 0.04, 0.08])
