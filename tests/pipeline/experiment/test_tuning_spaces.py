"""What may be moved of a recipe: spaces, what is held, edges, and the configuration that uses the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.tuning import arms_of
from stagelens.pipeline.experiment.tuning_block import Found, best_toml
from stagelens.pipeline.experiment.tuning_options import TuneOptions
from stagelens.pipeline.experiment.tuning_search import Search
from stagelens.pipeline.experiment.tuning_space import Searched, searched, tunable
from stagelens.pipeline.experiment.tuning_trials import Trial, TrialLog
from stagelens.pipeline.recipe import load
from stagelens.pipeline.space import Choice, Whole

SPOILED = "tuning_toys:Spoiled"
SIDES = {"ItemKNN": "items", "UserKNN": "users", "SLIM": "items", "RP3beta": "items"}
EVERY = [(room, name) for room in ("recall", "rerank") for name in tunable(room)]


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def one(word: Any, room: str = "recall", role: str = "channel") -> Searched:
    [arm] = searched([word], room, role)
    return arm


@pytest.mark.parametrize(("room", "name"), EVERY)
def test_a_space_names_fields_and_values_that_the_recipe_has(room: str, name: str) -> None:
    arm = one(name, room, "reranker" if room == "rerank" else "channel")
    for path, dimension in arm.space.items():
        ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for end in ends:
            assert load(arm.written({path: end})) is not None
        if isinstance(dimension, Choice):
            assert arm.default[path] in dimension.values
    assert arm.recipe(arm.default) == arm.start


def test_there_are_spaces_to_check() -> None:
    assert {("recall", "ItemKNN"), ("recall", "PureSVD"), ("rerank", "LambdaMART")} <= set(EVERY)


def test_vectors_are_searched_by_dense_under_dotted_names() -> None:
    arm = one("PureSVD")
    assert (arm.name, set(arm.space)) == ("PureSVD", {"vectors.factors"})
    assert arm.written({"vectors.factors": 7}) == {
        "use": "recall.Dense",
        "vectors": {"use": "recall.PureSVD", "factors": 7},
    }
    assert arm.recipe({"vectors.factors": 7}).vectors.factors == 7
    assert arm.default == {"vectors.factors": 64}


def test_what_a_table_sets_is_held_and_named() -> None:
    whole = one(SPOILED)
    held = one(f'{{use = "{SPOILED}", noise = 0.5}}')
    assert set(whole.space) - set(held.space) == {"noise"}
    assert held.name == "Spoiled(noise=0.5)"
    assert held.recipe({"steps": 3}).noise == 0.5
    names = [arm.name for arm in searched([SPOILED, {"use": SPOILED, "sign": -1}], "recall", "channel")]
    assert names == ["Spoiled", "Spoiled(sign=-1)"]
    with pytest.raises(ConfigError, match="nothing to tune"):
        one({"use": "recall.PureSVD", "factors": 5})
    with pytest.raises(ConfigError, match="named twice"):
        searched([SPOILED, SPOILED], "recall", "channel")
    with pytest.raises(ConfigError, match="same search"):
        searched(
            ["PureSVD", {"use": "recall.Dense", "vectors": {"use": "recall.PureSVD"}}], "recall", "channel"
        )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ItemKN", "Did you mean 'ItemKNN'"),
        ("Popular", "nothing to tune: it has no search space"),
        ("rerank.LambdaMART", "LambdaMART is a reranker, expected a channel"),
        ("{use = recall}", "not a TOML table"),
        ("tuning_toys:Absent", "cannot be loaded"),
        ({"use": "recall.ItemKNN", "neighbors": 3}, "Did you mean 'neighbours'"),
    ],
)
def test_what_cannot_be_tuned_says_why(word: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        one(word)


def test_an_edge_counts_where_the_recipe_allows_more() -> None:
    arm = one("PureSVD")
    assert arm.edges({"vectors.factors": 350}) == ["vectors.factors"]
    assert arm.edges({"vectors.factors": 1}) == []  # none below 1 exists
    assert arm.edges({"vectors.factors": 100}) == []
    spoiled = one(SPOILED)
    assert spoiled.edges({"noise": 3.99, "steps": 1000, "sign": 1}) == ["noise", "steps"]
    assert spoiled.edges({"noise": 3.0, "steps": 500, "sign": -1}) == []
    assert spoiled.edges({"noise": 0.0, "steps": 1, "sign": 1}) == ["noise", "steps"]


@pytest.mark.parametrize(("name", "most"), [("ItemKNN", 39), ("UserKNN", 29), ("SLIM", 39), ("RP3beta", 39)])
def test_a_small_data_set_ends_the_range(name: str, most: int) -> None:
    arm = one(name).within(users=30, items=40)
    assert arm.space["neighbours"] == Whole(5, most, fewer_than=SIDES[name], ends=True)
    assert list(arm.space) == list(one(name).space)  # the same draws for everything else
    assert arm.edges({**arm.default, "neighbours": most}) == []  # there is nothing beyond
    assert "neighbours" in one(name).edges({**arm.default, "neighbours": 1000})
    assert one(name).within(users=1001, items=1001) == one(name)
    assert one(name).within(users=3, items=3).space["neighbours"] == Whole(
        2, 2, fewer_than=SIDES[name], ends=True
    )


def test_the_default_is_the_base() -> None:
    assert [arm.name for arm in arms_of(Study())] == ["ItemKNN"]
    held = Study.load(None, {"recall.base": [{"use": "recall.Popular"}]})
    with pytest.raises(ConfigError, match="--channel"):
        arms_of(held)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "dcg@10"}, "use ndcg"),
        ({"metric": "recal@10"}, "recall"),
        ({"channels": ["ItemKNN"], "rerankers": ["LambdaMART"]}, "one kind at a time"),
        ({"trials": 0}, "trials"),
        ({"seconds": 0}, "seconds"),
        ({"sampler": "grid"}, "sampler"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Study.load(None, {f"tune.{name}": value for name, value in options.items()})


def found(arm: Searched, values: list[float | None], parameters: dict[str, Any]) -> Found:
    trials = [
        Trial(n, parameters if n else arm.default, value, 0.1, "failed" if value is None else "complete")
        for n, value in enumerate(values)
    ]
    return Found.of(Search(arm, TrialLog(Path()), 0, TuneOptions(), trials))


def test_the_best_takes_its_namesakes_place_and_the_rest_joins(tmp_path: Path) -> None:
    knn = found(one("ItemKNN"), [0.1, 0.3], {"neighbours": 44})
    other = found(one({"use": "recall.ItemKNN", "similarity": "dot"}), [0.1, 0.2], {"neighbours": 11})
    svd = found(one("PureSVD"), [0.1, 0.4, 0.4], {"vectors.factors": 17})
    lost = found(one(SPOILED), [None, None], {})
    text = best_toml([knn, other, svd, lost], Study(), "shop", "0" * 64, "0123456789")
    (tmp_path / "best.toml").write_text(text)
    base = Study.load(str(tmp_path / "best.toml")).recall.base
    assert base == (
        {"use": "recall.Popular"},
        {"use": "recall.ItemKNN", "neighbours": 44},
        {"use": "recall.Dense", "vectors": {"use": "recall.PureSVD", "factors": 17}},
    )
    assert "PureSVD: 0.4000, with its defaults 0.1000" in text
    assert svd.record()["trial"] == 1  # the first of equals
    assert lost.best is None


def test_notes_name_edges_and_searches_that_ended_early() -> None:
    at_edge = found(one("PureSVD"), [0.1, *[0.2] * 9], {"vectors.factors": 350})
    assert at_edge.notes() == [
        "PureSVD: vectors.factors = 350 lies on the edge of its range 1 to 350; better values may lie beyond"
    ]
    late = found(one("PureSVD"), [*[0.1] * 9, 0.2], {"vectors.factors": 100})
    assert late.notes() == [
        "PureSVD: the best is trial 10 of 10; more trials may find better (--trials goes on from these)"
    ]
    assert at_edge.record()["so_far"] == [
        {"trials": count, "value": value} for count, value in ((1, 0.1), (2, 0.2), (5, 0.2), (10, 0.2))
    ]
