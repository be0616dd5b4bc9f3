"""A data set written as a folder comes back as it was; a failed or refused write leaves nothing."""

from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Dataset
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.errors import ConfigError

FORMS = {
    "none": {"user_id": [0, 0, 1], "item_id": [0, 1, 2]},
    "split": {"user_id": [0, 0, 1], "item_id": [0, 1, 2], "split": ["train", "valid", "test"]},
    "order": {"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"], "seq": [5, 1, 9]},
    "real": {
        "user_id": [0, 0, 1],
        "item_id": [0, 1, 2],
        "timestamp": [1_600_000_000, 1_500_000_000, 1_550_000_000],
    },
    "weights": {"user_id": [0, 0, 1], "item_id": [0, 1, 2], "value": [0.5, 2, 1]},
}


def same(one: Dataset, two: Dataset) -> None:
    assert one.hashes() == two.hashes()
    assert one.users.tolist() == two.users.tolist()
    assert one.items.tolist() == two.items.tolist()
    assert one.clock == two.clock
    assert one.name == two.name
    for name, column in one.item_columns.items():
        np.testing.assert_array_equal(column, two.item_columns[name])


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_back(make_folder, tmp_path, form):
    vectors = np.float32([[1, 2], [0, 0], [3, np.nan]])
    folder = make_folder(
        interactions=FORMS[form],
        items={"item_id": FORMS[form]["item_id"], "price": [1, 2, 3]},
        text=vectors,
        impressions={key: FORMS[form][key] for key in ("user_id", "item_id")},
    )
    first = load_dataset(str(folder), weight=form == "weights", item_columns=("price",))
    write_dataset(first, tmp_path / "out", {"README.md": "hello", "truth.npz": {"a": np.ones(2)}})
    second = load_dataset(str(tmp_path / "out"), weight=form == "weights", item_columns=("price",))
    assert second.modalities["text"].present.tolist() == first.modalities["text"].present.tolist()
    cleared = np.where(first.modalities["text"].present[:, None], vectors, 0)
    np.testing.assert_array_equal(second.modalities["text"].values, cleared)
    same(replace(first, modalities={}), replace(second, modalities={}))
    assert first.impressions is not None
    assert second.impressions is not None
    assert second.impressions.item.tolist() == first.impressions.item.tolist()
    assert (tmp_path / "out" / "README.md").read_text() == "hello"
    with np.load(tmp_path / "out" / "truth.npz") as arrays:
        assert arrays["a"].tolist() == [1, 1]


def test_raw_columns_replace_coded_ones(make_folder, tmp_path):
    data = load_dataset(str(make_folder()))
    names = np.array(["shoe", "sock", "shoe", "hat", "shoe"])
    write_dataset(data, tmp_path / "out", items={"category": names})
    back = load_dataset(str(tmp_path / "out"), item_columns=("category",))
    assert back.item_columns["category"].tolist() == [0, 2, 0, 1, 0]


def test_an_existing_folder_with_files_is_refused_and_untouched(make_folder, tmp_path):
    data = load_dataset(str(make_folder()))
    out = tmp_path / "out"
    out.mkdir()
    write_dataset(data, out)  # empty: used
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ConfigError, match=r"out exists and is not an empty folder: give another --out"):
        write_dataset(data, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_failure_half_way_leaves_nothing(make_folder, tmp_path):
    data = load_dataset(str(make_folder()))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(TypeError):
        write_dataset(data, tmp_path / "out", {"broken": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == before
