"""Early fusion by hand: scaling, weights, missing signals, axes, and the exact rules it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stagelens.fusion import PCA, Concat, Sum
from stagelens.fusion.axes import principal, projected, whitening
from stagelens.pipeline.core import Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe
from stagelens.pipeline.seeds import tie_order
from stagelens.recall import Dense, ItemKNN, PureSVD

ITEMS, USERS = 60, 80


@pytest.fixture(scope="module")
def world() -> TrainingData:
    """Items 50 and up are cold; every seventh lacks text, every fifth lacks visual; 35 lacks both."""
    rng = np.random.default_rng(0)
    text, visual = rng.normal(size=(ITEMS, 6)) + 3, rng.normal(size=(ITEMS, 4)) * 10
    text[::7], visual[::5] = 0, 0
    user, item = rng.integers(0, USERS, 700), rng.integers(0, 50, 700)
    window = Interactions.of(user, item, n_users=USERS, n_items=ITEMS, time=rng.integers(0, 10**6, 700))
    tables = {"text": text, "visual": visual}
    return TrainingData(
        window, {name: ModalityTable.of(name, rows.astype(np.float32)) for name, rows in tables.items()}
    )


def queries(data: TrainingData) -> Queries:
    window = data.interactions
    return Queries.of(np.arange(USERS), window, window, tie_order(1, ITEMS))


def by_hand(data: TrainingData, name: str) -> np.ndarray:
    """The rows of a modality, centred on the fit window and of length 1; zeros where absent."""
    table = data.modality(name)
    trained = data.interactions.item_degree() > 0
    rows = np.asarray(table.values, np.float64)
    rows = rows - rows[table.present & trained].mean(axis=0)
    rows[~table.present] = 0
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def fused(recipe: Any, data: TrainingData) -> Any:
    return recipe.fit(data, seed=0)


def test_concatenation_is_the_scaled_signals_side_by_side(world: TrainingData) -> None:
    got = fused(Concat(of=("visual", "text"), weights=(4, 0.25)), world)
    expected = np.hstack([0.5 * by_hand(world, "text"), 2 * by_hand(world, "visual")])
    np.testing.assert_allclose(got.item, expected, atol=1e-6)
    assert got.similarity == "dot"
    assert got.parameters == 0


def test_raw_concatenation_keeps_lengths_and_compares_by_cosine(world: TrainingData) -> None:
    got = fused(Concat(of=("text", "visual"), scale="raw"), world)
    lengths = np.linalg.norm(got.item[:, 6:], axis=1)
    assert lengths.max() > 10
    assert got.similarity == "cosine"


def test_a_weight_multiplies_a_signals_share_of_the_score(world: TrainingData) -> None:
    """The fused score is the weighted sum of the members' scores, a missing one counting 0."""
    item = np.broadcast_to(np.arange(ITEMS, dtype=np.int32), (USERS, ITEMS))
    asked = queries(world)
    got = Dense(vectors=Concat(of=("text", "visual"), weights=(3, 1))).fit(world, seed=0).score(asked, item)
    text, visual = by_hand(world, "text"), by_hand(world, "visual")
    present = world.modality("text").present | world.modality("visual").present
    for user in (0, 7, 30):
        chosen = np.unique(asked.history[user])
        chosen = chosen[present[chosen]]
        mean_text, mean_visual = text[chosen].mean(axis=0), visual[chosen].mean(axis=0)
        expected = np.where(present, 3 * text @ mean_text + visual @ mean_visual, np.nan)
        np.testing.assert_allclose(got[user], expected, atol=1e-5)


@pytest.mark.parametrize("make", [Concat, PCA, Sum])
def test_weight_zero_leaves_a_signal_out(make: Any, world: TrainingData) -> None:
    options = {"width": 4} if make is not Concat else {}
    without = make(of=("text", "visual", PureSVD(factors=5)), weights=(0, 1, 2), **options)
    left = make(of=("visual", PureSVD(factors=5)), weights=(1, 2), **options)
    np.testing.assert_array_equal(fused(without, world).item, fused(left, world).item)
    np.testing.assert_array_equal(fused(without, world).present, fused(left, world).present)
    assert without.reads == left.reads == {"visual"}


