"""``simulate sparsity`` on a tiny world: paired, nested, resumable, and an answer wherever data runs out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.compose import Union
from stagelens.pipeline.core import Dataset, Interactions, ModalityTable
from stagelens.pipeline.data.thinning import Budget, thinned
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.evaluate.curves import Axis, area_weights
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.measure import candidate_set
from stagelens.pipeline.experiment.runner import simulate
from stagelens.pipeline.experiment.sparsity_block import _Block
from stagelens.pipeline.experiment.sparsity_curves import Curve, Point, SparsityPlan
from stagelens.pipeline.report.schema import validate
from stagelens.pipeline.report.sections import sections
from stagelens.recall import ItemKNN

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
LABELS = ["100 %", "50 %", "10 %"]


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """The tiny world with a second modality that a fifth of the items lack."""
    rng = np.random.default_rng(0)
    text = tiny.modalities["text"].values
    image = (text @ rng.standard_normal((text.shape[1], 6)) + rng.standard_normal((len(text), 6))).astype(
        np.float32
    )
    image[rng.permutation(len(image))[:30]] = 0
    place = tmp_path_factory.mktemp("sparsity") / "shop"
    write_dataset(tiny.with_modality(ModalityTable.of("image", image)), place)
    return place


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-store")


@pytest.fixture(scope="module")
def run(make_study, folder, store, tmp_path_factory):
    """Run a study of the folder: ``run(**options)``; sparsity options without their prefix."""
    own = {"how", "budgets", "order", "draw", "tuning", "policies", "scale"}

    def go(**options: Any):
        lean = {"kind": "sparsity", "seeds": [0], "data.path": str(folder), "measure.latency_queries": 0}
        given = {f"sparsity.{name}" if name in own else name: value for name, value in options.items()}
        study = make_study(**{**lean, "modalities": ["text"], "sparsity.budgets": [50, 10], **given})
        return simulate(study, out=tmp_path_factory.mktemp("run") / "out", store=store)

    return go


@pytest.fixture(scope="module")
def whole(run):
    """Three seeds, with permuted copies."""
    return run(seeds=[0, 1, 2], **{"measure.information": True})


def points(summary, system, metric="recall@20"):
    return [p for p in summary["sparsity"] if (p["system"], p["metric"]) == (system, metric)]


def test_the_summary_fits_its_schema_and_has_every_system_at_every_budget(whole):
    validate(whole.summary)
    systems = {"random", "popular", "ItemKNN", "base", "text", "base + text", "base + text (permuted)"}
    assert {p["system"] for p in whole.summary["sparsity"]} == systems
    for system in systems:
        for metric in ("recall@5", "recall@10", "recall@20"):
            assert [p["label"] for p in points(whole.summary, system, metric)] == LABELS
    assert [p["budget"] for p in points(whole.summary, "base")] == [1.0, 0.5, 0.1]
    users = {p["n"] for p in whole.summary["sparsity"]}
    assert len(users) == 1  # all test users count at every budget


def test_budgets_are_nested_and_share_mask_valid_and_test(whole):
    kept = whole.manifest["budgets"]
    assert list(kept) == ["", "50 %", "10 %"]
    assert [one["interactions"] for one in kept.values()] == sorted(
        (one["interactions"] for one in kept.values()), reverse=True
    )
    for shared in ("mask", "valid", "test"):
        assert len({one[shared] for one in kept.values()}) == 1
    assert len({one["train"] for one in kept.values()}) == 3


def test_curves_are_paired_by_user(whole):
    frame = pd.read_parquet(whole.folder / "measurements.parquet")
    frame = frame[(frame.metric == "recall") & (frame.k == 20) & (frame.seed == 1)]
    users = [part.user_id.tolist() for _, part in frame.groupby("system", observed=True)]
    assert len(users) == 1 + 6 * 3  # random once
    assert all(one == users[0] for one in users)


def test_with_everything_kept_it_is_simulate_itself(whole, run):
    plain = run(
        kind="stages", name="simulate", stage="recall", seeds=[0, 1, 2], **{"measure.information": True}
    )
    before = {s["system"]: s["metrics"] for s in plain.summary["systems"]}
    after = {s["system"]: s["metrics"] for s in whole.summary["systems"]}
    for system in ("popular", "base", "base + text"):
        for metric in ("recall@5", "recall@20", "filled_share"):
            assert after[f"{system} at 100 %"][metric] == before[system][metric]
    again = [e for e in plain.manifest["artefacts"] if e["made"] and e["kind"] in ("fit", "lists", "weights")]
    assert not [e for e in again if "permuted" not in e["name"]]  # computed once, whichever study asks


def test_nothing_is_made_twice(whole, run):
    again = run(seeds=[0, 1, 2], **{"measure.information": True})
    assert again.manifest["made"] == 0
    assert again.summary["sparsity_study"] == whole.summary["sparsity_study"]
    fits = [
        e["name"]
        for e in whole.manifest["artefacts"]
        if e["kind"] == "fit" and e["name"].startswith("ItemKNN")
    ]
    assert len(fits) == 3  # one a budget, whatever the number of seeds


def test_another_block_size_gives_the_same_bytes(run, make_study, folder, tmp_path):
    one = run(seeds=[1])
    options = {"kind": "sparsity", "seeds": [1], "data.path": str(folder), "measure.latency_queries": 0}
    more = {"modalities": ["text"], "sparsity.budgets": [50, 10], "block": 37}
    other = simulate(make_study(**options, **more), out=tmp_path / "out", store=tmp_path / "store")
    name = "measurements.parquet"
    assert (other.folder / name).read_bytes() == (one.folder / name).read_bytes()
    assert other.summary["sparsity_study"] == one.summary["sparsity_study"]


def test_the_area_and_the_growth_are_sums_of_worth(whole):
    block = whole.summary["sparsity_study"]
    worth = np.array([row["difference"] for row in block["worth"]])
    weights = area_weights(np.array([1.0, 0.5, 0.1]), Axis(block["scale"]))
    assert block["area"][0]["difference"] == pytest.approx(float(weights @ worth), rel=1e-9)
    assert block["growth"][0]["difference"] == pytest.approx(float(weights @ worth - worth[0]), rel=1e-9)
    margins = np.array([row["margin"] for row in block["worth"]])
    assert block["area"][0]["margin"] == pytest.approx(float(weights @ margins))
    primary = [c for c in whole.summary["comparisons"] if c["primary"]]
    assert len(primary) == 3 + 2
    for row in (*block["area"], *block["growth"], *block["worth"]):
        excludes = row["low"] > 0 or row["high"] < 0
        assert excludes == (row["p_adjusted"] < 0.05)


def test_worth_is_the_distance_of_two_curves(whole):
    base, on = points(whole.summary, "base"), points(whole.summary, "base + text")
    for row, low, high in zip(whole.summary["sparsity_study"]["worth"], base, on, strict=True):
        assert row["difference"] == pytest.approx(high["mean"] - low["mean"], abs=1e-12)


def test_the_paired_band_is_about_the_fall_since_everything_was_kept(whole):
    for system in ("popular", "ItemKNN", "base", "text", "base + text"):
        first, *rest = points(whole.summary, system)
        assert first["paired_low"] == first["mean"] == first["paired_high"]
        losses = [r for r in whole.summary["sparsity_study"]["loss"] if r["system"] == system]
        for point, loss in zip(rest, losses, strict=True):
            assert point["paired_low"] <= point["mean"] <= point["paired_high"]
            assert point["paired_high"] - first["mean"] == pytest.approx(loss["high"], abs=1e-12)


def test_what_is_won_back_is_worth_over_a_loss_that_is_sure(whole):
    block = whole.summary["sparsity_study"]
    losses = {row["label"]: row for row in block["loss"] if row["system"] == "base"}
    said, before = 0, block["worth"][0]["difference"]
    for row in block["worth"]:
        loss = losses.get(row["label"])
        if loss is None or loss["high"] >= 0:
            assert row["won_back"] is None
        else:
            said += 1
            back = row["won_back"]
            assert back["share"] == pytest.approx(
                (row["difference"] - before) / -loss["difference"], rel=1e-9
            )
            assert back["low"] <= back["share"] <= back["high"]
    assert said  # this world loses much at 10 %


def test_worth_that_was_there_before_wins_nothing_back():
    rng = np.random.default_rng(0)
    target = Interactions.of(rng.integers(0, 60, 300), rng.integers(0, 80, 300), n_users=60, n_items=80)
    truth = Truth.of(target)
    keys = {
        name: tuple(("recall", "catalogue", f"{name} at {at}") for at in (1, 0)) for name in ("base", "on")
    }
    curves = {name: Curve(name, "recall", "base", None, own) for name, own in keys.items()}
    one = (rng.random((1, truth.pairs)) < 0.8) / truth.count[truth.pair_row]
    worth = rng.random((1, truth.pairs)) / truth.count[truth.pair_row]
    tables = {keys["base"][0]: one, keys["base"][1]: 0.5 * one}
    lost = {"family": "loss", "stage": "recall", "baseline": "base at 1", "system": "base at 0"}
    lost |= {"slice": None, "verdict": "hurts", "high": -0.1}
    measure = SimpleNamespace(alpha=0.05, draws=999)
    finished = SimpleNamespace(records=[lost], truth=truth, study=SimpleNamespace(measure=measure))
    block = _Block(finished, SparsityPlan((), (), (), points=(Point("1", 1.0), Point("0", 0.1))))
    block.adds = lambda key: tables[key]
    for gained, share in ((0.0, 0.0), (0.25, 0.5)):
        tables[keys["on"][0]] = one + worth
        tables[keys["on"][1]] = 0.5 * one + worth + gained * one
        first, back = block._won_back(curves["base"], curves["on"])
        assert first is None
        assert back["share"] == pytest.approx(share, abs=1e-12)
        assert back["low"] <= back["high"] <= back["low"] + 1e-6


def test_ratios_without_a_bound_have_none(whole):
    measure = SimpleNamespace(alpha=0.05, draws=999)
    finished = SimpleNamespace(records=[], truth=None, study=SimpleNamespace(measure=measure))
    ends = _Block(finished, SparsityPlan((), (), (), points=(Point("1", 1.0),)))._ends_of
    drawn = np.linspace(0.0, 1.0, 1001)
    assert ends(0.5, drawn) == {"share": 0.5, "low": 0.025, "high": 0.975}
    few, many = drawn.copy(), drawn.copy()
    few[500], many[:100] = np.nan, np.nan
    assert ends(0.5, few) == pytest.approx({"share": 0.5, "low": 0.024, "high": 0.976}, abs=1e-9)
    assert ends(0.5, many) == {"share": 0.5, "low": None, "high": None}
    many[:100] = np.inf
    assert ends(0.5, many)["low"] == pytest.approx(0.125)
    assert ends(0.5, many)["high"] is None


def test_relative_worth_is_worth_over_the_base(whole):
    block = whole.summary["sparsity_study"]
    base = [p["mean"] for p in points(whole.summary, "base")]
    shares = []
    for row, low in zip(block["worth"], base, strict=True):
        back = row["relative"]
        assert back["share"] == pytest.approx(row["difference"] / low, rel=1e-9)
        assert back["low"] <= back["share"] <= back["high"]
        shares.append(back["share"])
    weights = area_weights(np.array([1.0, 0.5, 0.1]), Axis(block["scale"]))
    growth = block["growth"][0]["relative"]
    assert growth["share"] == pytest.approx(float(weights @ shares) - shares[0], rel=1e-9)
    assert growth["low"] < growth["share"] < growth["high"]


def test_slices_of_every_kind_are_judged_with_n_and_what_would_have_shown(whole):
    rows = [c for c in whole.summary["comparisons"] if c["slice"]]
    names = {c["slice"].rsplit(" ", 1)[0] for c in rows if c["system"] == "base + text, area"}
    for name in (
        "user degree",
        "item degree",
        "text",
        "image",
        "test time first",
        "user x item degree 0-4 x",
    ):
        assert name in names, names
    assert {c["system"] for c in rows} == {f"base + text at {label}" for label in LABELS} | {
        "base + text, area"
    }
    for row in rows:
        assert row["n"] > 0
        assert row["verdict"] in ("helps", "hurts", "no difference", "cannot tell")
    found = {(s["slice"], s["value"]) for s in whole.summary["systems"][0]["slices"]}
    assert {("test time", "last quarter"), ("user x item degree", "5-9 x 1-4")} <= found


# ------------------------------------------------------------ held and retuned


def test_held_weights_are_those_of_everything_kept(run):
    def weights(manifest):
        return {
            name: w for name, w in manifest["weights"].items() if name.startswith("Popular | ItemKNN | Dense")
        }

    held, retuned = (run(tuning=how, budgets=[50, 3]) for how in ("held", "retuned"))
    assert len({json.dumps(w) for w in weights(held.manifest).values()}) == 1
    assert len({json.dumps(w) for w in weights(retuned.manifest).values()}) > 1
    trials = [e for e in retuned.manifest["artefacts"] if e["kind"] == "weights"]
    assert len(trials) == 3 * 2  # three budgets, base and base + text
    assert held.summary["sparsity_study"]["tuning"] == "held"
    first = [next(p for p in points(one.summary, "base + text")) for one in (held, retuned)]
    assert first[0]["mean"] == first[1]["mean"]
    assert held.summary["fingerprint"] != retuned.summary["fingerprint"]


def test_a_channel_alone_is_not_filled_with_popular_items(run):
    alone = run(budgets=[1])
    found = {s["system"]: s for s in alone.summary["systems"]}
    recall = {name: one["metrics"]["recall@20"]["mean"] for name, one in found.items()}
    left = alone.manifest["budgets"]["1 %"]["interactions"]
    for system in ("text at 1 %", "ItemKNN at 1 %"):
        # whoever has no history left is returned nothing
        assert recall[system] <= left / found[system]["metrics"]["recall@20"]["n"]
        for metric in ("coverage@10", "popularity@10", "filled_share"):
            assert found[system]["metrics"][metric]["mean"] is None  # of filled lists, which are not measured
    assert found["base at 1 %"]["metrics"]["filled_share"]["mean"] > 0.0
    assert recall["base at 1 %"] >= 0.8 * recall["popular at 1 %"]


def test_what_a_fill_placed_was_not_within_reach_of_a_channel(make_bench, tiny, tiny_split):
    kept = thinned(tiny_split, Budget("uniform", 0.05))
    bench = make_bench(tiny, kept)
    union = Union(parts=(ItemKNN(),), size=20)
    filled = candidate_set(bench, union, bench.windows.test)
    short = filled.unfilled()
    placed = (filled.ranks > 0) & ~filled.found
    assert placed.any()
    assert filled.reachable[placed].all()
    assert not short.reachable[placed & ~filled.scored].any()
    assert (placed & ~filled.scored).any()
    assert (short.reachable >= (short.ranks > 0)).all()


# ------------------------------------------------------------ ways to thin


def test_content_overtakes_neighbours_between_two_budgets(run, tmp_path):
    """Neighbours find nearly everything where data is dense, and nothing where it is sparse; texts tell the group."""
    groups, users, items = 6, 240, 180
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(users), 16)
    liked = 1 / np.arange(1, items // groups + 1)
    item = rng.choice(items // groups, p=liked / liked.sum(), size=len(user)) * groups + user % groups
    item = np.where(rng.random(len(user)) < 0.9, item, rng.integers(0, items, len(user)))
    log = Interactions.of(user, item, n_users=users, n_items=items)
    told = np.eye(groups)[np.arange(items) % groups] + 0.5 * rng.standard_normal((items, groups))
    text = {"text": ModalityTable.of("text", told.astype(np.float32))}
    names = np.arange(users).astype(str)
    data = Dataset("groups", log, np.full(len(log), -1, np.int8), "none", names, names[:items], text)
    write_dataset(data, tmp_path / "groups")
    found = run(budgets=[50, 20, 5], **{"data.path": str(tmp_path / "groups")})
    validate(found.summary)
    neighbours, alone = ([p["mean"] for p in points(found.summary, name)] for name in ("ItemKNN", "text"))
    assert neighbours[1] > alone[1] + 0.1
    assert neighbours[2] < alone[2] - 0.1
    assert neighbours[3] == 0.0 or neighbours[3] < 0.05  # what they return, without popular items
    channel, base = found.summary["sparsity_study"]["crossing"]
    assert (channel["baseline"], base["baseline"]) == ("ItemKNN", "base")
    assert 0.2 < channel["low"] < channel["budget"] < channel["high"] < 0.5
    assert channel["share"] > 0.99
    assert base["budget"] is base["low"] is base["high"] is None  # popularity fills the base
    assert base["share"] < 0.5
    answer = found.summary["sparsity_study"]["answer"]
    assert answer.startswith("The base against itself with everything kept, recall@20: 50 % -0.1")


def test_without_content_the_answer_is_what_thinning_costs(run):
    found = run(modalities=["interaction"], budgets=[10])
    validate(found.summary)
    block = found.summary["sparsity_study"]
    assert block["answer"].startswith("The base against itself with everything kept, recall@20: 10 % -0.")
    assert "(hurts)" in block["answer"]
    assert "base at 10 % against popular at 10 %, recall@20: " in block["answer"]
    titles = [one.title for one in sections(found.summary)]
    assert titles[-1] == "What thinning costs"
    assert "Verdicts" in titles
    [verdicts] = [one for one in sections(found.summary) if one.title == "Verdicts"]
    assert [row[0] for row in verdicts.rows] == ["base at 100 %", "base at 10 %"]
    first = sections(found.summary, complete=True)[0]
    assert first.explain.startswith(block["answer"])


def test_cold_items_are_found_by_content_alone(run):
    found = run(how="cold-items", budgets=[60])
    validate(found.summary)
    rows = {(r["system"], r["value"]): r for r in found.summary["sparsity_study"]["marked"]}
    for system in ("popular", "ItemKNN", "base"):
        assert rows[system, "cold"]["mean"] == 0.0
        assert rows[system, "cold"]["kept"]["mean"] > 0.0
        assert not rows[system, "cold"]["shown"]
    assert rows["text", "cold"]["mean"] > rows["random", "cold"]["mean"]
    assert rows["base + text", "cold"]["n"] == rows["base", "cold"]["n"] > 0
    assert any(c["slice"] == "items at 60 % cold" for c in found.summary["comparisons"])


def test_cold_users_are_answered_by_what_needs_no_history(run):
    found = run(how="cold-users", budgets=[50])
    validate(found.summary)
    rows = {(r["system"], r["value"]): r for r in found.summary["sparsity_study"]["marked"]}
    assert rows["text", "cold"]["mean"] == 0.0 < rows["text", "cold"]["kept"]["mean"]
    assert rows["base", "cold"]["mean"] > 0.0
    assert rows["base", "cold"]["n"] + rows["base", "warm"]["n"] <= points(found.summary, "base")[0]["n"]
    assert rows["base", "cold"]["shown"] is None


@pytest.mark.parametrize("how", ["oldest", "newest", "per-item"])
def test_every_way_to_thin_ends_with_a_summary(run, how):
    found = run(how=how, budgets=[2] if how == "per-item" else [30])
    validate(found.summary)
    assert found.summary["sparsity_study"]["budgets"][1]["interactions"] > 0


@pytest.mark.parametrize("options", [{"how": "per-user", "budgets": [0, 1]}, {"budgets": [0]}])
def test_nothing_kept_is_a_result(run, options):
    found = run(**options, **{"measure.information": True})
    validate(found.summary)
    block = found.summary["sparsity_study"]
    assert block["scale"] == ("count" if "how" in options else "linear")
    assert block["budgets"][-1]["interactions"] == 0
    last = {
        p["system"]: p["mean"]
        for p in found.summary["sparsity"]
        if p["budget"] == 0 and p["metric"] == "recall@20"
    }
    assert last["text"] == 0.0  # no history, no query
    assert last["base"] == last["popular"] == last["base + text"]  # the fill, in the seeded order
    assert block["worth"][-1]["difference"] == 0.0


def test_a_thinned_modality_has_a_curve_a_policy(run):
    found = run(how="modality", budgets=[50, 0], modalities=["image"])
    validate(found.summary)
    curves = {p["system"] for p in found.summary["sparsity"]}
    assert {"base + image", "base + image, mean", "base + image, from text"} <= curves
    base = points(found.summary, "base")
    assert len({p["mean"] for p in base}) == 1
    gone = {
        p["system"]: p["mean"]
        for p in found.summary["sparsity"]
        if p["budget"] == 0 and p["metric"] == "recall@20"
    }
    assert gone["image"] == 0.0
    assert gone["base + image"] == base[0]["mean"]
    withheld = [r for r in found.summary["sparsity_study"]["marked"] if r["value"] == "withheld"]
    by_system = {(r["system"], r["label"]): r["mean"] for r in withheld}
    assert by_system["image", "50 %"] == 0.0  # an item without a vector is never returned
    assert by_system["image, from text", "50 %"] > 0.0
    [entry] = [
        t for t in found.manifest["treatments"] if t["name"] == "image at 50 %" and t["stage"] == "recall"
    ]
    assert entry["before"] != entry["after"]


def test_final_lists_have_curves_too(run):
    found = run(stage="both", budgets=[40])
    validate(found.summary)
    stages = {(p["stage"], p["metric"]) for p in found.summary["sparsity"] if "paired_low" in p}
    assert stages == {("recall", "recall@20"), ("both", "ndcg@10")}
    assert {row["stage"] for row in found.summary["sparsity_study"]["area"]} == {"recall", "both"}
    assert [p["label"] for p in points(found.summary, "base + text", "ndcg@10")] == ["100 %", "40 %"]


def test_a_reranker_without_a_training_list_says_so(run):
    with pytest.raises(DataError, match=r"0 %: 0 training lists.*label window more interactions"):
        run(stage="both", budgets=[0])


def test_what_an_approximate_index_loses_is_told_for_cold_items(run):
    content = {"use": "recall.Dense", "index": "IVF16,Flat", "nprobe": 1}
    found = run(how="cold-items", budgets=[50], **{"recall.content": content})
    validate(found.summary)
    rows = [r for r in found.summary["sparsity_study"]["index_by_cold"] if r["label"] == "50 %"]
    assert {r["system"] for r in rows} == {"text", "base + text"}
    [alone] = [r for r in rows if r["system"] == "text"]
    assert alone["difference"] == pytest.approx(alone["cold"] - alone["warm"])
    assert alone["low"] < alone["difference"] < alone["high"]
    slices = {(r["system"], r["slice"]) for r in found.summary["index"]}
    assert ("text at 50 %", "items at 50 %") in slices
    assert ("text at 100 %", "items at 50 %") not in slices


# ------------------------------------------------------------ real data


@pytest.mark.data
@pytest.mark.parametrize(("name", "modalities"), [("tiktok", ["visual"]), ("amazon_baby", ["interaction"])])
def test_it_runs_on_real_data(run, name, modalities):
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name}: not here")
    found = run(
        **{"data.path": str(SHARED / name), "modalities": modalities, "recall.size": 100}, budgets=[5]
    )
    validate(found.summary)
    base = points(found.summary, "base", "recall@100")
    assert base[1]["mean"] < base[0]["mean"]
    kept = found.manifest["budgets"]
    assert kept[""]["mask"] == kept["5 %"]["mask"]
    assert kept["5 %"]["interactions"] == pytest.approx(0.05 * kept[""]["interactions"], rel=1e-3)
