"""Every kind of broken file: the message names the place, what was found, what is allowed, the next step."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.data.check import check
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.errors import DataError

GOOD = np.ones((5, 3), np.float32)
LOG = {"user_id": [0, 0, 1], "item_id": [0, 1, 2]}


def log(**columns):
    return {**LOG, **columns}


def truncated(folder: Path) -> None:
    np.save(folder / "text.npy", GOOD)
    path = folder / "text.npy"
    path.write_bytes(path.read_bytes()[:-8])


def pickled(folder: Path) -> None:
    np.save(folder / "text.npy", np.array([{"a": 1}] * 5, dtype=object), allow_pickle=True)


def zipped(folder: Path) -> None:
    np.savez(folder / "text.npz", a=GOOD)
    (folder / "text.npz").rename(folder / "text.npy")


def cut_parquet(folder: Path) -> None:
    path = folder / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def directory(folder: Path) -> None:
    (folder / "interactions.parquet").unlink()
    (folder / "interactions.parquet").mkdir()


def nothing(folder: Path) -> None:
    (folder / "interactions.parquet").rename(folder / "interaction.parquet")


def empty_array(folder: Path) -> None:
    (folder / "text.npy").write_bytes(b"")


def utf16(folder: Path) -> None:
    (folder / "interactions.parquet").unlink()
    (folder / "interactions.csv").write_text("user_id,item_id\n1,2\n", encoding="utf-16")


CASES = {
    "no interactions": (
        {},
        nothing,
        "no-interactions",
        ["no interactions file", "interaction.parquet", "Allowed: "],
    ),
    "directory": (
        {},
        directory,
        "not-a-file",
        ["interactions.parquet", "is a directory", "Allowed: one Parquet"],
    ),
    "cut parquet": (
        {},
        cut_parquet,
        "unreadable-table",
        ["interactions.parquet", "not readable as Parquet", "again"],
    ),
    "empty csv": (
        {"interactions": ""},
        None,
        "unreadable-table",
        ["interactions.csv", "the file is empty (0 bytes)", "write it again"],
    ),
    "header only": ({"interactions": "user_id,item_id\n"}, None, "no-rows", ["interactions.csv", "no rows"]),
    "utf-16": ({}, utf16, "unreadable-table", ["interactions.csv", "not readable as CSV in UTF-8"]),
    "ragged csv": (
        {"interactions": "user_id,item_id\n1,2\n3\n4,5,6\n"},
        None,
        "ragged-csv",
        ["2 lines do not have the 2 columns", "1 columns: '3'", "Quote cells"],
    ),
    "column twice": (
        {"interactions": "user_id,item_id,item_id\n1,2,3\n"},
        None,
        "column-twice",
        ["column 'item_id' stands twice"],
    ),
    "missing column": (
        {"interactions": {"user": [1], "item_id": [2]}},
        None,
        "missing-column",
        ["no column 'user_id'", "Did you mean 'user'?", "Known: item_id, user", '[columns] user_id = "..."'],
    ),
    "null id": (
        {"interactions": {"user_id": ["a", None, "b"], "item_id": [1, 2, 3]}},
        None,
        "missing-id",
        ["column user_id", "1 of 3 rows have no id (e.g. row 1)", "Allowed: integers or text"],
    ),
    "fraction id": (
        {"interactions": {"user_id": [1.0, 2.5, 3.0], "item_id": [1, 2, 3]}},
        None,
        "id-type",
        ["column user_id", "1 ids are fractions", "row 1: 2.5"],
    ),
    "id type": (
        {"interactions": {"user_id": [True, False, True], "item_id": [1, 2, 3]}},
        None,
        "id-type",
        ["column user_id", "ids of type bool", "Allowed: integers or text"],
    ),
    "split label": (
        {"interactions": log(split=["train", "holdout", "test"])},
        None,
        "split-label",
        ["column split", "1 of 3 rows have unknown labels 'holdout'", "row 1", "Allowed: train, valid"],
    ),
    "split empty": (
        {"interactions": "user_id,item_id,split\n1,1,train\n1,2,\n"},
        None,
        "split-label",
        ["column split", "line 3", "Allowed: train, valid"],
    ),
    "value words": (
        {"interactions": "user_id,item_id,rating\n1,1,5\n1,2,good\n2,1,4\n"},
        None,
        "not-numbers",
        ["column rating", "1 of 3 values are not numbers", "line 3: 'good'", "Allowed: numbers"],
    ),
    "value type": (
        {"interactions": log(value=[[1], [2], [3]])},
        None,
        "not-numbers",
        ["column value", "values of type list", "Allowed: numbers"],
    ),
    "timestamp words": (
        {"interactions": "user_id,item_id,timestamp\n1,1,100\n1,2,yesterday\n2,1,50\n"},
        None,
        "bad-timestamp",
        [
            "column timestamp",
            "1 of 3 rows have no usable moment",
            "line 3: 'yesterday'",
            "Allowed: Unix time",
        ],
    ),
    "timestamp null": (
        {"interactions": log(timestamp=[1.0, np.nan, 3.0])},
        None,
        "bad-timestamp",
        ["column timestamp", "1 of 3 rows have no usable moment", "row 1"],
    ),
    "timestamp beyond int64": (
        {"interactions": log(timestamp=[1.0, 2.0, 1e30])},
        None,
        "bad-timestamp",
        ["column timestamp", "1 of 3 rows have no usable moment", "row 2"],
    ),
    "timestamp unsigned": (
        {"interactions": log(timestamp=np.array([1, 2, 2**63], dtype=np.uint64))},
        None,
        "bad-timestamp",
        ["column timestamp", "1 of 3 rows have no usable moment", "row 2"],
    ),
    "timestamp type": (
        {"interactions": log(timestamp=[True, False, True])},
        None,
        "bad-timestamp",
        ["values of type bool", "Allowed: integers"],
    ),
    "truncated array": (
        {},
        truncated,
        "unreadable-array",
        [
            "text.npy",
            "truncated: 180 bytes are fewer than its header promises",
            "Allowed: float16 or float32 [R, D]",
        ],
    ),
    "empty array": ({}, empty_array, "unreadable-array", ["text.npy", "truncated: 0 bytes", "numpy.save"]),
    "object array": ({}, pickled, "unreadable-array", ["text.npy", "Python objects", "allow_pickle=False"]),
    "npz": ({}, zipped, "unreadable-array", ["text.npy", ".npz archive"]),
    "integer array": (
        {"text": GOOD.astype(np.int64)},
        None,
        "array-type",
        ["text.npy", "int64 of shape [5, 3]", "Allowed: float16 or float32 [R, D]"],
    ),
    "flat array": ({"text": np.ones(5, np.float32)}, None, "array-type", ["float32 of shape [5]"]),
    "no width": ({"text": np.ones((5, 0), np.float32)}, None, "array-type", ["shape [5, 0]"]),
    "row count": (
        {"items": {"item_id": [0, 1, 2, 3]}, "text": GOOD},
        None,
        "row-count",
        ["text.npy", "5 rows against 4 rows of items.parquet", "text.ids.npy"],
    ),
    "two lengths": (
        {"text": GOOD, "image": GOOD[:4]},
        None,
        "row-count",
        ["image.npy", "4 rows against 5 items (ids 0 to 4"],
    ),
    "row ids": (
        {"text": GOOD, "text__ids": np.array([0, 1])},
        None,
        "row-count",
        ["text.npy", "5 rows against 2 ids in text.ids.npy"],
    ),
    "row ids float": (
        {"text": GOOD, "text__ids": np.arange(5.0)},
        None,
        "array-type",
        ["text.ids.npy", "float64 of shape [5]", "Allowed: integers or text [R]"],
    ),
    "row twice": (
        {"text": GOOD, "text__ids": np.array([0, 1, 2, 2, 3])},
        None,
        "row-twice",
        ["1 items have several feature rows", "one row"],
    ),
    "text ids, bare array": (
        {"interactions": {"user_id": [1, 1], "item_id": ["a", "b"]}, "text": GOOD[:2]},
        None,
        "rows-without-ids",
        ["text.npy", "item ids are text", "items.parquet", "text.ids.npy"],
    ),
    "nan array": ({"text": GOOD * np.nan}, None, "no-vectors", ["text.npy", "no item has a usable vector"]),
    "id beyond rows": (
        {"interactions": {"user_id": [0, 0], "item_id": [1, 5]}, "text": GOOD},
        None,
        "unknown-item",
        ["1 rows name 1 items outside the catalogue (0 to 4", "5", "row 1", "Add these items"],
    ),
    "id not in items": (
        {"interactions": {"user_id": [0, 0], "item_id": [1, 5]}, "items": {"item_id": [0, 1]}},
        None,
        "unknown-item",
        ["outside the catalogue (items.parquet): 5", "row 1", "remove the rows"],
    ),
    "negative id": (
        {"interactions": {"user_id": [0, 0], "item_id": [1, -1]}, "text": GOOD},
        None,
        "unknown-item",
        ["outside the catalogue", "-1"],
    ),
    "item twice": (
        {"items": {"item_id": [0, 1, 2, 2]}},
        None,
        "id-twice",
        ["items.parquet, column item_id", "1 ids stand in more than one row", "e.g. 2"],
    ),
    "items without ids": (
        {"items": {"sku": [0, 1, 2]}},
        None,
        "missing-column",
        ["items.parquet", "'item_id'", "sku"],
    ),
    "reserved name": ({"all": GOOD}, None, "reserved-name", ["all.npy", "Rename the file"]),
    "bad toml": (
        {"dataset": "name = office\n"},
        None,
        "bad-toml",
        ["dataset.toml", "not valid TOML", "line 1"],
    ),
    "toml key": (
        {"dataset": 'nmae = "x"\n'},
        None,
        "unknown-key",
        ["dataset.toml", "'nmae'. Did you mean 'name'"],
    ),
    "toml column": (
        {"dataset": '[columns]\nitem = "sku"\n'},
        None,
        "unknown-key",
        ["dataset.toml", "'item'. Did you mean 'item_id'"],
    ),
    "toml mapped column": (
        {"dataset": '[columns]\nvalue = "stars"\n'},
        None,
        "missing-column",
        ["no column 'stars'", "Known: item_id, user_id"],
    ),
    "toml clock": (
        {"dataset": 'clock = "fast"\n'},
        None,
        "bad-value",
        ["clock = 'fast'", "real, order, none"],
    ),
    "toml clock without stamps": (
        {"dataset": 'clock = "real"\n'},
        None,
        "no-timestamps",
        ["no timestamp column"],
    ),
    "toml modality": (
        {"dataset": 'modalities = ["texts"]\n', "text": GOOD},
        None,
        "unknown-modality",
        ["dataset.toml", "'texts'. Did you mean 'text'"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_says_where_what_and_what_next(make_folder, case):
    files, damage, code, words = CASES[case]
    folder = make_folder(**{"interactions": LOG, **files})
    if damage is not None:
        damage(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(DataError) as caught:
        load_dataset(str(folder))
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert "Traceback" not in message
    assert "\n" not in message
    found = [fault for fault in check(str(folder)) if fault.severity == "error"]
    assert code in [fault.code for fault in found]
    assert message in [str(fault) for fault in found]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_no_folder_and_a_file_instead_of_one(make_folder):
    folder = make_folder()
    with pytest.raises(DataError, match=r"nowhere: does not exist; a data set is a folder\. Give the folder"):
        load_dataset(str(folder / "nowhere"))
    with pytest.raises(DataError, match=r"interactions\.parquet: is a file"):
        load_dataset(str(folder / "interactions.parquet"))


def test_weights_must_be_positive(make_folder):
    folder = make_folder(interactions=log(value=[1.0, 0.0, -2.0]))
    with pytest.raises(
        DataError, match=r"column value: 2 event weights are not positive .*row 1: 0\.0.*Allowed: above 0"
    ):
        load_dataset(str(folder), weight=True)


def test_lists_are_no_feature(make_folder):
    folder = make_folder(interactions=LOG, items={"item_id": [0, 1, 2], "tags": [["a"], ["b"], []]})
    with pytest.raises(
        DataError, match=r"column tags: values of type list.* Allowed: numbers, booleans, dates or text"
    ):
        load_dataset(str(folder), item_columns=("tags",))


def test_check_reports_many_faults_in_one_go(make_folder):
    rows = [
        "user_id,item_id,timestamp,split,rating",
        "1,0,100,train,5",
        "1,1,late,train,5",
        ",2,50,train,5",
        "2,1,60,odd,5",
        "2,2,70,test,x",
        "1,9,80,test,1",
    ]
    text = "\n".join(rows)
    folder = make_folder(
        interactions=text,
        items={"item_id": [0, 1, 2]},
        text=GOOD,
        image=np.array([[0, 0], [1, np.nan], [1, 2]], np.float32),
        dataset='nmae = "x"\n',
    )
    (folder / "audio.npy").write_bytes(b"junk")
    codes = {fault.code for fault in check(str(folder)) if fault.severity == "error"}
    expected = {"missing-id", "bad-timestamp", "split-label", "not-numbers", "unknown-item", "row-count"}
    assert codes >= expected | {"unreadable-array", "unknown-key"}
    shutil.rmtree(folder)


def test_mixed_ids_in_csv_are_a_warning(make_folder):
    folder = make_folder(interactions="user_id,item_id\n1,1\n2,2\nguest,3\n")
    data = load_dataset(str(folder))
    assert data.users.tolist() == ["1", "2", "guest"]
    assert any("1 of 3 distinct ids are not integers (e.g. 'guest')" in note for note in data.notes)


def test_a_parquet_of_many_chunks_and_categories_is_read_whole(make_folder, tmp_path):
    folder = make_folder()
    frame = pd.DataFrame(
        {
            "user_id": pd.Categorical(list("abca") * 50),
            "item_id": np.arange(200) % 7,
            "split": ["train", "test"] * 100,
        }
    )
    frame.to_parquet(folder / "interactions.parquet", row_group_size=13)
    data = load_dataset(str(folder))
    assert data.users.tolist() == ["a", "b", "c"]
    assert data.n_items == 7
