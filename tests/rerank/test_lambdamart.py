from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Features, Rows
from stagelens.pipeline.errors import ConfigError, DataError
from stagelens.pipeline.recipe import load
from stagelens.pipeline.rows import no_rows, rows_of
from stagelens.pipeline.seeds import tie_order
from stagelens.rerank import Evidence, KeepOrder, LambdaMART, RandomOrder
from stagelens.rerank.boosting import Stopping
from stagelens.rerank.forest import Forest

QUICK = {"trees": 60, "leaves": 7, "learning_rate": 0.1, "min_rows_leaf": 20, "min_trees": 20, "patience": 15}
TIE = tie_order(0, 500)


@pytest.fixture(scope="module")
def fitted(lists):
    return LambdaMART(**QUICK).fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)


def ordered(fitted, part):
    return part.candidates.rescored(fitted.score(part.candidates, part.features), TIE)


def test_it_learns_the_planted_order(lists, fitted, ndcg):
    held = lists.part(300, 400)
    learned = ndcg(ordered(fitted, held), held.candidates, held.gains).mean()
    signal = held.candidates.rescored(held.features.values[..., 0], TIE)
    assert learned > ndcg(signal, held.candidates, held.gains).mean() - 0.02
    assert learned > ndcg(held.candidates, held.candidates, held.gains).mean() + 0.3


@pytest.mark.parametrize("objective", ["lambdarank", "xendcg", "binary"])
def test_every_objective_learns(lists, ndcg, objective):
    recipe = LambdaMART(**QUICK, objective=objective)
    made = recipe.fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)
    held = lists.part(300, 400)
    assert ndcg(ordered(made, held), held.candidates, held.gains).mean() > 0.7


def test_permuted_labels_teach_nothing(lists, ndcg):
    """Canary: trained and stopped on labels permuted within each list, held lists are ordered at chance."""
    differences = []
    for seed in range(3):
        wrong = lists.relabelled(seed)
        recipe = LambdaMART(**QUICK)
        made = recipe.fit(wrong.part(0, 250).rows(seed), wrong.part(250, 300).rows(seed), seed=seed)
        held = lists.part(300, 400)
        random = RandomOrder().fit(held.rows(), held.rows(), seed=seed)
        learned = ndcg(
            ordered(made, held.relabelled(seed + 9)), held.candidates, held.relabelled(seed + 9).gains
        )
        chance = ndcg(ordered(random, held), held.candidates, held.relabelled(seed + 9).gains)
        differences.append(learned - chance)
    difference = np.concatenate(differences)
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(len(difference))


def test_a_leaky_column_fails_the_canary(lists, ndcg):
    """The canary above can fail: a column that sees the labels beats chance under permutation."""
    wrong = lists.relabelled(0)
    names = (*wrong.features.names, "leak")
    values = np.concatenate([wrong.features.values, wrong.gains[..., None]], axis=2)
    leaky = replace(wrong, features=Features(names, values))
    made = LambdaMART(**QUICK).fit(leaky.part(0, 250).rows(), leaky.part(250, 300).rows(), seed=0)
    held = leaky.part(300, 400)
    assert ndcg(ordered(made, held), held.candidates, held.gains).mean() > 0.95


def test_scores_equal_lightgbm(lists, fitted):
    import lightgbm

    values = lists.features.values.reshape(-1, 4).copy()
    values[::7, 0] = np.nan
    values[::11, 2] = np.inf
    values[::13, 1] = -np.inf
    booster = lightgbm.Booster(model_str=fitted.text)
    own = fitted.forest.predict(values, np.arange(len(values)), np.arange(4, dtype=np.int32))
    assert np.array_equal(own, booster.predict(values, raw_score=True))
    gain = dict(zip(fitted.names, booster.feature_importance("gain").tolist(), strict=True))
    assert fitted.importance() == pytest.approx(gain, rel=1e-4)
    assert sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"]) == len(fitted.forest.leaf)


def test_scores_equal_lightgbm_where_training_has_nan(lists):
    import lightgbm

    part = lists.part(0, 200)
    values = part.features.values.copy()
    rng = np.random.default_rng(0)
    values[..., 0][rng.random(values.shape[:2]) < 0.3] = np.nan
    values[..., 2] = np.nan
    part = replace(part, features=Features(part.features.names, values))
    made = LambdaMART(**QUICK).fit(part.rows(), part.rows(), seed=0)
    flat = values.reshape(-1, 4)
    own = made.forest.predict(flat, np.arange(len(flat)), np.arange(4, dtype=np.int32))
    assert np.array_equal(own, lightgbm.Booster(model_str=made.text).predict(flat, raw_score=True))


