"""What a run leaves behind: sums, schema, seeds, margins, refusals, and nothing half-written."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow.parquet import ParquetFile

from stagelens.pipeline.compose import Union
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.losses import CLASSES
from stagelens.pipeline.experiment.outputs import GROUP_ROWS
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.recipe import load
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.workbench import Workbench

ROUGH = {"use": "recall.Dense", "index": "IVF16,Flat", "device": "cpu"}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("outputs") / "store"


@pytest.fixture(scope="module")
def both(make_study, store):
    """Both stages, with an approximate index."""
    return simulate(make_study(**{"recall.content": ROUGH}), out=store.parent / "both", store=store)


def table(result) -> pd.DataFrame:
    return pd.read_parquet(result.folder / "measurements.parquet")


def test_the_summary_fits_its_schema_and_stands_in_the_folder(both):
    validate(both.summary)
    assert json.loads((both.folder / "summary.json").read_text()) == both.summary
    names = {path.name for path in both.folder.iterdir()}
    assert {"config.toml", "manifest.json", "measurements.parquet", "comparisons.parquet"} <= names


def test_measurements_stand_in_few_row_groups(both):
    """One a system and metric would be thousands, and take longer to write than a stored study takes to judge."""
    held = ParquetFile(both.folder / "measurements.parquet")
    assert held.num_row_groups == -(-held.metadata.num_rows // GROUP_ROWS)
    assert set(table(both).system) == {system["system"] for system in both.summary["systems"]}


def test_six_classes_sum_to_one_for_every_user(both):
    found = table(both)
    losses = found[found.metric.isin([f"loss_{name}" for name in CLASSES])]
    keys = ["system", "stage", "view", "seed", "user_id"]
    sums = losses.groupby(keys, observed=True).value.agg(["sum", "count"])
    assert (sums["count"] == 6).all()
    assert np.abs(sums["sum"] - 1).max() < 1e-12
    shown = {(s["stage"], s["system"]) for s in both.summary["systems"]}
    assert set(zip(losses.stage, losses.system, strict=True)) == shown
    assert len(sums) == len(both.summary["systems"]) * found.user_id.nunique()


def test_losses_are_what_a_count_by_hand_says(both, tiny, tiny_split, store):
    """The union with the approximate index, user by user, from its lists, those of its exact twin, and scores."""
    bench = Workbench.of(tiny, tiny_split, seed=0, store=store)
    window, k = bench.windows.test, 20
    parts = [
        load({"use": "recall.Popular"}),
        load({"use": "recall.ItemKNN"}),
        load({**ROUGH, "modality": "text"}),
    ]
    union = Union(parts=tuple(parts), size=k)
    rough, _ = bench.candidates(union, window, 0, len(window))
    exact, _ = bench.candidates(union.exact(), window, 0, len(window), like=union)
    queries = window.queries(0, len(window))
    found = table(both)
    found = found[(found.system == "base + text") & (found.stage == "recall")]
    told = found.pivot_table(
        index="user_id", columns="metric", values="value", observed=True, aggfunc="first"
    )
    for row, user in enumerate(window.truth.user):
        relevant = window.truth.relevant[row]
        padded = relevant[None, :].astype(np.int32)
        one = queries.rows(np.array([row]))
        finite = np.zeros(len(relevant), dtype=bool)
        for part in parts:
            finite |= np.isfinite(bench.fitted(part, window).score(one, padded)[0])
        counts = dict.fromkeys((*CLASSES, "index_gain"), 0)
        for item, scored in zip(relevant.tolist(), finite, strict=True):
            inside, twin = item in rough.item[row], item in exact.item[row]
            counts["index_gain"] += inside and not twin
            if inside:
                counts["hit"] += 1
            elif not scored or item in queries.seen[row]:
                counts["unreachable"] += 1
            else:
                counts["index" if twin else "recall"] += 1
        for name, count in counts.items():
            assert told.loc[tiny.users[user], f"loss_{name}"] == pytest.approx(
                count / len(relevant), abs=1e-12
            )


def test_an_approximate_index_is_measured_against_its_exact_twin(both, make_study, tmp_path, store):
    alone = next(s for s in both.summary["systems"] if (s["stage"], s["system"]) == ("recall", "text"))
    assert 0 < alone["metrics"]["agreement@20"]["mean"] < 1
    assert alone["losses"]["index"] > 0
    assert alone["losses"]["index_gain"] > 0
    base = next(s for s in both.summary["systems"] if (s["stage"], s["system"]) == ("recall", "base"))
    assert "agreement@20" not in base["metrics"]
    plain = simulate(make_study(stage="recall"), out=tmp_path / "out", store=store)
    exact = next(s for s in plain.summary["systems"] if s["system"] == "text")
    assert "agreement@20" not in exact["metrics"]
    assert exact["losses"]["index"] == exact["losses"]["index_gain"] == 0
    one, other = alone["losses"], exact["losses"]  # hit = exact hit - index loss + index gain
    assert one["hit"] == pytest.approx(other["hit"] - one["index"] + one["index_gain"], abs=1e-12)


def test_floor_and_ceiling_enclose_every_order(both):
    orders = {s["system"]: s["metrics"] for s in both.summary["systems"] if s["stage"] == "rerank"}
    best = orders["oracle"]["ndcg@10"]["mean"]
    for metrics in orders.values():
        assert metrics["ndcg@10"]["mean"] <= best + 1e-12
        assert metrics["ceiling_ndcg@10"]["mean"] == pytest.approx(best, abs=1e-12)
        assert metrics["recall@20"]["mean"] == pytest.approx(orders["oracle"]["recall@20"]["mean"], abs=1e-12)
    lists = {key: digest for key, digest in both.manifest["lists"].items() if key.startswith("rerank/")}
    assert len(set(lists.values())) == 1


def test_means_are_those_of_the_users(both):
    found = table(both)
    for system in both.summary["systems"]:
        for name in ("recall@20",) if system["stage"] == "recall" else ("ndcg@10", "hit@5", "mrr@10"):
            metric, _, k = name.partition("@")
            rows = found[
                (found.system == system["system"])
                & (found.stage == system["stage"])
                & (found.metric == metric)
                & (found.k == int(k))
            ]
            assert rows.user_id.is_unique
            assert rows.value.mean() == pytest.approx(system["metrics"][name]["mean"], abs=1e-12)


def test_two_seeds_are_refused_before_anything_is_written(make_study, tmp_path):
    with pytest.raises(ConfigError, match=r"Two seeds.*three or more"):
        simulate(make_study(seeds=[0, 1]), out=tmp_path / "out", store=tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_three_seeds_run_and_widen_what_a_seed_moves(make_study, tmp_path, store):
    three = simulate(make_study(stage="rerank", seeds=[0, 1, 2]), out=tmp_path / "three", store=store)
    validate(three.summary)
    assert {c["seeds"] for c in three.summary["comparisons"]} == {3}
    found = table(three)
    assert set(found.seed) == {0, 1, 2}
    ndcg = found[(found.metric == "ndcg") & (found.k == 10)]
    means = ndcg.groupby(["system", "seed"], observed=True).value.mean().unstack()
    assert means.loc["base"].nunique() == 3  # trained three times
    assert means.loc["oracle"].nunique() == 1
    system = next(s for s in three.summary["systems"] if s["system"] == "base")
    assert system["metrics"]["ndcg@10"]["mean"] == pytest.approx(means.loc["base"].mean(), abs=1e-12)


def given_folders(tiny, tmp_path) -> list[Path]:
    """The tiny world with its split written down, as it is and with the items of test replaced at random."""
    windows = split(tiny)
    log = tiny.interactions
    code = {}
    for name, value in (("history", 0), ("labels", 0), ("valid", 1), ("test", 2)):
        window = getattr(windows, name)
        code.update(dict.fromkeys(zip(window.user.tolist(), window.item.tolist(), strict=True), value))
    given = np.array([code[pair] for pair in zip(log.user.tolist(), log.item.tolist(), strict=True)], np.int8)
    items = log.item.copy()
    known = {(u, i) for u, i in zip(log.user.tolist(), log.item.tolist(), strict=True)}
    rng = np.random.default_rng(0)
    for place in np.flatnonzero(given == 2):
        user = int(log.user[place])
        free = [item for item in range(tiny.n_items) if (user, item) not in known]
        items[place] = rng.choice(free)
        known.add((user, int(items[place])))
    folders = []
    for name, changed in (("true", log), ("random", replace(log, item=items))):
        folders.append(tmp_path / name)
        write_dataset(replace(tiny, name="same", interactions=changed, given=given), folders[-1])
    return folders


def test_margins_and_weights_are_fixed_without_test(make_study, tiny, tmp_path):
    runs = [
        simulate(
            make_study(**{"data.path": str(folder)}),
            out=tmp_path / f"out-{folder.name}",
            store=tmp_path / "s",
        )
        for folder in given_folders(tiny, tmp_path)
    ]
    first, second = (run.manifest for run in runs)
    assert first["split"]["hash"] != second["split"]["hash"]
    assert first["margins"] == second["margins"]
    assert all(margin > 0 for margin in first["margins"].values())
    assert first["weights"] == second["weights"]
    assert first["training_lists"] == second["training_lists"]
    fitted = [
        {e["key"] for e in found["artefacts"] if e["kind"] in ("fit", "weights", "rerank")}
        for found in (first, second)
    ]
    assert fitted[1] <= fitted[0]  # not one fit of the second run is new
    assert len(fitted[1]) > 5
    value = [next(s for s in run.summary["systems"] if s["system"] == "base + text") for run in runs]
    assert (
        value[0]["metrics"]["recall@20"]["mean"] > value[1]["metrics"]["recall@20"]["mean"]
    )  # test did change


@pytest.mark.parametrize("held", ["notes", "another run", "a file"])
def test_an_out_folder_that_holds_something_else_is_refused_and_unchanged(make_study, tmp_path, store, held):
    lean = {"stage": "recall", "modalities": ["interaction"]}
    out = tmp_path / "out"
    if held == "notes":
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
    elif held == "a file":
        out.write_text("years of work")
    else:
        simulate(make_study(**lean, **{"recall.size": 17}), out=out, store=store)

    def content() -> dict[str, bytes]:
        return {
            str(p.relative_to(tmp_path)): p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()
        }

    before = content()
    said = {"notes": "files that are no run", "another run": "holds the run", "a file": "is a file"}[held]
    with pytest.raises(ConfigError, match=said):
        simulate(make_study(**lean), out=out, store=store)
    assert content() == before


@contextmanager
def files_at_most(size: int):
    """Let every write beyond this many bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1000, 8000, 20_000])
