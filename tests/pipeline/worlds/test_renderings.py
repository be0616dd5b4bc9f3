"""Each parameter of a modality does what it says, as a perfect linear reader of many items sees it."""

from typing import Any

import numpy as np
import pytest

from stagelens.pipeline.core import ModalityTable
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import dump, load
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.preference import slate_exposure
from stagelens.pipeline.worlds.world import World

MANY = {"users": 20, "items": 6000, "factors": 6, "categories": 30, "activity": 5.0}


def made(modalities: dict[str, dict[str, Any]], **fields: Any) -> Generated:
    narrow = {name: {"width": 16, **said} for name, said in modalities.items()}
    return World(**{**MANY, "modalities": narrow, **fields}).truth(4)


def read(target: np.ndarray, *tables: ModalityTable) -> np.ndarray:
    """The variance of each target column that least squares recovers from the vectors, beyond chance."""
    rows = np.flatnonzero(np.logical_and.reduce([table.present for table in tables]))
    inputs = np.hstack([np.ones((len(rows), 1)), *[table.rows(rows) for table in tables]]).astype(np.float64)
    target = target[rows]
    solution = np.linalg.lstsq(inputs, target, rcond=None)[0]
    left = ((target - inputs @ solution) ** 2).sum(axis=0) / (len(rows) - np.linalg.matrix_rank(inputs))
    return target.var(axis=0) - left


def share(world: Generated, *names: str, columns: slice = slice(None)) -> float:
    traits = world.preference.traits[:, columns]
    return float(read(traits, *[world.dataset.modalities[name] for name in names]).mean())


def test_signal_is_what_a_reader_recovers_and_the_rest_belongs_to_others():
    """0.3 of 6 factors ends inside the second, 0.55 in the fourth: parts of factors add up too."""
    world = made({"text": {"signal": 0.3}, "image": {"signal": 0.25}, "audio": {"signal": 0.45}})
    for name, signal in (("text", 0.3), ("image", 0.25), ("audio", 0.45)):
        assert share(world, name) == pytest.approx(signal, abs=0.015)
    assert share(world, "text", "image") == pytest.approx(0.55, abs=0.015)
    assert share(world, "text", "image", "audio") == pytest.approx(1, abs=0.01)


def test_redundancy_is_the_part_that_others_show_as_well():
    world = made({"text": {"signal": 0.5, "redundancy": 0.4}, "image": {"signal": 0.25, "redundancy": 0.8}})
    assert share(world, "text") == pytest.approx(0.5, abs=0.015)
    assert share(world, "image") == pytest.approx(0.25, abs=0.015)
    assert share(world, "text", "image") == pytest.approx(0.5 + 0.25 - 0.2, abs=0.015)
    same = made({"text": {"signal": 0.5, "redundancy": 1}, "image": {"signal": 0.5, "redundancy": 1}})
    assert share(same, "text", "image") == pytest.approx(0.5, abs=0.015)


def test_three_share_what_is_common():
    said = {"text": (0.3, 0.5), "image": (0.2, 0.75), "audio": (0.3, 0.2)}
    world = made({name: {"signal": signal, "redundancy": part} for name, (signal, part) in said.items()})
    assert share(world, *said) == pytest.approx(0.15 + 0.15 + 0.05 + 0.24, abs=0.015)
    assert share(world, "image", "audio") == pytest.approx(
        0.2 + 0.24, abs=0.015
    )  # audio's common part in image's


@pytest.mark.parametrize(("grain", "between"), [("both", 0.5), ("between", 1.0), ("within", 0.0)])
def test_grain_is_where_the_signal_lies(grain, between):
    world = made({"text": {"signal": 0.4, "grain": grain}})
    category = np.unique(world.items["category"], return_inverse=True)[1]
    traits, count = world.preference.traits, np.bincount(category)
    means = np.stack([np.bincount(category, column) / count for column in traits.T], axis=1)[category]
    table = world.dataset.modalities["text"]
    assert share(world, "text") == pytest.approx(0.4, abs=0.015)
    # shown in one sum, the two parts blur each other
    assert read(means, table).mean() == pytest.approx(0.4 * between**2, abs=0.015)
    assert read(traits - means, table).mean() == pytest.approx(0.4 * (1 - between) ** 2, abs=0.015)


def test_vectors_that_know_only_categories_are_equal_inside_one():
    world = made({"text": {"signal": 0.3, "grain": "between", "style": 0}})
    _, first, category = np.unique(world.items["category"], return_index=True, return_inverse=True)
    values = world.dataset.modalities["text"].values
    np.testing.assert_allclose(values, values[first][category], atol=1e-6)


def test_category_share_is_what_lies_between_categories():
    for wanted in (0.0, 0.3, 1.0):
        world = made({}, category_share=wanted)
        category = np.unique(world.items["category"], return_inverse=True)[1]
        traits, count = world.preference.traits, np.bincount(category)
        means = np.stack([np.bincount(category, column) / count for column in traits.T], axis=1)[category]
        np.testing.assert_allclose(traits.var(axis=0), 1, rtol=0.05)
        assert means.var(axis=0).mean() == pytest.approx(wanted, abs=0.01)


