"""Modality sparsity: nested, the same items under every policy, whatever the study seed."""

from __future__ import annotations

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions, ModalityTable, TrainingData
from stagelens.pipeline.data.withhold import Withhold
from stagelens.pipeline.errors import ConfigError


@pytest.fixture(scope="module")
def data():
    """60 users, 150 items, texts of all and images of most, each a blurred view of the same four factors."""
    rng = np.random.default_rng(5)
    log = Interactions.of(rng.integers(0, 60, 900), rng.integers(0, 150, 900), n_users=60, n_items=150)
    traits = rng.standard_normal((150, 4))
    tables = {}
    for name, missing in (("text", 0), ("image", 30)):
        values = (traits @ rng.standard_normal((4, 8)) + 0.3 * rng.standard_normal((150, 8))).astype(
            np.float32
        )
        values[rng.permutation(150)[:missing]] = 0
        tables[name] = ModalityTable.of(name, values)
    return TrainingData(log, tables)


def kept(data, share, name="image", **fields):
    return Withhold(share=share, **fields).apply(data.modality(name), data, seed=0)


def test_shares_are_nested_and_exact(data):
    before = data.modality("image").present
    masks = [kept(data, share).present for share in (0.0, 0.1, 0.5, 0.9)]
    assert [mask.sum() for mask in masks] == [round(share * before.sum()) for share in (0.0, 0.1, 0.5, 0.9)]
    for small, large in zip(masks, [*masks[1:], before], strict=True):
        assert not (small & ~large).any()


def test_policies_share_the_draw_and_fill_the_rest(data):
    before, absent = data.modality("image"), kept(data, 0.4)
    mean, predicted = kept(data, 0.4, policy="mean"), kept(data, 0.4, policy="from", source="text")
    for table in (mean, predicted):
        assert table.present.all()  # what was missing before is filled as well
        np.testing.assert_allclose(table.values[absent.present], before.values[absent.present], rtol=1e-6)
    filled = ~absent.present
    assert (mean.values[filled] == mean.values[filled][0]).all()
    assert len(np.unique(predicted.values[filled], axis=0)) > 50
    assert (absent.values[before.present & ~absent.present] == 0).all()  # nobody sees what is withheld


def test_the_study_seed_moves_nothing_and_the_draw_does(data):
    table = data.modality("image")
    same = [Withhold(share=0.5).apply(table, data, seed=seed).digest for seed in (0, 1)]
    assert same[0] == same[1]
    assert (kept(data, 0.5).present != kept(data, 0.5, draw=1).present).any()


def test_nothing_left_is_absent_under_every_policy(data):
    for policy, source in (("absent", None), ("mean", None), ("from", "text")):
        assert not kept(data, 0.0, policy=policy, source=source).present.any()


def test_with_every_vector_kept_a_policy_fills_what_was_missing(data):
    assert kept(data, 1.0, policy="mean").present.all()
    with pytest.raises(ConfigError, match="changed nothing"):
        kept(data, 1.0, name="text", policy="mean")
    with pytest.raises(ConfigError, match="dose = 0 of"):
        kept(data, 1.0)


def test_a_source_belongs_to_from_alone(data):
    for fields in ({"policy": "from"}, {"source": "text"}):
        with pytest.raises(ValueError, match="'from' needs a source"):
            Withhold(**fields)
    assert isinstance(kept(data, 0.5), ModalityTable)