def test_the_scale_of_all_weights_changes_no_list(world: TrainingData) -> None:
    of = ("text", "visual")
    one, ten = (
        Dense(vectors=Concat(of=of, weights=weights)).fit(world, seed=0).retrieve(queries(world), 20)
        for weights in ((1, 2), (10, 20))
    )
    np.testing.assert_array_equal(one.item, ten.item)


VARIANTS: list[Any] = [
    lambda *of: Concat(of=of),
    lambda *of: Concat(of=of, scale="raw"),
    lambda *of: Concat(of=of, scale="whitened"),
    lambda *of: Sum(of=of),
    lambda *of: PCA(of=of, width=5),
]


@pytest.mark.parametrize("make", VARIANTS)
def test_the_order_of_the_signals_changes_nothing(make: Any, world: TrainingData) -> None:
    svd = PureSVD(factors=4)
    first, second = make("text", svd, "visual"), make(svd, "visual", "text")
    assert first.label == second.label
    assert fused(first, world).item.tobytes() == fused(second, world).item.tobytes()
    lists = [
        Dense(vectors=one).fit(world, seed=0).retrieve(queries(world), 15).item for one in (first, second)
    ]
    np.testing.assert_array_equal(*lists)


@pytest.mark.parametrize("make", VARIANTS)
def test_any_signal_or_every_signal(make: Any, world: TrainingData) -> None:
    text, visual = world.modality("text").present, world.modality("visual").present
    loose = make("text", "visual")
    strict = type(loose)(**{**vars_of(loose), "needs": "all"})
    np.testing.assert_array_equal(fused(loose, world).present, text | visual)
    np.testing.assert_array_equal(fused(strict, world).present, text & visual)
    assert not fused(strict, world).item[~(text & visual)].any()
    assert not fused(loose, world).present[35]
    assert strict.label != loose.label


def vars_of(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in vars(recipe).items() if not name.startswith("_")}


def test_a_missing_signal_adds_nothing(world: TrainingData) -> None:
    got = fused(Concat(of=("text", "visual")), world)
    assert not got.item[7, :6].any()  # lacks text
    np.testing.assert_allclose(got.item[7, 6:], by_hand(world, "visual")[7], atol=1e-6)


def test_whitened_rows_have_the_identity_as_second_moment() -> None:
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8))).astype(np.float32)
    taught = rng.random(500) < 0.8
    white = projected(rows, whitening(rows, taught, 0.0))[taught].astype(np.float64)
    np.testing.assert_allclose(white.T @ white / taught.sum(), np.eye(8), atol=1e-4)
    scaled = whitening(rows, taught, 1.0)  # shrunk fully: a rotation and one factor
    np.testing.assert_allclose(scaled.T @ scaled, np.eye(8) * (scaled**2).sum() / 8, atol=1e-9)


def test_whitening_drops_what_the_rows_do_not_span() -> None:
    rng = np.random.default_rng(4)
    rows = (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 9))).astype(np.float32)
    matrix = whitening(rows, np.ones(40, bool), 0.0)
    assert matrix.shape == (9, 3)
    assert np.isfinite(matrix).all()


def test_principal_axes_equal_the_singular_vectors() -> None:
    rows = np.random.default_rng(5).normal(size=(100, 7)).astype(np.float32)
    axes, variance = principal(rows, np.ones(100, bool), 3)
    _, strength, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(axes.T @ right[:3].T), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(variance, strength[:3] ** 2 / 100, rtol=1e-6)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()