def test_a_full_disk_leaves_nothing_half_written(make_study, tmp_path, size):
    study = make_study(stage="recall")
    with (
        files_at_most(size),
        pytest.raises(OSError, match=r"File too large|requested and \d+ written|Error writing"),
    ):
        simulate(study, out=tmp_path / "out", store=tmp_path / "store")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    for meta in (tmp_path / "store").glob("*/*/*/meta.json"):
        assert json.loads(meta.read_text())  # what is there is whole
    again = simulate(study, out=tmp_path / "out", store=tmp_path / "store")
    fresh = simulate(study, out=tmp_path / "fresh", store=tmp_path / "other")
    read = [(run.folder / "measurements.parquet").read_bytes() for run in (again, fresh)]
    assert read[0] == read[1]


def test_a_full_disk_while_the_results_are_written_keeps_the_old_ones(make_study, tmp_path):
    study = make_study(stage="recall")
    first = simulate(study, out=tmp_path / "out", store=tmp_path / "store")
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    largest = max(map(len, before.values()))
    with (
        files_at_most(largest * 9 // 10),  # timings change length from run to run
        pytest.raises(OSError, match=r"File too large|requested and \d+ written|Error writing"),
    ):
        simulate(study, out=tmp_path / "out", store=tmp_path / "store")
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert not list(tmp_path.glob(".out*"))