def test_evenness_and_favourites():
    alike, spread = (made({}, evenness=evenness) for evenness in (1000.0, 0.5))
    sizes = [np.unique(world.items["category"], return_counts=True)[1] for world in (alike, spread)]
    assert sizes[0].std() < 0.1 * sizes[0].mean() < sizes[1].std()
    one = made({}, favourites=1, own_taste=0.0, category_share=1.0)
    match = one.preference.match(np.arange(20)[:, None], np.arange(6000)[None, :])
    category = np.unique(one.items["category"], return_inverse=True)[1]
    mean = np.stack([np.bincount(category, row) / np.bincount(category) for row in match])
    assert (np.sort(mean, axis=1)[:, -1] > 1.5).all()  # the favourite
    assert (np.abs(match - mean[:, category]) < 1e-9).all()  # and nothing within a category


def test_noise_takes_its_share_of_the_signal():
    world = made({"text": {"signal": 0.6, "noise": 0.3}})
    assert share(world, "text") == pytest.approx(0.6 * 0.7, abs=0.015)


def test_style_is_the_rest_of_the_vectors_variance():
    for style in (0.0, 0.2, 0.9):
        world = made({"text": {"signal": 0.5, "style": style, "width": 24}})
        values = world.dataset.modalities["text"].values.astype(np.float64)
        traits = np.c_[np.ones(6000), world.preference.traits]
        left = (values - traits @ np.linalg.lstsq(traits, values, rcond=None)[0]).var(axis=0).sum()
        assert values.var(axis=0).sum() == pytest.approx(1, abs=0.05)
        assert left == pytest.approx(style, abs=0.02)
    nothing = made({"text": {"signal": 0}})
    assert share(nothing, "text") == pytest.approx(0, abs=0.005)
    assert nothing.dataset.modalities["text"].values.var(axis=0).sum() == pytest.approx(1, abs=0.05)


def test_anisotropy_is_the_mean_cosine_of_raw_vectors():
    for wanted in (0.0, 0.3, 0.8):
        values = made({"text": {"anisotropy": wanted}}).dataset.modalities["text"].values
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        cosine = (unit.sum(axis=0) @ unit.sum(axis=0) - len(unit)) / (len(unit) * (len(unit) - 1))
        assert cosine == pytest.approx(wanted, abs=0.03)


def test_missing_and_duplicate_shares():
    table = made({"text": {"missing": 0.25, "duplicates": 0.1}}).dataset.modalities["text"]
    assert (~table.present).sum() == 1500
    assert len(np.unique(table.values[table.present], axis=0)) == 6000 - 1500 - 600


def test_what_is_unseen_no_content_shows():
    world = made({"text": {"signal": 0.6}, "image": {"signal": 0.4}}, unseen=0.3, factors=10, users=100)
    assert world.preference.traits.shape == (6000, 10)
    hidden = slice(7, None)
    assert share(world, "text", "image", columns=slice(0, 7)) == pytest.approx(1, abs=0.01)
    assert share(world, "text", "image", columns=hidden) == pytest.approx(0, abs=0.01)
    match = world.preference.match(np.arange(100)[None, :], np.arange(6000)[:, None])
    np.testing.assert_allclose(match.std(axis=0), 1, rtol=1e-6)
    seen = read(match, *world.dataset.modalities.values())
    assert seen.mean() == pytest.approx(0.7, abs=0.01)
    assert seen.std() < 0.05
    category = np.unique(world.items["category"], return_inverse=True)[1]
    means = np.bincount(category, world.preference.traits[:, -1]) / np.bincount(category)
    assert np.var(means[category]) < 0.02  # hidden factors know no categories


def test_all_unseen_and_all_seen():
    hidden = made({"text": {"signal": 0}}, unseen=1.0)
    assert hidden.preference.traits.shape == (6000, 6)
    assert np.isfinite(hidden.relevance(np.arange(20)[:, None], np.arange(6000)[None, :])).all()
    assert share(hidden, "text") == pytest.approx(0, abs=0.005)


def test_threads_change_no_vector():
    from stagelens.pipeline.native import available_cores, set_threads

    try:
        set_threads(1)
        alone = made({"text": {"width": 128}}).dataset.modalities["text"].digest
        set_threads(2)
        assert made({"text": {"width": 128}}).dataset.modalities["text"].digest == alone
    finally:
        set_threads(available_cores())


