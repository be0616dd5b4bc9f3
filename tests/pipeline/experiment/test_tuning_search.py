"""The search: equal budgets, trials that follow from the seed, resumed and lengthened, and test kept shut."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.errors import ConfigError, DataError, MissingExtra
from stagelens.pipeline.evaluate.metrics import Metric, measure
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.experiment.tuning import arms_of, benches_of, tune
from stagelens.pipeline.experiment.tuning_measure import Alone
from stagelens.pipeline.experiment.tuning_options import TuneOptions
from stagelens.pipeline.experiment.tuning_search import STALE, run, within_budget
from stagelens.pipeline.experiment.tuning_trials import Trial, TrialLog, next_parameters
from stagelens.pipeline.progress import Silent
from stagelens.pipeline.recipe import load
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import heading, sections
from stagelens.pipeline.store import Store

pytest.importorskip("optuna", reason="the extra 'tune' is not installed")

SPOILED, COIN, REFUSED = (f"tuning_toys:{name}" for name in ("Spoiled", "Coin", "Refused"))
Tuned = Callable[..., Any]


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def tuned(make_study, tmp_path: Path) -> Tuned:
    """Tune on the tiny world: ``tuned("out", channels=..., trials=...)``; one store a test."""

    def make(out: str, *, seed: int = 0, store: str = "store", **options: Any) -> Any:
        study = make_study(**{f"tune.{name}": value for name, value in options.items()}, seeds=(seed,))
        return tune(study, out=tmp_path / out, store=tmp_path / store)

    return make


def table(result: Any) -> pd.DataFrame:
    """The trials without their times."""
    return pd.read_parquet(result.folder / "trials.parquet").drop(columns="seconds")


def arm(result: Any, name: str) -> dict[str, Any]:
    return next(one for one in result.summary["tuning"]["arms"] if one["arm"] == name)


def test_every_arm_gets_the_same_trials_and_begins_with_its_defaults(tuned: Tuned) -> None:
    result = tuned("out", channels=[SPOILED, COIN, "ItemKNN"], trials=14)
    validate(result.summary)
    trials = table(result)
    assert trials.groupby("arm").size().to_dict() == {"Spoiled": 14, "Coin": 14, "ItemKNN": 14}
    first = trials[trials.trial == 0].set_index("arm").parameters.map(json.loads)
    assert first["Spoiled"] == {"noise": 2.0, "steps": 10, "sign": 1}
    assert first["ItemKNN"] == arm(result, "ItemKNN")["defaults"]
    for name in ("Spoiled", "Coin", "ItemKNN"):
        values = trials[trials.arm == name].value
        assert arm(result, name)["best"] == values.max()
        assert arm(result, name)["default"] == values.iloc[0]
        assert arm(result, name)["trial"] == np.nanargmax(values.to_numpy())  # of equals the first
    assert arm(result, "Spoiled")["gain"] > 0
    assert {file.name for file in result.folder.iterdir()} == {
        *("best.toml", "config.toml", "manifest.json", "summary.json", "trials.parquet")
    }


def test_repeats_count_and_are_not_fitted_again(tuned: Tuned) -> None:
    result = tuned("out", channels=[{"use": COIN, "pause": 0.3}], trials=12)
    whole = pd.read_parquet(result.folder / "trials.parquet")
    assert (whole.state == "complete").sum() == 2
    assert (whole.state == "duplicate").sum() == 10
    assert (whole.seconds > 0.3).sum() == 2
    for row in whole[whole.state == "duplicate"].itertuples():
        number = int(row.reason.rsplit(" ", 1)[1])
        assert whole.value[number] == row.value
        assert json.loads(whole.parameters[number]) == json.loads(row.parameters)


def test_a_failed_trial_says_why_counts_and_is_avoided(tuned: Tuned, make_study, tmp_path: Path) -> None:
    result = tuned("out", channels=[SPOILED], trials=40, sampler="random")
    trials = table(result)
    failed = trials[trials.state == "failed"]
    assert len(failed) == arm(result, "Spoiled")["failed"] > 0
    assert failed.reason.str.contains("at most 300").all()
    assert failed.value.isna().all()
    assert len(trials) == 40
    assert any("trials failed; the first: steps = " in note for note in result.summary["tuning"]["notes"])

    [spoiled] = arms_of(make_study(**{"tune.channels": [SPOILED]}))
    ended = [
        Trial(n, {"noise": 1.0, "steps": 20 * n + 1, "sign": 1}, None if n > 20 else 0.1, 0.1, "complete")
        for n in range(40)
    ]
    drawn = [next_parameters(spoiled, ended, "tpe", seed)["steps"] for seed in range(30)]
    assert np.mean(np.array(drawn) > 400) < 0.2


def test_nothing_succeeded_is_an_error_with_the_reason(tuned: Tuned) -> None:
    with pytest.raises(ConfigError, match=r"No trial of any arm succeeded.*at most 300"):
        tuned("out", channels=[REFUSED], trials=3)
    both = tuned("both", channels=[REFUSED, COIN], trials=3)
    assert arm(both, "Refused")["best"] is None
    assert "Refused" not in (both.folder / "best.toml").read_text()
    validate(both.summary)
    assert any("Refused" in row[0] for section in sections(both.summary) for row in section.rows)


def test_test_is_not_read_not_opened_and_not_counted(
    tuned: Tuned, tiny, tiny_split, make_study, tmp_path: Path
) -> None:
    """Other test events change no trial: the windows of a search hold none."""
    study = make_study(**{"tune.channels": ["ItemKNN", SPOILED], "tune.trials": 6})
    test = tiny_split.test
    rng = np.random.default_rng(0)
    other = Interactions.of(
        test.user, rng.permutation(test.item), time=test.time, n_users=test.n_users, n_items=test.n_items
    )
    assert other.fingerprint() != test.fingerprint()
    found = []
    for place, split in enumerate((tiny_split, replace(tiny_split, test=other))):
        store = Store(tmp_path / f"canary {place}")
        benches = benches_of(study, tiny, split, store)
        assert all(len(bench.windows.test) == 0 for bench in benches.values())
        examiner = Alone(benches, Metric.parse("recall@20"))
        searches = run(arms_of(study), examiner, study.tune, seed=0, store=store, progress=Silent())
        found.append([[(t.parameters, t.value, t.state) for t in search.trials] for search in searches])
    assert found[0] == found[1]

    result = tuned("out", channels=["ItemKNN"], trials=2)
    assert result.manifest["test_opened"] == 0
    assert not (tmp_path / "store" / "test-opened").exists()
    after = Study.load(
        str(result.folder / "best.toml"),
        {"data.path": study.data.path, "stage": "recall", "modalities": ("interaction",), "recall.size": 20},
        ("measure.draws=999", "measure.latency_queries=0", "measure.importance=false"),
    )
    assert simulate(after, out=tmp_path / "study", store=tmp_path / "store").manifest["test_opened"] == 1
    assert (tmp_path / "store" / "test-opened").is_dir()


def test_an_empty_valid_window_is_refused(make_study, tiny, tiny_split, tmp_path: Path) -> None:
    nobody = replace(tiny_split, valid=tiny_split.valid.where(np.zeros(len(tiny_split.valid), dtype=bool)))
    with pytest.raises(DataError, match="nothing to choose on"):
        benches_of(make_study(), tiny, nobody, Store(tmp_path))


@pytest.mark.parametrize(
    "table_",
    [
        {"use": "recall.ItemKNN", "neighbours": 30},
        {"use": "recall.Dense", "vectors": {"use": "recall.PureSVD", "factors": 9}},
        {"use": "recall.Random"},
    ],
)
@pytest.mark.parametrize("metric", ["recall@20", "ndcg@10"])
def test_a_trial_is_worth_what_a_study_measures_of_the_channel(
    make_study, make_bench, tiny, tiny_split, tmp_path: Path, table_, metric
) -> None:
    """The second way: fitted through the store, read back, listed on disk."""
    study, wanted, made = make_study(), Metric.parse(metric), load(table_)
    benches = benches_of(study, tiny, tiny_split, Store(tmp_path))
    bench = make_bench(tiny, tiny_split)
    window = bench.windows.valid
    files = bench.lists(made, window, 20)
    item = files.read("item", 0, len(window))
    ranks = np.array(
        [
            (np.flatnonzero(item[row] == relevant) + 1).sum()
            for row, relevant in zip(window.truth.pair_row, window.truth.pair_item, strict=True)
        ],
        dtype=np.int32,
    )
    expected = measure(ranks, window.truth, [wanted]).mean()
    assert 0 < expected < 1
    assert Alone(benches, wanted).value(made) == pytest.approx(expected, abs=1e-12)
    assert not any(path.suffix == ".npy" for path in tmp_path.rglob("*"))  # no artefact of a trial stays


def test_several_seeds_are_averaged_where_the_recipe_has_randomness(
    make_study, tiny, tiny_split, tmp_path: Path
) -> None:
    metric = Metric.parse("recall@20")
    benches = benches_of(make_study(seeds=(0, 1, 2)), tiny, tiny_split, Store(tmp_path))
    for use in ("recall.Random", "recall.ItemKNN"):
        made = load({"use": use})
        single = [Alone({seed: bench}, metric).value(made) for seed, bench in benches.items()]
        expected = np.mean(single) if made.seeded else single[0]
        assert Alone(benches, metric).value(made) == pytest.approx(expected, abs=1e-15)


def test_more_trials_go_on_from_fewer_and_fewer_are_their_beginning(tuned: Tuned, tmp_path: Path) -> None:
    words = {"channels": [SPOILED, "ItemKNN"]}
    few = tuned("few", trials=5, **words)
    [log, *_] = sorted((tmp_path / "store" / "tune").rglob("*.jsonl"))
    before = log.read_bytes()
    many = tuned("many", trials=13, **words)
    assert log.read_bytes().startswith(before)
    assert many.manifest["trials_kept_from_before"] == {"Spoiled": 5, "ItemKNN": 5}
    apart = tuned("apart", trials=13, store="other", **words)
    pd.testing.assert_frame_equal(table(many), table(apart))
    again = tuned("again", trials=5, **words)
    pd.testing.assert_frame_equal(table(few), table(again))
    assert few.summary["fingerprint"] == again.summary["fingerprint"] != many.summary["fingerprint"]


def test_another_seed_sampler_metric_or_held_field_is_another_search(tuned: Tuned) -> None:
    first = table(tuned("a", channels=[SPOILED], trials=4))
    for place, other in enumerate(
        (
            {"seed": 1},
            {"metric": "ndcg@10"},
            {"channels": [{"use": SPOILED, "steps": 3}]},
        )
    ):
        options = {"channels": [SPOILED], "trials": 4, **other}
        assert not first.equals(table(tuned(f"other {place}", **options)))
    many = {"channels": [SPOILED], "trials": 20}
    assert not table(tuned("tpe", **many)).equals(table(tuned("random", sampler="random", **many)))


def test_the_estimator_finds_what_is_best_sooner_than_chance(make_study) -> None:
    """On a known function, mean over seeds: no fit, so nothing but the sampler differs."""
    [spoiled] = arms_of(make_study(**{"tune.channels": [SPOILED]}))

    def best(sampler: Any, seed: int) -> float:
        ended: list[Trial] = []
        for number in range(30):
            values = next_parameters(spoiled, ended, sampler, seed)
            worth = -abs(float(values["noise"]) - 0.7) - (values["sign"] != 1)
            ended.append(Trial(number, values, worth, 0.0, "complete"))
        return max(trial.value for trial in ended if trial.value is not None)

    tpe, chance = ([best(sampler, seed) for seed in range(4)] for sampler in ("tpe", "random"))
    assert np.mean(tpe) > np.mean(chance)


def test_a_line_that_a_kill_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "tune" / "one.jsonl")
    trials = [Trial(n, {"a": 0.1 * n}, n / 7, 0.5, "complete") for n in range(3)]
    for trial in trials:
        log.append(trial)
    whole = log.path.read_bytes()
    for rest in (b'{"number": 3, "para', b"\x00\xff\n", whole.splitlines(keepends=True)[1], whole[:-1][-40:]):
        log.path.write_bytes(whole + rest)
        assert log.read() == trials
        assert log.path.read_bytes() == whole
    assert TrialLog(tmp_path / "absent.jsonl").read() == []


def test_seconds_end_an_arm_after_the_trial_that_used_them_up(tuned: Tuned) -> None:
    slow = {"use": SPOILED, "pause": 0.2}
    result = tuned("out", channels=[slow], seconds=0.7)
    spent = pd.read_parquet(result.folder / "trials.parquet").seconds
    assert spent.iloc[:-1].sum() < 0.7 <= spent.sum()
    assert result.summary["tuning"]["budget"] == {"trials": None, "seconds": 0.7}
    both = tuned("both", channels=[slow], seconds=60, trials=2)
    assert len(table(both)) == 2

    once = Trial(0, {}, 0.1, 1e-6, "complete")
    repeats = [replace(once, number=n, state="duplicate") for n in range(1, STALE + 50)]
    assert len(within_budget([once, *repeats], TuneOptions(seconds=60))) == STALE + 1
    assert len(within_budget([once, *repeats], TuneOptions(trials=STALE + 20))) == STALE + 20
    assert len(within_budget([once, *repeats], TuneOptions())) == 50


def test_a_re_ranker_is_tuned_on_fixed_lists(tuned: Tuned, quick_trees) -> None:
    few = {"use": "rerank.LambdaMART", "trees": 15, "min_trees": 5, "patience": 5}
    result = tuned("out", rerankers=[few], trials=3)
    validate(result.summary)
    block = result.summary["tuning"]
    assert (block["stage"], block["metric"]) == ("rerank", "ndcg@10")
    [one] = block["arms"]
    assert 0 < one["default"] <= one["best"]
    after = Study.load(str(result.folder / "best.toml"))
    assert after.rerank.reranker == {**few, **one["parameters"]}
    again = tuned("again", rerankers=[few], trials=3, store="other")
    pd.testing.assert_frame_equal(table(result), table(again))


def test_the_re_rankers_value_is_that_of_a_study(
    make_study, make_bench, tiny, tiny_split, tmp_path, quick_trees
):
    from stagelens.pipeline.compose import Then
    from stagelens.pipeline.experiment.arms import Builder
    from stagelens.pipeline.experiment.measure import final_lists
    from stagelens.pipeline.experiment.tuning_measure import OnLists

    study = make_study()
    builder = Builder(study, tiny)
    recall = builder.union(("text",))
    reranker = builder.reranker(recall, ("text",))
    bench = make_bench(tiny, tiny_split)
    [final] = final_lists(bench, [Then(recall=recall, rerank=reranker)], bench.windows.valid)
    expected = measure(final.ranks, bench.windows.valid.truth, ["ndcg@10"]).mean()
    benches = benches_of(study, tiny, tiny_split, Store(tmp_path))
    own = OnLists(benches, Metric.parse("ndcg@10"), recall, reranker.features)
    bare = load({"use": "rerank.LambdaMART", **quick_trees})
    assert own.value(bare) == pytest.approx(expected, abs=1e-12)


def test_the_pages_say_what_was_found(tuned: Tuned) -> None:
    result = tuned("out", channels=[SPOILED, COIN], trials=12)
    titles = [section.title for section in sections(result.summary, complete=True)]
    assert titles == ["Tuned: recall@20 on valid", "Best so far, by trials"]
    best, curve = sections(result.summary, complete=True)
    assert best.rows[0][0] == "Spoiled"  # the best arm first
    assert "Test was not opened" in best.explain
    assert best.rows[0][1] == curve.rows[0][-1]
    assert not any("interval" in line for line in heading(result.summary))


def test_without_optuna_the_message_names_the_extra(tuned: Tuned, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"stagelens\[tune\]"):
        tuned("out", channels=[COIN], trials=2)
