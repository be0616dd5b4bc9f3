"""Knock-outs: they change the array, keep what they promise, and say when they do nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Interactions, ModalityTable, TrainingData
from stagelens.pipeline.data.impute import Impute
from stagelens.pipeline.data.knockout import Availability, PermuteRows, fixed_points, renamed, varies
from stagelens.pipeline.data.replacement import Constant, Noise
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import dump, load

N = 200
COLOURS = np.float32([0, 1, 1, 2, 2, 2, np.nan])
KINDS = [
    PermuteRows,
    lambda **fields: PermuteRows(within="popularity", **fields),
    lambda **fields: PermuteRows(within="colour", **fields),
    Availability,
    *(lambda value=value, **fields: Constant(value=value, **fields) for value in ("zero", "one", "mean")),
    *(lambda kind=kind, **fields: Noise(kind=kind, **fields) for kind in ("matched", "standard", "shifted")),
]
kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 1000)


def table(n=N, missing=20, dtype=np.float32, seed=0) -> ModalityTable:
    rng = np.random.default_rng(seed)
    values = (3 + 2 * rng.standard_normal((n, 6))).astype(dtype)
    values[rng.permutation(n)[:missing]] = 0
    return ModalityTable.of("text", values)


def data(n=N, seed=0, **modalities) -> TrainingData:
    rng = np.random.default_rng(seed)
    item = np.minimum(rng.zipf(1.3, 4000) - 1, n - 1)
    log = Interactions.of(rng.integers(0, 50, 4000), item, n_users=50, n_items=n)
    colour = COLOURS[np.arange(n) % len(COLOURS)]
    return TrainingData(
        log, modalities, item_columns={"colour": colour, "place": np.arange(n, dtype=np.float32)}
    )


def sorted_rows(values) -> np.ndarray:
    return values[np.lexsort(values.T)]


def changed_items(before, after) -> set[int]:
    moved = (before.values != after.values).any(axis=1) & before.present
    return set(np.flatnonzero(moved | (before.present != after.present)).tolist())


# ------------------------------------------------------------ all kinds


@given(make=kinds, seed=seeds, missing=st.integers(0, 150), half=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_kind_changes_the_array_and_never_what_it_was_given(make, seed, missing, half):
    before = table(missing=missing, dtype=np.float16 if half else np.float32)
    kept = before.values.copy()
    before.values.setflags(write=False)
    after = make(dose=0.7).apply(before, data(), seed=seed)
    assert after.digest != before.digest
    assert after.values.dtype == before.values.dtype
    assert after.name == before.name
    assert not (after.present & ~before.present).any()
    if make is not Availability:
        np.testing.assert_array_equal(after.present, before.present)
    assert np.isfinite(after.values).all()
    np.testing.assert_array_equal(before.values, kept)
    assert after.digest == make(dose=0.7).apply(before, data(), seed=seed).digest
    assert fixed_points(before, after) < 1 or make is Availability


@given(
    make=kinds, seed=seeds, missing=st.integers(0, 150), small=st.floats(0.05, 1), large=st.floats(0.05, 1)
)
@settings(max_examples=80, deadline=None)
def test_a_larger_dose_treats_the_same_items_and_more(make, seed, missing, small, large):
    before = table(missing=missing)
    present = int(before.present.sum())
    small, large = sorted((small, large))
    drawn = []
    for dose in (small, large):
        treatment = make(dose=dose)
        items = treatment.drawn("text", np.flatnonzero(before.present), seed=seed)
        assert len(items) == int(np.floor(dose * present + 0.5))
        try:
            after = treatment.apply(before, data(), seed=seed)
        except ConfigError:  # a permutation of so few rows may leave them all where they are
            assert isinstance(treatment, PermuteRows)
            assert len(items) < 40
        else:
            found = changed_items(before, after)
            assert found <= set(items.tolist())
            assert isinstance(treatment, PermuteRows) or found == set(items.tolist())
        drawn.append(set(items.tolist()))
    assert drawn[0] <= drawn[1]


def test_kinds_treat_the_same_items_at_one_dose():
    before = table()
    found = [changed_items(before, make(dose=0.3).apply(before, data(), seed=3)) for make in KINDS]
    assert all(one <= found[3] for one in found)
    assert found[3] == found[4] == found[-1]


@pytest.mark.parametrize("make", KINDS)
def test_nothing_treated_is_an_error_that_says_why(make):
    with pytest.raises(
        ConfigError, match=r"changed nothing in modality 'text': dose = 0 of 180 items is none; .* 0\.0028"
    ):
        make(dose=0).apply(table(), data(), seed=0)
    with pytest.raises(ConfigError, match=r"dose = 0\.002 of 180 items is none"):
        make(dose=0.002).apply(table(), data(), seed=0)
    nobody = ModalityTable.of("none", np.zeros((N, 4), np.float32))
    with pytest.raises(ConfigError, match="changed nothing in modality 'none': no item is open to it"):
        make(dose=1).apply(nobody, data(), seed=0)


def test_a_treatment_that_leaves_the_array_as_it_was_is_an_error():
    def constant(value: float) -> ModalityTable:
        return ModalityTable(
            "same", np.full((N, 4), value, np.float32), np.ones(N, bool), f"digest of {value}"
        )

    known = "changed nothing in modality 'same' \\(200 items have a vector\\)"
    for treatment, before in [
        (PermuteRows(), constant(2.5)),
        (PermuteRows(within="popularity"), constant(2.5)),
        (PermuteRows(within="place"), table()),
        (Constant(value="zero"), constant(0)),
        (Constant(value="one"), constant(1)),
        (Constant(value="mean"), constant(0.1)),
        (Noise(kind="matched"), constant(0.1)),
        (Noise(kind="matched", dose=0.5), constant(1 / 3)),
    ]:
        with pytest.raises(
            ConfigError, match=known if before.name == "same" else "changed nothing"
        ) as caught:
            treatment.apply(before, data(), seed=0)
        assert repr(treatment) in str(caught.value)
    for treatment in (Noise(kind="standard"), Noise(kind="shifted"), Constant(value="mean", dose=0.5)):
        one_apart = np.ones((N, 4), np.float32)
        one_apart[:100] = 3
        treatment.apply(ModalityTable.of("same", one_apart), data(), seed=0)
    assert not varies(constant(2.5))
    assert not varies(constant(0))
    assert not varies(ModalityTable.of("none", np.zeros((N, 4), np.float32)))
    assert varies(table())


def test_half_precision_and_memory_maps_are_read_and_never_written(tmp_path):
    before = table(dtype=np.float16)
    np.save(tmp_path / "text.npy", before.values)
    for mode in ("r", "r+"):
        mapped = ModalityTable.of("text", np.load(tmp_path / "text.npy", mmap_mode=mode))
        for make in KINDS:
            after = make(dose=0.9).apply(mapped, data(), seed=1)
            assert after.values.dtype == np.float16
            assert after.digest == make(dose=0.9).apply(before, data(), seed=1).digest
        other = renamed(table(seed=5, missing=0), "image")
        Impute().apply(mapped, data(), seed=1)
        Impute(policy="from", source="image").apply(mapped, data(image=other), seed=1)
        del mapped
    np.testing.assert_array_equal(np.load(tmp_path / "text.npy"), before.values)


@pytest.mark.parametrize("make", [PermuteRows, Availability, Noise])
def test_seeds_and_names_decide(make):
    before = table()
    digests = {make().apply(before, data(), seed=seed).digest for seed in range(5)}
    assert len(digests) == 5
    other = make().apply(renamed(before, "image"), data(), seed=0)
    assert other.digest not in digests


def test_the_seed_of_a_whole_constant_is_idle():
    assert len({Constant().apply(table(), data(), seed=seed).digest for seed in range(3)}) == 1
    assert not Constant().seeded
    assert Constant(dose=0.5).seeded
    assert PermuteRows().seeded
    assert not Impute().seeded


@pytest.mark.parametrize(
    "made",
    [
        PermuteRows(),
        PermuteRows(within="popularity", classes=5, dose=0.25),
        PermuteRows(within="colour"),
        Availability(dose=0.2),
        Constant(value="mean", dose=0.5),
        Noise(kind="shifted"),
        Impute(),
        Impute(policy="from", source="text", dose=0.5),
    ],
)
def test_treatments_are_recipes(made):
    assert load(dump(made)) == made
    assert made.role == "treatment"


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Availability(dose=1.5)
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Constant(dose=-0.1)
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        PermuteRows(classes=1)
    with pytest.raises(ConfigError, match="'zero', 'one' or 'mean'"):
        load({"use": "pipeline.Constant", "value": "two"})
    with pytest.raises(ConfigError, match="'matched', 'standard' or 'shifted'"):
        load({"use": "pipeline.Noise", "kind": "white"})


# ------------------------------------------------------------ permutation


@given(
    seed=seeds,
    missing=st.integers(0, 150),
    within=st.sampled_from([None, "popularity", "colour"]),
    dose=st.floats(0.3, 1),
)
@settings(max_examples=40, deadline=None)
def test_a_permutation_keeps_moments_and_neighbours_exactly(seed, missing, within, dose):
    before = table(missing=missing)
    after = PermuteRows(within=within, dose=dose).apply(before, data(), seed=seed)
    np.testing.assert_array_equal(after.present, before.present)
    old, new = before.values[before.present], after.values[after.present]
    np.testing.assert_array_equal(sorted_rows(new), sorted_rows(old))  # the same vectors, so the same moments
    ours, theirs = (np.sort(np.sort(np.abs(rows[:, None] - rows).max(axis=2)), axis=0) for rows in (new, old))
    np.testing.assert_array_equal(ours, theirs)  # and the same distances to the nearest, the next, ...
    assert fixed_points(before, after) < 1
    if within is None and before.present.sum() > 60:  # small classes keep many of their rows by chance
        assert fixed_points(before, after) < 1 - dose + 0.5 * dose


def test_within_popularity_rows_move_only_among_items_of_similar_degree():
    n, classes = 200, 10
    values = np.arange(1, n + 1, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    before = ModalityTable.of("text", values)
    degree = np.arange(n)
    log = Interactions.of(np.zeros(degree.sum()), np.repeat(np.arange(n), degree), n_users=1, n_items=n)
    training = TrainingData(log)
    for dose in (1.0, 0.6):
        after = PermuteRows(within="popularity", classes=classes, dose=dose).apply(before, training, seed=4)
        source = after.values[:, 0].astype(int) - 1
        np.testing.assert_array_equal(source // (n // classes), np.arange(n) // (n // classes))
    same = PermuteRows(within="popularity").apply(before, training, seed=4).digest
    assert same == PermuteRows(within="popularity", classes=10).apply(before, training, seed=4).digest
    free = PermuteRows().apply(before, training, seed=4)
    assert (free.values[:, 0] // (n // classes) != np.arange(1, n + 1) // (n // classes)).mean() > 0.5


def test_within_a_column_rows_move_only_among_items_of_equal_value():
    values = np.arange(1, N + 1, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    before = ModalityTable.of("text", values)
    after = PermuteRows(within="colour").apply(before, data(), seed=2)
    source = after.values[:, 0].astype(int) - 1
    colour = data().item_columns["colour"]
    np.testing.assert_array_equal(colour[source], colour)  # NaN among NaN
    assert (source != np.arange(N)).mean() > 0.8
    cut = PermuteRows(within="place", classes=4).apply(before, data(), seed=2)
    quarter = (cut.values[:, 0].astype(int) - 1) // (N // 4)
    np.testing.assert_array_equal(quarter, np.arange(N) // (N // 4))
    with pytest.raises(
        ConfigError, match=r"Unknown item column 'color'. Did you mean 'colour'\? .*popularity"
    ):
        PermuteRows(within="color").apply(before, data(), seed=2)


def test_fixed_points_count_equal_vectors_of_items_present_in_both():
    before = ModalityTable.of("text", np.float32([[1, 1], [2, 2], [3, 3], [0, 0]]))
    after = ModalityTable.of("text", np.float32([[1, 1], [3, 3], [2, 2], [0, 0]]))
    assert fixed_points(before, after) == pytest.approx(1 / 3)
    assert renamed(before, "other").name == "other"
    assert renamed(before, "other").digest == before.digest


# ------------------------------------------------------------ availability, constants, noise


def test_availability_takes_vectors_away_and_leaves_zeros():
    before = table()
    after = Availability(dose=0.25).apply(before, data(), seed=1)
    assert after.present.sum() == 135
    assert not after.values[~after.present].any()
    np.testing.assert_array_equal(after.values[after.present], before.values[after.present])
    gone = Availability(dose=1).apply(before, data(), seed=1)
    assert not gone.present.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_constant_is_one_vector_of_items_that_keep_the_modality(dtype):
    before = table(dtype=dtype)
    for value, expected in (("zero", 0.0), ("one", 1.0)):
        after = Constant(value=value).apply(before, data(), seed=0)
        assert (after.values[after.present] == expected).all()
        np.testing.assert_array_equal(after.present, before.present)
        np.testing.assert_array_equal(after.values[~after.present], before.values[~before.present])
    after = Constant(value="mean").apply(before, data(), seed=0)
    taught = before.present & (data().interactions.item_degree() > 0)
    assert 0 < taught.sum() < before.present.sum()
    mean = before.values[taught].astype(np.float64).mean(axis=0).astype(dtype)
    np.testing.assert_allclose(
        after.values[after.present][0], mean, rtol=1e-3 if dtype == np.float16 else 1e-6
    )
    assert not varies(after)
    untaught = TrainingData(Interactions.of(np.zeros(0), np.zeros(0), n_users=1, n_items=N))
    everyone = Constant(value="mean").apply(before, untaught, seed=0).values[before.present][0]
    np.testing.assert_allclose(everyone, before.values[before.present].mean(axis=0), rtol=5e-3)


@given(seed=seeds, missing=st.integers(0, 197), offset=st.sampled_from([0.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_matched_noise_has_the_mean_and_deviation_of_every_dimension(seed, missing, offset):
    before = ModalityTable.of(
        "text", np.where(table(missing=missing).values == 0, 0, table().values + offset)
    )
    after = Noise().apply(before, data(), seed=seed)
    old, new = before.values[before.present], after.values[after.present]
    np.testing.assert_allclose(new.mean(axis=0, dtype=float), old.mean(axis=0, dtype=float), rtol=1e-5)
    np.testing.assert_allclose(new.std(axis=0, dtype=float), old.std(axis=0, dtype=float), rtol=1e-3)
    assert fixed_points(before, after) == 0


def test_published_noise_is_what_it_says_and_a_rows_noise_does_not_depend_on_dose():
    before = table(n=3000)
    interactions = data(n=3000)
    for kind, mean, deviation in (("standard", 0, 1), ("shifted", 1, 0.1)):
        after = Noise(kind=kind).apply(before, interactions, seed=0)
        new = after.values[after.present]
        np.testing.assert_allclose(new.mean(axis=0), mean, atol=5 * deviation / np.sqrt(3000))
        np.testing.assert_allclose(new.std(axis=0), deviation, rtol=5 / np.sqrt(6000))
        assert abs(np.corrcoef(new.T) - np.eye(6)).max() < 5 / np.sqrt(3000)
        some = Noise(kind=kind, dose=0.4).apply(before, interactions, seed=0)
        items = sorted(changed_items(before, some))
        np.testing.assert_array_equal(some.values[items], after.values[items])
    fewer = Noise(kind="standard").apply(table(n=3000, missing=300), interactions, seed=0)
    full = Noise(kind="standard").apply(table(n=3000, missing=0), interactions, seed=0)
    np.testing.assert_array_equal(fewer.values[fewer.present], full.values[fewer.present])


def test_noise_of_half_precision_stays_finite():
    huge = np.full((N, 3), 6.0e4, np.float16)
    huge[::2] = -6.0e4
    after = Noise().apply(ModalityTable.of("text", huge), data(), seed=0)
    assert np.isfinite(after.values).all()