def test_columns_are_found_by_name(lists, fitted):
    part = lists.part(0, 20)
    first = fitted.score(part.candidates, part.features)
    turned = part.features.columns(part.features.names[::-1])
    more = Features(("extra", *turned.names), np.concatenate([turned.values[..., :1], turned.values], axis=2))
    assert np.array_equal(first, fitted.score(part.candidates, more))
    with pytest.raises(ValueError, match="noise"):
        fitted.score(part.candidates, part.features.columns(("signal", "weak", "more noise")))


def test_training_does_not_depend_on_block_or_recall_order(lists, fitted):
    """Rows are shuffled by a hash of user and item: recall order (positives first here) leaves no trace."""
    order = np.argsort(-lists.gains[:300], axis=1, kind="stable")
    part = lists.part(0, 300)
    first = replace(
        part,
        candidates=replace(part.candidates, item=np.take_along_axis(part.candidates.item, order, 1)),
        features=Features(part.features.names, np.take_along_axis(part.features.values, order[..., None], 1)),
        gains=np.take_along_axis(part.gains, order, 1),
    )
    made = LambdaMART(**QUICK).fit(first.part(0, 250).rows(), first.part(250, 300).rows(), seed=0)
    assert made.text == fitted.text


def test_same_seed_same_bytes_whatever_the_threads(lists, fitted, monkeypatch):
    monkeypatch.setenv("STAGELENS_THREADS", "1")
    made = LambdaMART(**QUICK).fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)
    assert made.text == fitted.text
    assert made.meta == fitted.meta


def test_a_process_of_its_own_gives_the_same(lists, fitted, monkeypatch):
    monkeypatch.setenv("STAGELENS_ISOLATE", "1")
    made = LambdaMART(**QUICK).fit(lists.part(0, 250).rows(), lists.part(250, 300).rows(), seed=0)
    assert made.text == fitted.text
    assert made.meta == fitted.meta


