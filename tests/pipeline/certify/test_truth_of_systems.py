"""What a laboratory says is what the study would say, and its truth is that of fresh logs."""

import numpy as np
import pytest

from stagelens.pipeline.certify.broken import twice, unpaired
from stagelens.pipeline.certify.laboratory import arm_of, fitted, key_of
from stagelens.pipeline.certify.logs import Logs
from stagelens.pipeline.certify.worlds import study, world
from stagelens.pipeline.core import Interactions
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.cost import Phases
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.significance import interval
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Builder, Comparison
from stagelens.pipeline.experiment.fitting import fit_arms, ranks_of
from stagelens.pipeline.workbench import Workbench

STAGES = ("recall", "rerank", "both")
DRAWS = 6


@pytest.fixture(scope="module")
def parts():
    made = world("null", 0).truth(0)
    options, dataset = study("null", 0), made.dataset
    windows = split(dataset)
    builder = Builder(options, dataset)
    arms = [arm_of(builder, stage, name) for stage in STAGES for name in (None, "text")]
    logs = Logs.of(made, windows)
    return made, options, dataset, windows, arms, logs


@pytest.fixture(scope="module")
def lab(parts):
    _, options, dataset, windows, arms, logs = parts
    with fitted(options, dataset, windows, arms, [logs.draw(draw) for draw in range(DRAWS)]) as found:
        yield found


def test_ranks_of_all_logs_together_hold_those_of_the_test_window(parts, lab, tmp_path):
    _, options, dataset, windows, arms, _ = parts
    bench = Workbench.of(dataset, windows, seed=options.seeds[0], store=tmp_path)
    fit_arms(bench, arms, Phases())
    alone = ranks_of(bench, arms, bench.windows.test)
    truth, measured = lab.measured(lab.observed, [arm.key for arm in arms])
    assert truth.fingerprint() == bench.windows.test.truth.fingerprint()
    for arm in arms:
        np.testing.assert_array_equal(measured[arm.key].ranks[0], alone[arm.key][0])


def test_the_true_metric_is_the_mean_of_fresh_logs(lab):
    key = key_of("recall", "text")
    by_hand = []
    for log in lab.draws:
        ranks = dict(zip(lab.pairs.tolist(), lab.ranks[key].tolist(), strict=True))
        users = {}
        for user, item in zip(log.user.tolist(), log.item.tolist(), strict=True):
            users.setdefault(user, []).append(0 < ranks[user * log.n_items + item] <= 20)
        by_hand.append(np.mean([np.mean(hits) for hits in users.values()]))
    np.testing.assert_allclose(lab.true_values([key])[:, 0], by_hand)


def test_fresh_logs_have_the_law_of_the_world(parts):
    """Against the world's own sampler: users, items and totals, by their chances."""
    made, _, dataset, windows, _, logs = parts
    taken = windows.train.merged(windows.valid)
    shape = (dataset.n_users, dataset.n_items)
    assert (logs.chance[taken.user, taken.item] == 0).all()
    counts = np.zeros((2, *shape))
    for draw in range(150):
        own = made.fresh(draw, start=logs.start, taken=taken)
        for side, log in enumerate((logs.draw(draw), own)):
            counts[side, log.user, log.item] += 1
    order = np.argsort(logs.chance, axis=None)
    for part in np.array_split(order, 8):
        expected = logs.chance.ravel()[part]
        spread = np.sqrt((expected * (1 - expected)).sum() * 150)
        for side in counts:
            assert abs(side.ravel()[part].sum() - expected.sum() * 150) <= 4 * spread


def test_even_logs_keep_the_events_of_users_and_forget_exposure():
    made = world("exposed", 0).truth(0)
    windows = split(made.dataset)
    policy, even = Logs.of(made, windows), Logs.even(made, windows)
    np.testing.assert_allclose(policy.chance.sum(axis=1), even.chance.sum(axis=1), rtol=1e-3)
    popular = np.argsort(-made.clocks.exposure)[:80]
    assert even.chance[:, popular].sum() < 0.7 * policy.chance[:, popular].sum()
    plain = world("null", 0).truth(0)
    windows = split(plain.dataset)
    np.testing.assert_allclose(Logs.even(plain, windows).chance, Logs.of(plain, windows).chance, rtol=1e-6)


def test_leaks_move_the_leaking_arm_alone(parts, lab):
    _, options, dataset, windows, arms, _ = parts
    leak = key_of("recall", "text")
    two = [arm for arm in arms if arm.stage == "recall"]
    with fitted(options, dataset, windows, two, lab.draws, leaks=[leak]) as told:
        np.testing.assert_array_equal(told.ranks[key_of("recall", None)], lab.ranks[key_of("recall", None)])
        assert (told.ranks[leak] != lab.ranks[leak]).any()
        honest, leaking = (one.true_values([leak], [one.observed])[0, 0] for one in (lab, told))
        assert leaking > honest + 0.05


def test_unpaired_arms_keep_the_difference_and_lose_the_pairing(lab):
    base, on = key_of("recall", None), key_of("recall", "text")
    comparison = Comparison(base, on, "recall@20", "other", family="one")
    [paired] = lab.records(lab.observed, [comparison])
    apart = unpaired(lab, lab.observed, lab.ranks[base], lab.ranks[on], "recall@20")
    assert apart.difference == pytest.approx(paired["difference"])
    truth = Truth.of(lab.observed)
    places = lab.fresh.places(truth)
    widths = []
    for key in (base, on):
        one = interval(contributions(lab.ranks[key][places], truth, "recall@20"), truth)
        widths.append((one.high - one.low) / 2)
    assert apart.high - apart.difference == pytest.approx(np.hypot(*widths), rel=0.05)
    assert apart.se > 1.3 * paired["se"]


def test_a_truth_beside_itself():
    truth = Truth.of(Interactions.of(np.array([0, 2, 2]), np.array([1, 0, 3]), n_users=3, n_items=4))
    two = twice(truth)
    assert two.user.tolist() == [0, 2, 3, 5]
    assert two.pair_item.tolist() == [1, 0, 3, 5, 4, 7]
    assert two.count.tolist() == [1, 2, 1, 2]