REFUSED = {
    "users = 0: Input should be greater than or equal to 1": {"users": 0},
    r"activity = 5000 of 6000 items: .* allowed at most half, 3000": {"activity": 5000},
    "fewest = 4000 of 6000 items": {"fewest": 4000},
    "categories = 4000 of 6000 items: allowed at most half": {"categories": 4000},
    "categories = 6 for 6 factors that content can show: .* Allowed 7 and more": {"categories": 6},
    "unseen = 0.5 of 1 factor": {"factors": 1, "unseen": 0.5},
    "slate = 7000 of 6000 items: allowed at most all": {"slate": 7000, "exposure": "popularity"},
    "Unknown field of text 'signl'. Did you mean 'signal'?": {"modalities": {"text": {"signl": 0.3}}},
    r"text\.signal = 3: allowed 0 to 1": {"modalities": {"text": {"signal": 3}}},
    r"text\.anisotropy = 1: allowed 0 to 0.99": {"modalities": {"text": {"anisotropy": 1}}},
    r"modalities\.text\.grain = 'x': Input should be 'both', 'between' or 'within'": {
        "modalities": {"text": {"grain": "x"}}
    },
    r"text = 0.5: write a table": {"modalities": {"text": 0.5}},
    "the name 'interaction' is taken": {"modalities": {"interaction": {}}},
    r"signals beyond the variance\. Between categories lies 0\.5 .* asked are 0 in common \+ 0\.35 of text alone "
    r"\+ 0\.2 of image alone = 0\.55": {"modalities": {"text": {"signal": 0.7}, "image": {"signal": 0.4}}},
    r"Within categories lies 0\.4 of .* asked are 0 in common \+ 0\.5 of text alone = 0\.5": {
        "modalities": {"text": {"signal": 0.5, "grain": "within"}},
        "category_share": 0.6,
    },
    r"text\.redundancy = 0\.5: 0\.2 of its signal 0\.4 is to be common, and the others have 0\.1 in common with it\. "
    r"Allowed here: at most 0\.25": {
        "modalities": {
            "text": {"signal": 0.4, "redundancy": 0.5},
            "image": {"signal": 0.2, "redundancy": 0.5},
        }
    },
    r"text\.width = 3: it shows 3 preference factors and one direction of style; allowed 4 and more": {
        "modalities": {"text": {"signal": 0.5, "width": 3}}
    },
    "signal 0 and style 0 leave nothing to show": {"modalities": {"text": {"signal": 0, "style": 0}}},
    r"missing 0\.6 \+ duplicates 0\.4 of the items": {
        "modalities": {"text": {"missing": 0.6, "duplicates": 0.4}}
    },
    r"signal = 0\.5: unseen = 1 leaves content nothing to show": {"unseen": 1.0},
    r"popularity = 30 with 6000 items: .* 10\^113 times less often .* allowed 10\^100": {"popularity": 30},
    r"popularity = 0\.8, skew = 60, position = 1 with 6000 items: .* 0 to a computer": {
        "skew": 60,
        "exposure": "popularity",
    },
    r"position = 80 with 6000 items": {"position": 80, "exposure": "popularity"},
    "focus = inf: allowed finite numbers": {"focus": float("inf")},
    "days = 40000: allowed 1 to 36500": {"days": 40000},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_is_refused_with_the_reason(reason):
    fields = {**dump(World(**MANY)), **REFUSED[reason]}
    with pytest.raises(ConfigError, match=reason) as found:
        load(fields)
    assert "ArgsKwargs" not in str(found.value)


@pytest.mark.parametrize("focus", [1000, 1e300])
def test_tastes_too_sharp_for_a_computer_are_refused_with_the_reason(focus):
    few = World(users=50, items=200, activity=10, categories=5, factors=4, modalities={}, focus=focus)
    with pytest.raises(
        ConfigError, match=r"focus = 1.*whose relevance is above 0 to a computer.*Lower focus"
    ):
        few.generate(0)


def test_relevances_of_zero_do_no_harm_where_enough_others_are_left():
    sharp = World(users=50, items=200, activity=10, categories=5, factors=4, modalities={}, focus=200)
    made = sharp.truth(0)
    relevance = made.relevance(np.arange(50)[:, None], np.arange(200)[None])
    assert (relevance == 0).any()
    log = made.dataset.interactions
    assert len(log) == pytest.approx(500, rel=0.3)
    assert (relevance[log.user, log.item] > 0).all()


def test_slates_of_any_length_have_their_law():
    ranks, weights = np.arange(400), np.ones(400)
    rate = slate_exposure(ranks, weights, 2000, 1.0)
    ahead = ranks / 400  # E[1 / (1 + B)] of a binomial B in closed form; 1 where nothing is ahead
    closed = (1 - (1 - ahead[1:]) ** 2000) / (2000 * ahead[1:])
    np.testing.assert_allclose(rate[1:] / rate[0], closed, rtol=1e-9)


def test_all_that_fits_is_taken():
    full = {"text": {"signal": 0.6}, "image": {"signal": 0.4, "width": 7}}
    assert share(made(full), "text", "image") == pytest.approx(1, abs=0.01)
    assert share(made({"text": {"signal": 1, "width": 6, "style": 0}}), "text") == pytest.approx(1, abs=0.01)
