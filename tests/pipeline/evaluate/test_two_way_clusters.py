import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.evaluate.clusters import Clusters, covariance
from stagelens.pipeline.evaluate.truth import Truth


def skewed(rng: np.random.Generator, users: int, items: int) -> Truth:
    user = np.repeat(np.arange(users), rng.integers(1, 6, users))
    weight = 1.0 / np.arange(1, items + 1)
    item = rng.choice(items, len(user), p=weight / weight.sum())
    return Truth.of(Interactions.of(user, item, n_users=users, n_items=items))


def test_balanced_design_by_hand(make_truth):
    # three users, two items, every user has both: R = 2, contributions d = y / 2
    truth = make_truth([[0, 1], [0, 1], [0, 1]])
    y = np.array([[4.0, 0.0], [2.0, 0.0], [3.0, 3.0]])
    theta = 2.0  # mean of the users' 2, 1, 3
    z = (y / 2 - theta / 2) / 3
    by_user = 3 / 2 * (z.sum(axis=1) ** 2).sum()  # ((0)^2 + (1/3)^2 + (1/3)^2) * 3/2 = 1/3
    by_item = 2 / 1 * (z.sum(axis=0) ** 2).sum()
    by_pair = 6 / 5 * (z**2).sum()
    assert by_user == pytest.approx(1 / 3)
    assert by_item > by_pair
    estimate = Clusters.of(truth).estimate((y / 2).ravel())
    assert estimate.mean == pytest.approx(theta)
    assert estimate.variance_user == pytest.approx(by_user)
    assert estimate.variance == pytest.approx(by_user + by_item - by_pair)
    excess = by_item - by_pair
    df = (by_user + excess) ** 2 / (by_user**2 / 2 + excess**2 / 1)  # n - 1 = 2; two equal items: G* - 1 = 1
    assert estimate.df == pytest.approx(df)


def test_each_term_is_the_jackknife_of_the_weighted_mean():
    rng = np.random.default_rng(5)
    truth = skewed(rng, 60, 12)
    y = rng.normal(size=truth.pairs) + rng.normal(size=12)[truth.pair_item]
    weight = 1.0 / truth.count[truth.pair_row]

    def jackknife(cluster: np.ndarray) -> float:
        found = np.unique(cluster)
        theta = np.average(y, weights=weight)
        without = [np.average(y[cluster != g], weights=weight[cluster != g]) for g in found]
        return (len(found) - 1) / len(found) * float(((np.array(without) - theta) ** 2).sum())

    estimate = Clusters.of(truth).estimate(y * weight)
    expected = jackknife(truth.pair_row) + jackknife(truth.pair_item) - jackknife(np.arange(truth.pairs))
    assert estimate.variance == pytest.approx(expected, rel=1e-12)
    assert expected > estimate.variance_user


def test_the_user_term_is_the_plain_paired_variance():
    rng = np.random.default_rng(6)
    truth = skewed(rng, 50, 20)
    values = rng.normal(size=truth.pairs)
    totals = np.bincount(truth.pair_row, values)
    estimate = Clusters.of(truth).estimate(values)
    assert estimate.mean == pytest.approx(totals.mean())
    assert estimate.variance_user == pytest.approx(totals.var(ddof=1) / len(totals))


def test_variance_never_falls_below_the_paired_one(make_truth):
    # within each item the two users differ by sign, so items vary less than chance
    truth = make_truth([[0, 1], [0, 1], [2, 3], [2, 3]])
    values = np.array([1.0, 2.0, -1.0, -2.0, 3.0, 1.0, -3.0, -1.0])
    estimate = Clusters.of(truth).estimate(values)
    assert estimate.variance == estimate.variance_user > 0
    assert estimate.df == 3


def test_a_slice_is_the_restricted_truth():
    rng = np.random.default_rng(7)
    truth = skewed(rng, 80, 15)
    inside = rng.random(truth.pairs) < 0.4
    values = np.where(inside, rng.normal(size=truth.pairs), 0)
    part, whole = truth.where(inside), Clusters.of(truth, inside).estimate(values)
    alone = Clusters.of(part).estimate(values[inside])
    assert len(part) < len(truth)
    assert (whole.mean, whole.users) == pytest.approx((alone.mean, alone.users))
    assert (whole.variance, whole.df) == pytest.approx((alone.variance, alone.df))


def test_covariance_has_the_variances_on_its_diagonal(monkeypatch):
    from stagelens.pipeline.evaluate import clusters as module

    monkeypatch.setattr(module, "CHUNK", 17)  # several chunks
    rng = np.random.default_rng(8)
    truth = skewed(rng, 70, 12)
    item = rng.normal(size=(3, 12))[:, truth.pair_item]
    values = (rng.normal(size=(3, truth.pairs)) + item) / truth.count[truth.pair_row]
    clusters = Clusters.of(truth)
    estimates = [clusters.estimate(row) for row in values]
    matrix = covariance([clusters] * 3, estimates, [row[None] for row in values])
    assert np.diag(matrix) == pytest.approx([estimate.variance for estimate in estimates])
    pair = clusters.estimate(values[0] + values[1])  # var(a + b) = var a + var b + 2 cov
    expected = (pair.variance - estimates[0].variance - estimates[1].variance) / 2
    assert matrix[0, 1] == pytest.approx(expected)


@pytest.mark.parametrize("relevant", [[[1, 2]], [[1], [1], [1]], []])
def test_one_cluster_has_no_variance_estimate(make_truth, relevant):
    truth = make_truth(relevant) if relevant else make_truth([[1]]).where(np.array([False]))
    estimate = Clusters.of(truth).estimate(np.ones(truth.pairs))
    assert np.isnan(estimate.variance)
    assert np.isnan(estimate.df)