def test_scoring_needs_no_lightgbm(tmp_path, fitted):
    """A saved model is read and scored in a process that never loads LightGBM."""
    np.save(tmp_path / "model.npy", fitted.save().arrays["model"])
    (tmp_path / "meta.json").write_text(json.dumps(dict(fitted.save().meta)))
    code = (
        "import json, sys, numpy as np; from stagelens.pipeline.contracts import Saved;"
        "from stagelens.rerank import LambdaMART;"
        f"meta = json.load(open({str(tmp_path / 'meta.json')!r}));"
        f"made = LambdaMART().load(Saved({{'model': np.load({str(tmp_path / 'model.npy')!r})}}, meta));"
        "print(made.forest.predict(np.zeros((1, 4), 'f4'), np.arange(1), np.arange(4, dtype='i4'))[0]);"
        "assert 'lightgbm' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = fitted.forest.predict(np.zeros((1, 4), np.float32), np.arange(1), np.arange(4, dtype=np.int32))
    assert float(done.stdout) == own[0]


def test_weights_count(lists):
    part, valid = lists.part(0, 250), lists.part(250, 300).rows()
    wrong = lists.relabelled(1).part(0, 250)
    both = [part, replace(wrong, candidates=replace(wrong.candidates, user=wrong.candidates.user + 1000))]
    tables = [rows_of(p.candidates, p.features, p.gains, seed=0) for p in both]
    joint = {
        name: np.concatenate([getattr(table, name) for table in tables])
        for name in ("values", "label", "group", "user", "item")
    }
    weight = np.repeat(np.float32([1, 1e-6]), [len(table.label) for table in tables])
    weighed = Rows(names=tables[0].names, weight=weight, **joint)
    plain = replace(weighed, weight=None)
    curves = [
        LambdaMART(**QUICK, objective="binary").fit(rows, valid, seed=0).meta["valid_ndcg@10"]
        for rows in (weighed, plain)
    ]
    assert curves[0][0] != curves[1][0]


def test_isolated_training_carries_weights(lists, monkeypatch):
    rows = lists.part(0, 100).rows()
    rows = replace(rows, weight=np.linspace(0.1, 2, len(rows.label), dtype=np.float32))
    recipe = LambdaMART(trees=5)
    here = recipe.fit(rows, no_rows(rows.names), seed=0)
    monkeypatch.setenv("STAGELENS_ISOLATE", "1")
    assert recipe.fit(rows, no_rows(rows.names), seed=0).text == here.text
    assert recipe.fit(replace(rows, weight=None), no_rows(rows.names), seed=0).text != here.text


def test_without_valid_lists_all_trees_are_kept_and_it_says_so(lists):
    rows = lists.part(0, 100).rows()
    made = LambdaMART(trees=12).fit(rows, no_rows(rows.names), seed=0)
    assert len(made.forest.root) == made.meta["best_iteration"] == 12
    assert made.meta["note"] == "no valid lists: all 12 trees are kept"
    assert made.meta["valid_ndcg@10"] == []


def test_the_meta_tells_what_was_decided(fitted):
    meta = fitted.meta
    assert len(meta["valid_ndcg@10"]) == meta["rounds"] <= QUICK["trees"]
    assert QUICK["min_trees"] <= meta["best_iteration"] <= meta["rounds"]
    assert len(fitted.forest.root) == meta["best_iteration"]
    assert meta["lightgbm"]["label_gain"] == [0, 1]
    assert meta["lightgbm"]["lambdarank_truncation_level"] == 30
    assert str(meta["best_iteration"]) in meta["note"]
    splits = len(fitted.forest.feature)
    assert fitted.parameters == 2 * splits + len(fitted.forest.root)


def test_valid_curve_is_ndcg_at_10(lists, ndcg):
    """The last point of the curve is the valid ndcg@10 of the whole model, by plain arithmetic."""
    valid = lists.part(250, 300)
    recipe = LambdaMART(trees=30, min_trees=30, smoothing=1, min_rows_leaf=20)
    made = recipe.fit(lists.part(0, 250).rows(), valid.rows(), seed=0)
    assert made.meta["best_iteration"] == 30
    order = ordered(made, valid)
    assert ndcg(order, valid.candidates, valid.gains).mean() == pytest.approx(
        made.meta["valid_ndcg@10"][-1], abs=2e-3
    )


def test_nothing_to_learn_from_is_refused(lists):
    rows = lists.part(0, 50).rows()
    with pytest.raises(DataError, match=r"recall\.size"):
        LambdaMART().fit(no_rows(rows.names), rows, seed=0)
    with pytest.raises(ConfigError, match="no column"):
        LambdaMART().fit(rows.columns(()), rows.columns(()), seed=0)


def test_columns_that_say_nothing_give_a_flat_model(lists):
    part = lists.part(0, 50)
    rows = replace(part, features=Features(("flat",), np.ones((50, 30, 1), np.float32))).rows()
    made = LambdaMART(trees=3).fit(rows, rows, seed=0)
    flat = Features(("flat",), np.ones((50, 30, 1), np.float32))
    assert len(np.unique(made.score(part.candidates, flat))) == 1


def test_only_feature_groups_are_features():
    LambdaMART(features=(Evidence(),))
    with pytest.raises(ConfigError, match="not a feature group"):
        load({"use": "rerank.LambdaMART", "features": [{"use": "rerank.KeepOrder"}]})
    assert KeepOrder().features == ()


def test_a_missing_openmp_names_the_package(tmp_path):
    """A LightGBM whose shared library cannot be loaded, as on a bare system."""
    (tmp_path / "lightgbm.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')\n")
    code = "from stagelens.rerank.boosting import load_lightgbm; load_lightgbm()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode
    assert "MissingExtra" in done.stderr
    assert "apt-get install libgomp1" in done.stderr


def test_isolated_training_says_what_failed(lists, tmp_path, monkeypatch):
    (tmp_path / "lightgbm.py").write_text("raise ValueError('broken on purpose')\n")
    monkeypatch.setenv("STAGELENS_ISOLATE", "1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rows = lists.part(0, 10).rows()
    with pytest.raises(RuntimeError, match="broken on purpose"):
        LambdaMART(trees=2).fit(rows, rows, seed=0)


def test_the_best_round_is_stable():
    """A lone early spike does not win; the floor holds; a rising curve keeps everything."""
    spiked = [0.3] * 100
    spiked[1] = 0.9
    spiked[60:80] = [0.4] * 20
    assert Stopping(smoothing=10, floor=30, patience=20).best(spiked) == 70
    assert Stopping(smoothing=10, floor=5, patience=20).best(spiked) in range(70, 81)
    assert Stopping(smoothing=1, floor=1, patience=20).best(spiked) == 2
    falling = list(np.linspace(1, 0, 100))
    assert Stopping(smoothing=10, floor=30, patience=20).best(falling) == 30
    rising = list(np.linspace(0, 1, 100))
    assert Stopping(smoothing=10, floor=30, patience=20).best(rising) == 100
    assert Stopping(smoothing=10, floor=30, patience=20).best([0.5, 0.4]) == 2


def test_training_stops_after_patience_and_not_before_the_floor():
    stopping = Stopping(smoothing=5, floor=30, patience=10)
    falling = list(np.linspace(1, 0, 100))
    assert next(n for n in range(1, 100) if stopping.done(falling[:n])) == 40
    rising = list(np.linspace(0, 1, 100))
    assert not any(stopping.done(rising[:n]) for n in range(1, 100))


def test_trees_that_cannot_be_scored_are_refused():
    text = "tree\n\nTree=0\nnum_leaves=2\nnum_cat=1\n\nend of trees\n"
    with pytest.raises(ValueError, match="numerical"):
        Forest.read(text)
