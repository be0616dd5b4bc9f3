from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Candidates, Features, Rows
from stagelens.pipeline.errors import ConfigError, DataError, MissingExtra
from stagelens.pipeline.progress import showing
from stagelens.pipeline.rows import no_rows, rows_of
from stagelens.pipeline.seeds import tie_order
from stagelens.pipeline.unfinished import unfinished
from stagelens.rerank import MLP
from stagelens.rerank.inputs import Inputs

pytest.importorskip("torch", reason="needs torch (extra: neural)")

QUICK = {"width": 16, "epochs": 12, "learning_rate": 0.02, "averaging": 0.9, "dropout": 0.0, "device": "cpu"}
TIE = tie_order(0, 500)


@pytest.fixture(scope="module")
def fitted(lists):
    return MLP(**QUICK).fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)


def ordered(made, part):
    return part.candidates.rescored(made.score(part.candidates, part.features), TIE)


def same(first, second):
    one, other = first.save().arrays, second.save().arrays
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize(
    "options", [{}, {"loss": "lambda"}, {"layers": "cross"}, {"scale": "log"}, {"depth": 0}]
)
def test_it_learns_the_planted_order(lists, ndcg, options):
    made = MLP(**{**QUICK, **options}).fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)
    held = lists.part(300, 400)
    signal_alone = held.candidates.rescored(held.features.values[..., 0], TIE)
    learned = ndcg(ordered(made, held), held.candidates, held.gains).mean()
    assert learned > ndcg(signal_alone, held.candidates, held.gains).mean() - 0.03


