"""Training lists: what a re-ranker may read, positives that recall lost, exposures, and shared work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.compose import Then, Union
from stagelens.pipeline.core import Interactions
from stagelens.pipeline.experiment.arms import plan_of
from stagelens.pipeline.recipe import load
from stagelens.recall import Dense, ItemKNN, Popular
from stagelens.rerank import Evidence, History, Popularity, Similarity

GROUPS = (Evidence(), History(), Popularity(), Similarity(modality="text"))


def union(**fields) -> Union:
    parts = (Popular(), ItemKNN(), Dense(modality="text", device="cpu"))
    return Union(**{"parts": parts, "size": 15, "weights": "equal", **fields})


def rows_of(bench):
    return bench.training_rows(union(), GROUPS)


def pairs(window: Interactions) -> set[tuple[int, int]]:
    return set(zip(window.user.tolist(), window.item.tolist(), strict=True))


def listed(rows, positive: bool) -> set[tuple[int, int]]:
    keep = (rows.label > 0) == positive
    return set(zip(rows.user[keep].tolist(), rows.item[keep].tolist(), strict=True))


# ---------------------------------------------------------------- what is off is not read


def test_a_modality_that_is_off_leaves_no_trace_in_the_columns(make_study, tiny, make_bench):
    """On one fixed list (base + text), with text and without it."""
    plan = plan_of(make_study(), tiny)
    bench = make_bench(tiny)
    arms = {arm.name: arm for arm in plan.arms if arm.stage == "rerank"}
    columns = {
        name: bench.columns(arms[name].system.rerank.features, arms[name].recall)
        for name in ("base", "base + text")
    }
    on = columns["base + text"]
    assert {"evidence: Dense(text) rank", "evidence: merged score", "evidence: merged rank"} <= set(on)
    assert any("Similarity(text)" in name or "text" in name for name in on if not name.startswith("evidence"))
    off = columns["base"]
    assert "evidence: ItemKNN rank" in off
    assert not [name for name in off if "merged" in name]
    assert not [
        name for name in off if "text" in name and name != "evidence: channels found without Dense(text)"
    ]


def test_the_count_of_finders_does_not_count_a_hidden_channel(tiny, make_bench):
    bench = make_bench(tiny)
    window = bench.windows.valid
    queries = window.queries(0, len(window))
    candidates, _ = bench.candidates(union(), window, 0, len(window))
    group = Evidence(hidden=("Dense(text)",), merged=False)
    made = bench.features((group,), union(), window, queries, candidates)
    count = made.values[..., made.names.index("evidence: channels found without Dense(text)")]
    visible = (candidates.channel_rank[..., :2] > 0).sum(axis=2)
    assert np.array_equal(count[candidates.found], visible[candidates.found].astype(np.float32))
    assert (candidates.channel_rank[..., 2] > 0).any()


def test_equal_columns_of_several_groups_are_computed_once(tiny, make_bench):
    bench = make_bench(tiny)
    window = bench.windows.valid
    queries = window.queries(0, 40)
    candidates, _ = bench.candidates(union(), window, 0, 40)
    hidden = Evidence(hidden=("Dense(text)",), merged=False)
    both = bench.features((Evidence(), hidden), union(), window, queries, candidates)
    assert len(set(both.names)) == len(both.names)
    for group in (Evidence(), hidden):
        alone = bench.features((group,), union(), window, queries, candidates)
        assert np.array_equal(both.columns(alone.names).values, alone.values, equal_nan=True)


# ---------------------------------------------------------------- shared work


def test_equal_rerankers_are_fitted_once_and_shared(make_study, tiny, make_bench, quick_trees):
    bench = make_bench(tiny)
    system = Then(
        recall=union(), rerank=replace(load({"use": "rerank.LambdaMART", **quick_trees}), features=GROUPS)
    )
    first = bench.reranker(system)
    assert bench.reranker(replace(system, top=5)) is not None
    made = [entry.name for entry in bench.store.ledger.values() if entry.made and entry.kind == "rerank"]
    twin = make_bench(tiny, store=bench.store)
    again = twin.reranker(Then(recall=union(), rerank=system.rerank))
    assert [e.name for e in bench.store.ledger.values() if e.made and e.kind == "rerank"] == made
    assert again.save().arrays["model"].tobytes() == first.save().arrays["model"].tobytes()


def test_arms_of_a_study_share_their_fits(make_study, tiny, tmp_path):
    from stagelens.pipeline.experiment.runner import simulate

    result = simulate(
        make_study(**{"rerank.base_view": True}), out=tmp_path / "out", store=tmp_path / "store"
    )
    made = [entry for entry in result.manifest["artefacts"] if entry["made"]]
    fits = [entry["name"] for entry in made if entry["kind"] == "fit"]
    assert len(fits) == len(set(fits))  # ItemKNN serves eight systems and is fitted once a window
    assert {"ItemKNN on labels", "ItemKNN on valid"} <= set(fits)
    trained = [entry["name"] for entry in made if entry["kind"] == "rerank" and "LambdaMART" in entry["name"]]
    # reference list with and without text, base list with and without text; end to end they are the same two
    assert len(trained) == 4
    both = result.manifest["systems"]
    assert both["both/own/base"] == both["rerank/base/base [base list]"]
    values = {
        (s["stage"], s["system"]): s["metrics"]["ndcg@10"]["mean"] for s in result.summary["systems"][5:]
    }
    assert values["both", "base"] == values["rerank", "base [base list]"]
    assert values["both", "base + text"] == values["rerank", "base + text"]


# ---------------------------------------------------------------- positives that recall lost


@pytest.mark.parametrize("refit", ["full", "cross"])
def test_lost_positives_are_dropped_and_counted(tiny, tiny_split, make_bench, refit):
    bench = make_bench(tiny, tiny_split, refit=refit, n_folds=3)
    rows, _ = rows_of(bench)
    counts = bench.lost_counts[union().label]
    target = pairs(tiny_split.labels if refit == "full" else tiny_split.train)
    assert counts["positives"] == len(target)
    assert counts["lost"] == len(target) - len(listed(rows, True) & target) > 0
    assert listed(rows, True) <= target
    assert rows.weight is None


def test_injected_positives_all_stand_in_the_rows_and_have_evidence_like_the_others(
    tiny, tiny_split, make_bench
):
    plain, _ = rows_of(make_bench(tiny, tiny_split))
    bench = make_bench(tiny, tiny_split, lost="inject", negatives=None)
    rows, _ = rows_of(bench)
    positives = listed(rows, True)
    assert len(positives) > len(listed(plain, True))
    known = {user for user, _ in positives}
    target = {pair for pair in pairs(tiny_split.labels) if pair[0] in known} - pairs(tiny_split.history)
    assert len(target - positives) <= 0.02 * len(target)  # never more than half of a list is put in

    fitted = {part.label: bench.fitted(part, bench.windows.rows[0]) for part in union().parts}
    window = bench.windows.rows[0]
    users = window.truth.user
    for label, channel in fitted.items():
        rank = rows.values[:, rows.names.index(f"evidence: {label} rank")]
        place = np.searchsorted(users, rows.user)
        queries = window.queries(0, len(window)).rows(place)
        scored = np.isfinite(channel.score(queries, rows.item[:, None])[:, 0])
        assert np.array_equal(
            np.isfinite(rank), scored
        )  # absent only where the channel has no score for the pair
    merged = rows.values[:, rows.names.index("evidence: merged score")]
    assert np.isfinite(merged).all()


def test_weights_make_up_for_lost_positives(tiny, tiny_split, make_bench):
    bench = make_bench(tiny, tiny_split, lost="weight")
    rows, _ = rows_of(bench)
    truth = bench.windows.rows[0].truth
    wanted = dict(zip(truth.user.tolist(), truth.count.tolist(), strict=True))
    start = 0
    for size in rows.group:
        block = slice(start, start + size)
        start += size
        inside = int((rows.label[block] > 0).sum())
        user = int(rows.user[start - 1])
        assert np.unique(rows.weight[block]).tolist() == [np.float32(wanted[user] / inside)]
    assert rows.weight.max() > 1


def test_the_three_policies_serve_the_same_candidates(tiny, tiny_split, make_bench):
    lists = []
    for lost in ("drop", "inject", "weight"):
        bench = make_bench(tiny, tiny_split, lost=lost)
        lists.append(
            bench.candidates(union(), bench.windows.test, 0, len(bench.windows.test))[0].item.tobytes()
        )
    assert len(set(lists)) == 1


# ---------------------------------------------------------------- exposures


def with_impressions(tiny, tiny_split):
    """Every label user was shown six items that nobody ever took from the list, one of them after the labels."""
    rng = np.random.default_rng(0)
    users = tiny_split.labels.users()
    user = np.repeat(users, 6)
    last = int(tiny_split.labels.time.max())
    time = np.tile([last - 5, last - 4, last - 3, last - 2, last - 1, last + 10], len(users))
    shown = Interactions.of(
        user, rng.integers(0, tiny.n_items, len(user)), n_users=200, n_items=150, time=time
    )
    return replace(tiny, impressions=shown), last


def test_exposures_become_negatives_and_later_ones_do_not(tiny, tiny_split, make_bench):
    data, last = with_impressions(tiny, tiny_split)
    plain, _ = rows_of(make_bench(tiny, tiny_split, negatives=None))
    rows, _ = rows_of(make_bench(data, tiny_split, negatives=None))
    shown = data.impressions
    in_time, late = (pairs(shown.where(keep)) for keep in (shown.time <= last, shown.time > last))
    users = set(rows.user.tolist())
    expected = (
        {pair for pair in in_time if pair[0] in users} - pairs(tiny_split.history) - pairs(tiny_split.labels)
    )
    assert len(expected - listed(rows, False)) <= 0.05 * len(
        expected
    )  # never more than half of a list is put in
    new = listed(rows, False) - listed(plain, False)
    assert len(new) > 100
    assert new <= in_time
    assert not new & (late - in_time)
    assert listed(rows, True) == listed(plain, True)  # no positive is pushed out


def test_exposures_change_no_served_candidate(tiny, tiny_split, make_bench):
    data, _ = with_impressions(tiny, tiny_split)
    lists = []
    for dataset in (tiny, data):
        bench = make_bench(dataset, tiny_split)
        lists.append(
            bench.candidates(union(), bench.windows.test, 0, len(bench.windows.test))[0].item.tobytes()
        )
    assert lists[0] == lists[1]