def test_all_principal_components_keep_the_inner_products(world: TrainingData) -> None:
    whole, turned = fused(Concat(of=("text", "visual")), world), fused(PCA(of=("text", "visual")), world)
    np.testing.assert_allclose(turned.item @ turned.item.T, whole.item @ whole.item.T, atol=1e-5)
    assert turned.parameters == 10 * 10
    assert fused(PCA(of=("text", "visual"), width=3), world).parameters == 10 * 3


def test_a_sum_projects_wide_signals_and_leaves_the_narrowest(world: TrainingData) -> None:
    got = fused(Sum(of=("text", "visual"), weights=(2, 1)), world)
    text = by_hand(world, "text").astype(np.float32)
    taught = world.modality("text").present & (world.interactions.item_degree() > 0)
    axes, _ = principal(text, taught, 4)
    expected = 2 * text @ axes + by_hand(world, "visual")
    np.testing.assert_allclose(got.item, expected, atol=1e-5)
    assert got.parameters == 6 * 4


def test_vectors_made_for_the_dot_product_keep_their_relative_lengths(world: TrainingData) -> None:
    svd = PureSVD(factors=4)
    alone = svd.fit(world, seed=0)
    part = fused(Concat(of=(svd, "text")), world).item[:, :4]
    ratio = part[alone.present] / alone.item[alone.present]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert np.mean(np.sum(part[alone.present].astype(np.float64) ** 2, axis=1)) == pytest.approx(1, rel=1e-5)


def test_learned_numbers_of_a_signal_are_counted(world: TrainingData) -> None:
    svd = PureSVD(factors=4)
    assert fused(Concat(of=(svd, "text")), world).parameters == svd.fit(world, seed=0).parameters == 50 * 4
    white = fused(Concat(of=("text", "visual"), scale="whitened"), world)
    assert white.parameters == 6 * 6 + 4 * 4


def test_nothing_is_learned_from_items_outside_the_window(world: TrainingData) -> None:
    values = np.array(world.modality("text").values)
    values[50:] += 100
    moved = TrainingData(world.interactions, {**world.modalities, "text": ModalityTable.of("text", values)})
    for make in VARIANTS:
        first, second = (fused(make("text", "visual"), data).item for data in (world, moved))
        np.testing.assert_array_equal(first[:50], second[:50])
        assert not np.array_equal(first[51:], second[51:])


@pytest.mark.parametrize("make", VARIANTS)
def test_an_empty_window_is_no_fault(make: Any, world: TrainingData) -> None:
    nothing = TrainingData(world.interactions.where(np.zeros(0, np.int64)), world.modalities)
    found = Dense(vectors=make("text", "visual", PureSVD())).fit(nothing, seed=0)
    assert not found.retrieve(queries(nothing), 5).found.any()


def test_labels_say_what_differs() -> None:
    of = ("text", PureSVD(factors=8))
    assert Concat(of=("visual", "text")).label == "Concat(text, visual)"
    assert Concat(of=of, weights=(0.5, 1)).label == "Concat(PureSVD(factors=8), 0.5 text)"
    made = [
        Concat(of=of),
        Concat(of=("text", PureSVD())),
        Concat(of=of, weights=(2, 1)),
        Concat(of=of, scale="whitened"),
        Concat(of=of, scale="whitened", shrinkage=0.3),
        PCA(of=of),
        PCA(of=of, width=8),
        Sum(of=of),
        Sum(of=of, width=8),
    ]
    assert len({recipe.label for recipe in made}) == len(made)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"of": ("text",)}, "at least 2"),
        ({"of": ("text", "text")}, "text occurs twice"),
        ({"of": ("text", ItemKNN())}, "ItemKNN is a channel"),
        ({"of": ("text", "visual"), "weights": (1,)}, "1 weights for 2 signals"),
        ({"of": ("text", "visual"), "weights": (0, 0)}, "at least one"),
        ({"of": ("text", "visual"), "weights": (-1, 1)}, "greater than or equal to 0"),
    ],
)
def test_wrong_signals_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Concat(**fields)