def crossed(lists=500, size=20, seed=5):
    """Lists in which the product of two columns orders, and neither alone does."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((lists, size, 2)).astype(np.float32)
    worth = values.prod(axis=2) + 0.2 * rng.gumbel(size=(lists, size))
    gains = (worth >= np.sort(worth, axis=1)[:, -3:-2]).astype(np.float32)
    item = np.tile(np.arange(size, dtype=np.int32), (lists, 1))
    nothing = np.zeros((lists, size, 0), np.float32)
    user = np.arange(lists, dtype=np.int32)
    candidates = Candidates(user, item, -item.astype(np.float32), (), nothing, nothing.astype(np.int32))
    return candidates, Features(("a", "b"), values), gains


@pytest.mark.parametrize("layers", ["residual", "cross"])
def test_it_learns_a_planted_interaction(layers, ndcg):
    candidates, features, gains = crossed()

    def part(start, stop):
        rows = slice(start, stop)
        return candidates.rows(rows), Features(features.names, features.values[rows]), gains[rows]

    def value():
        fit = rows_of(*part(0, 350), seed=0), rows_of(*part(350, 400), seed=0)
        made = MLP(**{**QUICK, "layers": layers, "batch": 16}).fit(*fit, seed=0)
        held, columns, relevant = part(400, 500)
        return ndcg(held.rescored(made.score(held, columns), TIE), held, relevant).mean()

    assert value() > 0.8


def test_neither_column_of_the_planted_interaction_orders_alone(ndcg):
    candidates, features, gains = crossed()
    for column in range(2):
        alone = candidates.rescored(features.values[..., column], TIE)
        assert ndcg(alone, candidates, gains).mean() < 0.6


def test_permuted_labels_teach_nothing(lists, ndcg):
    wrong, held = lists.relabelled(0), lists.part(300, 400).relabelled(9)
    made = MLP(**QUICK).fit(wrong.part(0, 250).rows(), wrong.part(250, 300).rows(), seed=0)
    learned = ndcg(ordered(made, held), held.candidates, held.gains)
    chance = ndcg(held.candidates, held.candidates, held.gains)
    difference = learned - chance
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(len(difference))


def test_same_seed_same_weights_whatever_the_threads(lists, fitted, monkeypatch):
    monkeypatch.setenv("STAGELENS_THREADS", "1")
    recipe = MLP(**QUICK)
    again = recipe.fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)
    assert same(again, fitted)
    assert again.meta == fitted.meta
    other = recipe.fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=1)
    assert not same(other, fitted)


@pytest.mark.parametrize("layers", ["residual", "cross"])
def test_scores_equal_torch(lists, layers):
    import torch

    from stagelens.rerank.nn.modules import Network

    rows = lists.part(0, 100).rows()
    made = MLP(**{**QUICK, "layers": layers, "epochs": 2}).fit(rows, no_rows(rows.names), seed=0)
    network = Network(made.inputs.width, 16, 2, layers, 0.0)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in made.network.arrays().items()})
    inputs = made.inputs.of(rows.values, np.arange(len(rows.label)), np.arange(4, dtype=np.int32))
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)).numpy()
    assert np.allclose(made.network.score(inputs), expected, rtol=1e-4, atol=1e-5)
    assert made.parameters == sum(weight.numel() for weight in network.parameters())


def test_lists_of_any_length_are_judged_and_taught_as_if_they_stood_alone(lists):
    """Padding changes no loss: a batch of lists has the mean loss of the lists."""
    import torch

    from stagelens.rerank.nn.fitting import Lists
    from stagelens.rerank.nn.losses import lambda_loss, softmax

    rng = np.random.default_rng(0)
    size = np.array([3, 7, 5], np.int32)
    label = np.zeros(15, np.float32)
    label[[1, 4, 6, 11]] = 1
    code = np.zeros(15, np.int32)
    values = rng.standard_normal((15, 1)).astype(np.float32)
    rows = Rows(("a",), values, label, size, None, code, code)
    made = Lists.of(rows, values, torch.device("cpu"))

    def losses(places):
        flat, found, own, relevant = made.batch(np.array(places))
        score = flat[:, 0][own].masked_fill(~found, 0.0)
        return torch.stack([softmax(score, relevant, found), lambda_loss(score, relevant, found, 4)])

    together = losses([0, 1, 2])
    assert torch.allclose(together, torch.cat([losses([0]), losses([1]), losses([2])], dim=1))
    assert (together > 0).all()


def test_losses_by_hand():
    import torch

    from stagelens.rerank.nn.losses import lambda_loss, softmax

    score = torch.tensor([[2.0, 1.0, 0.0, 9.0]])
    relevant, found = torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([[True, True, True, False]])
    whole = np.exp([2.0, 1.0, 0.0]).sum()
    assert float(softmax(score, relevant, found)) == pytest.approx(-np.log(np.exp(1.0) / whole), rel=1e-5)
    first, second = (
        1 - 1 / np.log2(3),
        1 / np.log2(3) - 1 / np.log2(4),
    )  # exchanged with place 1, with place 3
    weighed = first * np.log1p(np.exp(1.0)) + second * np.log1p(np.exp(-1.0))
    assert float(lambda_loss(score, relevant, found, 3)) == pytest.approx(
        weighed / (first + second), rel=1e-5
    )
    assert float(lambda_loss(score, relevant, found, 1)) == pytest.approx(np.log1p(np.exp(1.0)), rel=1e-5)


def untidy(lists, seed=0):
    """The planted lists with a column that is never there, one that is often not, a constant and a heavy tail."""
    rng = np.random.default_rng(seed)
    values = lists.features.values
    often = np.where(rng.random(values.shape[:2]) < 0.5, np.nan, values[..., 0])
    tail = np.sign(values[..., 0]) * np.expm1(np.abs(values[..., 0]) * 8)
    more = np.stack([np.full_like(often, np.nan), often, np.ones_like(often), tail], axis=2)
    names = ("never", "often not", "constant", "tail")
    return replace(lists, features=Features(names, more.astype(np.float32)))


def test_missing_constant_and_heavy_tailed_columns(lists, ndcg):
    part = untidy(lists)
    made = MLP(**QUICK).fit(part.part(0, 250).rows(), part.part(250, 300).rows(), seed=0)
    assert all(np.isfinite(array).all() for name, array in made.save().arrays.items() if name != "knots")
    held = part.part(300, 400)
    assert ndcg(ordered(made, held), held.candidates, held.gains).mean() > 0.75
    wild = held.features.values.copy()
    wild[:, 0] = np.inf
    wild[:, 1] = -np.inf
    wild[:, 2] = np.nan
    wild[:, 3] = 1e38
    assert np.isfinite(made.score(held.candidates, Features(held.features.names, wild))).all()


def test_inputs_follow_from_training_rows_alone_and_have_mean_0_and_deviation_1(lists):
    rows = untidy(lists).part(0, 250).rows()
    inputs = Inputs.fit(rows, "both")
    made = inputs.of(rows.values, np.arange(len(rows.label)), np.arange(4, dtype=np.int32))
    assert made.shape == (len(rows.label), inputs.width) == (len(rows.label), 10)
    missing = np.isnan(rows.values)
    assert inputs.gaps.tolist() == [0, 1]
    assert np.array_equal(made[:, 8:], missing[:, :2])
    assert not made[:, [0, 1, 4, 5]].any(), "what is never there or always the same says nothing"
    assert not made[missing[:, 1], 2:4].any()
    known = made[~missing[:, 1], 2:4]
    assert np.allclose(known.mean(axis=0), 0, atol=0.05)
    assert np.allclose(known.std(axis=0), 1, atol=0.05)
    order = np.argsort(rows.values[:, 3], kind="stable")
    assert (np.diff(made[order, 6:8], axis=0) >= 0).all(), "scales are monotone"


def test_columns_are_found_by_name(lists, fitted):
    part = lists.part(0, 20)
    first = fitted.score(part.candidates, part.features)
    turned = part.features.columns(part.features.names[::-1])
    more = Features(("extra", *turned.names), np.concatenate([turned.values[..., :1], turned.values], axis=2))
    assert np.array_equal(first, fitted.score(part.candidates, more))
    with pytest.raises(ValueError, match="noise"):
        fitted.score(part.candidates, part.features.columns(("signal", "weak", "more noise")))
    with pytest.raises(ValueError, match="candidates"):
        fitted.score(lists.part(0, 19).candidates, part.features)


def test_training_stops_early_on_valid(lists):
    """Valid lists whose labels say nothing end training soon; the kept epoch is the best of the curve."""
    recipe = MLP(**{**QUICK, "epochs": 40, "patience": 3, "smoothing": 1})
    made = recipe.fit(lists.part(0, 100).rows(), lists.relabelled(3).part(100, 160).rows(), seed=0)
    curve = made.meta["valid_ndcg@10"]
    assert len(curve) == made.meta["epochs"] < 40
    assert made.meta["best_epoch"] == int(np.argmax(curve)) + 1 == len(curve) - 3
    assert "stopped early" in made.meta["note"]


def test_without_valid_lists_the_last_epoch_is_kept(lists):
    rows = lists.part(0, 60).rows()
    made = MLP(**{**QUICK, "epochs": 3}).fit(rows, no_rows(rows.names), seed=0)
    assert made.meta["best_epoch"] == made.meta["epochs"] == 3
    assert made.meta["note"] == "no valid lists: the last of 3 epochs is kept"


def test_the_weight_of_a_list_counts(lists):
    rows = lists.part(0, 60).rows()
    size = int(rows.group[0])
    heavy = np.ones(len(rows.label), np.float32)
    heavy[:size] = 50
    recipe = MLP(**{**QUICK, "epochs": 2})
    even = recipe.fit(replace(rows, weight=np.full_like(heavy, 7.0)), no_rows(rows.names), seed=0)
    assert same(even, recipe.fit(rows, no_rows(rows.names), seed=0)), "equal weights say nothing"
    assert not same(even, recipe.fit(replace(rows, weight=heavy), no_rows(rows.names), seed=0))


def test_what_cannot_be_trained_is_refused(lists):
    rows = lists.part(0, 20).rows()
    with pytest.raises(ConfigError, match="no column"):
        MLP().fit(no_rows(()), no_rows(()), seed=0)
    with pytest.raises(DataError, match="0 training lists"):
        MLP().fit(no_rows(rows.names), rows, seed=0)


def test_without_torch_the_extra_is_named(lists, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    rows = lists.part(0, 20).rows()
    with pytest.raises(MissingExtra, match=r"pip install 'stagelens\[neural\]'"):
        MLP().fit(rows, rows, seed=0)


CHILD = """
    import sys
    from pathlib import Path
    import numpy as np
    from stagelens.pipeline.core import Rows
    from stagelens.pipeline.unfinished import unfinished
    from stagelens.rerank import MLP
    from stagelens.pipeline.nn import trainer
    import json, time
    part = dict(np.load(sys.argv[1]))
    rows = Rows(names=("signal", "weak", "noise", "more noise"), weight=None, **part)
    if sys.argv[4] == "slow":
        judge = trainer.Trainer._judge
        trainer.Trainer._judge = lambda self: (time.sleep(0.3), judge(self))
    with unfinished(Path(sys.argv[2])):
        made = MLP(**json.loads(sys.argv[5])).fit(rows, rows, seed=0)
    np.savez(sys.argv[3], **made.save().arrays)
