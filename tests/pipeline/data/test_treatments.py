"""Knock-outs: they change the array, keep what they promise, and say when they do nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions, ModalityTable, TrainingData
from stagelens.pipeline.data.knockout import Availability, PermuteRows, fixed_points, renamed
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import dump, load

N = 200


def table(n=N, missing=20, dtype=np.float32, seed=0) -> ModalityTable:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 6)).astype(dtype)
    values[rng.permutation(n)[:missing]] = 0
    return ModalityTable.of("text", values)


def data(n=N, seed=0) -> TrainingData:
    rng = np.random.default_rng(seed)
    item = np.minimum(rng.zipf(1.3, 4000) - 1, n - 1)
    return TrainingData(Interactions.of(rng.integers(0, 50, 4000), item, n_users=50, n_items=n))


def sorted_rows(values) -> np.ndarray:
    return values[np.lexsort(values.T)]


@given(seed=st.integers(0, 1000), missing=st.integers(0, 150), within=st.sampled_from([None, "popularity"]))
@settings(max_examples=30, deadline=None)
def test_a_permutation_keeps_every_moment_and_the_missing_items(seed, missing, within):
    before = table(missing=missing)
    after = PermuteRows(within=within).apply(before, data(), seed=seed)
    np.testing.assert_array_equal(after.present, before.present)
    np.testing.assert_array_equal(
        sorted_rows(after.values[after.present]), sorted_rows(before.values[before.present])
    )
    assert after.values.dtype == before.values.dtype
    assert after.digest != before.digest
    assert after.digest == PermuteRows(within=within).apply(before, data(), seed=seed).digest
    assert fixed_points(before, after) < 0.5
    assert after.name == "text"


def test_half_precision_and_memory_maps_stay_as_they_are(tmp_path):
    before = table(dtype=np.float16)
    np.save(tmp_path / "text.npy", before.values)
    mapped = ModalityTable.of("text", np.load(tmp_path / "text.npy", mmap_mode="r"))
    kept = np.array(mapped.values)
    after = PermuteRows().apply(mapped, data(), seed=1)
    assert after.values.dtype == np.float16
    np.testing.assert_array_equal(np.load(tmp_path / "text.npy"), kept)
    assert after.digest == PermuteRows().apply(before, data(), seed=1).digest


def test_seeds_and_names_give_other_permutations():
    before = table()
    digests = {PermuteRows().apply(before, data(), seed=seed).digest for seed in range(5)}
    assert len(digests) == 5
    other = PermuteRows().apply(renamed(before, "image"), data(), seed=0)
    assert other.digest not in digests


def test_within_popularity_rows_move_only_among_items_of_similar_degree():
    n, classes = 200, 10
    values = np.arange(1, n + 1, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    before = ModalityTable.of("text", values)
    degree = np.arange(n)
    log = Interactions.of(np.zeros(degree.sum()), np.repeat(np.arange(n), degree), n_users=1, n_items=n)
    training = TrainingData(log)
    after = PermuteRows(within="popularity", classes=classes).apply(before, training, seed=4)
    source = after.values[:, 0].astype(int) - 1
    np.testing.assert_array_equal(source // (n // classes), np.arange(n) // (n // classes))
    free = PermuteRows().apply(before, training, seed=4)
    assert (free.values[:, 0] // (n // classes) != after.values[:, 0] // (n // classes)).mean() > 0.5


@given(small=st.floats(0, 1), large=st.floats(0, 1), seed=st.integers(0, 1000), missing=st.integers(0, 150))
@settings(max_examples=60, deadline=None)
def test_availability_is_nested_and_exact(small, large, seed, missing):
    small, large = sorted((small, large))
    before = table(missing=missing)
    present = int(before.present.sum())
    kept = []
    for share in (small, large):
        count = int(np.floor(share * present + 0.5))
        if count == present:
            kept.append(before.present)
            continue
        after = Availability(share=share).apply(before, data(), seed=seed)
        assert after.present.sum() == count
        assert not (after.present & ~before.present).any()
        np.testing.assert_array_equal(after.values[after.present], before.values[after.present])
        assert not after.values[~after.present].any()
        kept.append(after.present)
    assert not (kept[0] & ~kept[1]).any()


def test_a_treatment_that_changes_nothing_is_an_error():
    with pytest.raises(
        ConfigError, match=r"Availability\(share=1\.0\) changed nothing in modality 'text' \(180 items"
    ):
        Availability(share=1).apply(table(), data(), seed=0)
    same = ModalityTable.of("mean", np.ones((N, 4), np.float32))
    with pytest.raises(ConfigError, match=r"PermuteRows.* changed nothing in modality 'mean'"):
        PermuteRows().apply(same, data(), seed=0)
    with pytest.raises(ConfigError, match="changed nothing"):
        PermuteRows().apply(ModalityTable.of("none", np.zeros((N, 4), np.float32)), data(), seed=0)


def test_fixed_points_count_equal_vectors_of_items_present_in_both():
    before = ModalityTable.of("text", np.float32([[1, 1], [2, 2], [3, 3], [0, 0]]))
    after = ModalityTable.of("text", np.float32([[1, 1], [3, 3], [2, 2], [0, 0]]))
    assert fixed_points(before, after) == pytest.approx(1 / 3)
    assert renamed(before, "other").name == "other"
    assert renamed(before, "other").digest == before.digest


@pytest.mark.parametrize(
    "made", [PermuteRows(), PermuteRows(within="popularity", classes=5), Availability(share=0.2)]
)
def test_treatments_are_recipes(made):
    assert load(dump(made)) == made


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Availability(share=1.5)
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        PermuteRows(classes=1)
