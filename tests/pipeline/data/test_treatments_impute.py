"""Imputation fills what it can, from training data alone, and says what it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions, ModalityTable, TrainingData
from stagelens.pipeline.data.impute import PENALTIES, Impute, Ridge
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import load

N = 300


def tables(noise=0.0, width=5, n=N, seed=0, dtype=np.float32) -> tuple[ModalityTable, ModalityTable]:
    """Text, and an image that is linear in it plus noise; each lacks some items."""
    rng = np.random.default_rng(seed)
    text = rng.standard_normal((n, width)) + 2
    image = text @ rng.standard_normal((width, 7)) + 4 + noise * rng.standard_normal((n, 7))
    image[20:80], text[60:100] = 0, 0
    return ModalityTable.of("text", text.astype(dtype)), ModalityTable.of("image", image.astype(dtype))


def data(*found: ModalityTable, items=None) -> TrainingData:
    items = np.arange(N) if items is None else np.asarray(items)
    log = Interactions.of(np.zeros(len(items)), items, n_users=1, n_items=N)
    return TrainingData(log, {table.name: table for table in found})


def test_the_mean_is_that_of_the_training_items():
    _, image = tables()
    after = Impute().apply(image, data(image, items=range(120, 200)), seed=0)
    assert after.present.all()
    expected = image.values[120:200].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(after.values[20:80], np.tile(expected, (60, 1)), rtol=1e-6)
    np.testing.assert_array_equal(after.values[image.present], image.values[image.present])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_linear_relation_is_recovered_where_the_source_is_there(dtype):
    text, image = tables(dtype=dtype)
    after = Impute(policy="from", source="text").apply(image, data(text, image), seed=0)
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((N, 5)) + 2
    truth = raw @ rng.standard_normal((5, 7)) + 4
    np.testing.assert_allclose(after.values[20:60], truth[20:60], atol=2e-2 if dtype == np.float16 else 2e-3)
    np.testing.assert_array_equal(after.present[60:80], False)  # no text either
    np.testing.assert_array_equal(after.present[:60], True)
    assert after.values.dtype == np.float32


def test_the_map_is_that_of_ridge_regression_and_reads_the_training_items_alone():
    text, image = tables(noise=2.0)
    chosen = np.r_[0:20, 100:160]
    after = Impute(policy="from", source="text").apply(image, data(text, image, items=chosen), seed=0)
    x, y = text.values[chosen].astype(float), image.values[chosen].astype(float)
    mx, my = x.mean(axis=0), y.mean(axis=0)
    gram = (x - mx).T @ (x - mx)
    penalty = Ridge.fit(text, image, chosen).penalty
    assert penalty in PENALTIES
    weights = np.linalg.solve(gram + penalty * np.trace(gram) / 5 * np.eye(5), (x - mx).T @ (y - my))
    np.testing.assert_allclose(after.values[20:60], my + (text.values[20:60] - mx) @ weights, rtol=1e-4)


def test_the_penalty_is_that_of_generalized_cross_validation():
    text, image = tables(noise=6.0, seed=3)
    items = np.r_[0:20, 100:112]
    x, y = text.values[items].astype(float), image.values[items].astype(float)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    gram = x.T @ x
    scores = []
    for penalty in PENALTIES:
        hat = x @ np.linalg.solve(gram + penalty * np.trace(gram) / 5 * np.eye(5), x.T)
        freedom = len(items) - 1 - np.trace(hat)
        scores.append(np.square(y - hat @ y).sum() / freedom**2)
    assert Ridge.fit(text, image, items).penalty == PENALTIES[int(np.argmin(scores))]


@given(noise=st.floats(0, 50), n=st.integers(1, 30), width=st.sampled_from([1, 5, 60]))
@settings(max_examples=60, deadline=None)
def test_few_items_and_wide_sources_give_finite_vectors_near_the_mean_when_nothing_is_known(noise, n, width):
    text, image = tables(noise=noise, width=width)
    after = Impute(policy="from", source="text").apply(
        image, data(text, image, items=np.arange(100, 100 + n)), seed=0
    )
    filled = after.values[after.present & ~image.present]
    assert np.isfinite(filled).all()
    if n == 1:
        np.testing.assert_allclose(filled, np.tile(image.values[100], (len(filled), 1)), rtol=1e-5)


def test_pure_noise_is_shrunk_towards_the_mean():
    rng = np.random.default_rng(0)
    text = ModalityTable.of("text", rng.standard_normal((N, 50)).astype(np.float32))
    values = rng.standard_normal((N, 4)).astype(np.float32)
    values[:50] = 0
    image = ModalityTable.of("image", values)
    after = Impute(policy="from", source="text").apply(image, data(text, image), seed=0)
    assert after.values[:50].std(axis=0).mean() < 0.2


@pytest.mark.parametrize("fields", [{}, {"policy": "from", "source": "text"}])
def test_doses_are_nested_and_say_when_they_fill_nobody(fields):
    text, image = tables()
    filled = []
    for dose in (0.25, 0.5, 1.0):
        after = Impute(dose=dose, **fields).apply(image, data(text, image), seed=4)
        filled.append(set(np.flatnonzero(after.present & ~image.present).tolist()))
    open_to = 40 if fields else 60
    assert [len(part) for part in filled] == [open_to // 4, open_to // 2, open_to]
    assert filled[0] < filled[1] < filled[2]
    with pytest.raises(ConfigError, match=rf"dose = 0 of {open_to} items is none"):
        Impute(dose=0, **fields).apply(image, data(text, image), seed=4)


def test_what_cannot_be_filled_is_refused_with_the_reason():
    text, image = tables()
    whole = ModalityTable.of("whole", np.ones((N, 2), np.float32))
    nothing = ModalityTable.of("nothing", np.zeros((N, 2), np.float32))
    either = data(text, image, whole, nothing)
    with pytest.raises(ConfigError, match=r"changed nothing in modality 'whole': 0 of 300 items lack it"):
        Impute().apply(whole, either, seed=0)
    with pytest.raises(ConfigError, match="No item has it, so there is nothing to fill from"):
        Impute().apply(nothing, either, seed=0)
    with pytest.raises(ConfigError, match=r"60 of 300 items lack it, none of them has 'nothing'"):
        Impute(policy="from", source="nothing").apply(image, either, seed=0)
    with pytest.raises(
        ConfigError, match=r"'image' cannot be predicted from itself. Other .*nothing, text, whole"
    ):
        Impute(policy="from", source="image").apply(image, either, seed=0)
    with pytest.raises(ConfigError, match=r"Unknown modality 'txt'. Did you mean 'text'"):
        Impute(policy="from", source="txt").apply(image, either, seed=0)
    apart = data(text, image, items=range(20, 100))  # training items with one of the two, never both
    with pytest.raises(
        ConfigError, match=r"no item of the training interactions has both 'image' and 'text'"
    ):
        Impute(policy="from", source="text").apply(image, apart, seed=0)


def test_a_source_belongs_to_prediction_alone():
    with pytest.raises(ConfigError, match="'from' needs a source"):
        load({"use": "pipeline.Impute", "policy": "from"})
    with pytest.raises(ConfigError, match="'mean' takes none"):
        load({"use": "pipeline.Impute", "source": "text"})


def test_inputs_are_never_written():
    text, image = tables()
    for one in (text, image):
        one.values.setflags(write=False)
    digests = {
        Impute(policy="from", source="text").apply(image, data(text, image), seed=0).digest for _ in range(2)
    }
    assert len(digests) == 1