"""


class Told:
    """Progress that remembers its steps."""

    def __init__(self):
        self.steps = []

    @contextmanager
    def task(self, name, total):
        yield self

    def advance(self, steps=1):
        self.steps.append(steps)


def test_killed_in_the_middle_and_fitted_again_gives_the_same_weights(tmp_path, lists):
    rows = lists.part(0, 60).rows()
    parts = {name: getattr(rows, name) for name in ("values", "label", "group", "user", "item")}
    np.savez(tmp_path / "rows.npz", **parts)
    options = {**QUICK, "epochs": 30, "patience": 30, "dropout": 0.3, "batch": 8}
    words = [str(tmp_path / name) for name in ("rows.npz", "left", "made.npz")]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), *words, "slow", json.dumps(options)],
        stderr=subprocess.PIPE,
    )
    left, deadline = tmp_path / "left" / "MLP.pt", time.monotonic() + 200
    while not left.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    _, said = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    assert left.exists()
    assert not (tmp_path / "made.npz").exists()
    told = Told()
    with unfinished(tmp_path / "left"), showing(told):
        made = MLP(**options).fit(rows, rows, seed=0)
    assert told.steps[0] >= 1, "it went on after the epochs that were there"
    assert sum(told.steps) == 30
    assert not left.parent.exists(), "removed when done"
    assert same(made, MLP(**options).fit(rows, rows, seed=0))


def test_a_checkpoint_of_other_rows_is_not_gone_on_from(tmp_path, lists):
    recipe = MLP(**{**QUICK, "epochs": 3})
    rows, other = lists.part(0, 60).rows(), lists.part(60, 120).rows()

    def interrupted():
        with unfinished(tmp_path / "left"):
            recipe.fit(rows, rows, seed=0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "left" / "MLP.pt").exists()
    with unfinished(tmp_path / "left"):
        made = recipe.fit(other, other, seed=0)
    assert same(made, recipe.fit(other, other, seed=0))
