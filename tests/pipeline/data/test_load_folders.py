"""What a folder becomes: catalogue, codes, order, positives, features, notes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.core import Dataset
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.side import encode_text
from stagelens.pipeline.errors import ConfigError

VECTORS = np.arange(1, 21, dtype=np.float32).reshape(5, 4)


def pairs(data: Dataset) -> list[tuple[object, object]]:
    log = data.interactions
    return list(zip(data.users[log.user].tolist(), data.items[log.item].tolist(), strict=True))


def test_without_an_items_table_the_interacted_items_are_the_catalogue_in_sorted_order(make_folder):
    data = load_dataset(str(make_folder(interactions={"user_id": [7, 7, 3], "item_id": [50, 10, 50]})))
    assert data.items.tolist() == [10, 50]
    assert data.users.tolist() == [3, 7]
    assert pairs(data) == [(3, 50), (7, 50), (7, 10)]
    assert data.clock == "none"
    assert (data.given == -1).all()
    assert data.name == "data"


def test_integer_ids_with_a_bare_array_make_the_catalogue_of_its_rows(make_folder):
    data = load_dataset(str(make_folder(text=np.ones((9, 3), np.float16))))
    assert data.items.tolist() == list(range(9))
    assert data.modalities["text"].values.dtype == np.float16
    assert isinstance(data.modalities["text"].values, np.memmap)


def test_the_items_table_gives_catalogue_and_order_and_rows_follow_it(make_folder):
    table = {"item_id": [4, 3, 2, 1, 0, 99]}
    values = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
    data = load_dataset(str(make_folder(items=table, text=values)))
    assert data.items.tolist() == [4, 3, 2, 1, 0, 99]
    assert data.n_items == 6
    code = data.items.tolist().index(2)
    assert data.modalities["text"].rows(np.array([code])).tolist() == [[5.0, 6.0]]


@pytest.mark.parametrize("kind", ["ids__npy", "ids__parquet", "parquet", "text ids"])
def test_row_ids_place_rows_and_leave_the_rest_absent(make_folder, kind):
    ids = [3, 0, 4]
    values = np.array([[3, 3], [1, 1], [4, 4]], np.float32)
    extra = {
        "ids__npy": {"image__ids": np.array(ids)},
        "ids__parquet": {"image__ids": {"item_id": ids}},
        "parquet": {"image": None, "image__parquet": None},
        "text ids": {"image__ids": np.array([str(value) for value in ids])},
    }[kind]
    folder = make_folder(**{"image": values, **{k: v for k, v in extra.items() if v is not None}})
    if kind == "parquet":
        np.save(folder / "image.npy", values)
        pd.DataFrame({"item_id": ids}).to_parquet(folder / "image.parquet")
    table = load_dataset(str(folder)).modalities["image"]
    assert table.present.tolist() == [True, False, False, True, True]
    assert table.rows(np.array([0, 3, 4])).tolist() == [[1, 1], [3, 3], [4, 4]]


def test_items_known_by_row_ids_alone_join_the_catalogue(make_folder):
    folder = make_folder(image=np.ones((2, 2), np.float32), image__ids=np.array([4, 70]))
    assert load_dataset(str(folder)).items.tolist() == [0, 1, 2, 3, 4, 70]


def test_text_ids_and_integer_ids_meet_as_text_and_say_so(make_folder):
    data = load_dataset(str(make_folder(items={"item_id": ["4", "3", "2", "1", "0"]})))
    assert data.items.tolist() == ["4", "3", "2", "1", "0"]
    assert pairs(data)[0] == (0, "0")
    assert any("compared as text" in note for note in data.notes)


def test_text_ids_work_throughout(make_folder):
    log = {"user_id": ["ann", "bob", "ann"], "item_id": ["B00X", "A1", "A1"], "timestamp": [30, 20, 10]}
    data = load_dataset(str(make_folder(interactions=log)))
    assert data.users.tolist() == ["ann", "bob"]
    assert data.items.tolist() == ["A1", "B00X"]
    assert data.items.dtype.kind == "U"  # never objects: hashes read the bytes
    assert pairs(data) == [("ann", "A1"), ("ann", "B00X"), ("bob", "A1")]


def test_zero_and_nan_rows_are_absent_and_counted(make_folder):
    values = VECTORS.copy()
    values[1] = 0
    values[3, 2] = np.nan
    folder = str(make_folder(text=values))
    data = load_dataset(folder)
    assert data.modalities["text"].present.tolist() == [True, False, True, False, True]
    assert not any(folder in note for note in data.notes)  # a report says nothing about the machine
    assert any("1 rows hold NaN" in note and "row 3" in note for note in data.notes)
    assert any("1 of 5 items have no vector" in note for note in data.notes)


def test_double_precision_is_read_as_float32_with_a_warning(make_folder):
    data = load_dataset(str(make_folder(text=VECTORS.astype(np.float64))))
    assert data.modalities["text"].values.dtype == np.float32
    assert any("float64" in note for note in data.notes)


def test_rating_is_value_and_without_a_threshold_every_event_counts_and_that_is_said(make_folder):
    log = {"user_id": [0, 0, 1], "item_id": [0, 1, 0], "rating": [5, 1, 3]}
    folder = str(make_folder(interactions=log))
    every = load_dataset(folder)
    assert len(every.interactions) == 3
    assert any("column rating" in note and "1 to 5" in note and "positive" in note for note in every.notes)
    liked = load_dataset(folder, positive=3)
    assert pairs(liked) == [(0, 0), (1, 0)]
    assert liked.n_items == 2  # what was rated low stays in the catalogue
    assert any("2 of 3 events have a value >= 3" in note for note in liked.notes)
    assert load_dataset(folder, weight=True).interactions.value.tolist() == [5, 1, 3]


def test_a_value_that_is_missing_is_not_a_positive(make_folder):
    log = {"user_id": [0, 0], "item_id": [0, 1], "value": [5.0, np.nan]}
    data = load_dataset(str(make_folder(interactions=log)), positive=1)
    assert len(data.interactions) == 1
    assert any("1 events have no value" in note for note in data.notes)


def test_of_a_repeated_pair_the_first_counts_and_the_rest_is_said(make_folder):
    log = {
        "user_id": [0, 0, 0, 1],
        "item_id": [5, 6, 5, 5],
        "timestamp": [300, 200, 100, 50],
        "value": [1, 1, 9, 1],
    }
    data = load_dataset(str(make_folder(interactions=log)), weight=True)
    assert pairs(data) == [(0, 5), (0, 6), (1, 5)]
    assert data.interactions.time.tolist() == [100, 200, 50]
    assert data.interactions.value.tolist() == [9, 1, 1]
    assert any("1 events repeat a user-item pair" in note for note in data.notes)


def test_a_pair_in_two_windows_of_a_given_split_stays_in_the_earlier_one(make_folder):
    log = {"user_id": [0, 0, 0], "item_id": [1, 1, 2], "split": ["test", "train", "test"]}
    data = load_dataset(str(make_folder(interactions=log)))
    assert sorted(zip(pairs(data), data.given.tolist(), strict=True)) == [((0, 1), 0), ((0, 2), 2)]
    assert any("later window" in note for note in data.notes)


def test_given_follows_its_event_through_sorting(make_folder):
    log = {"user_id": [1, 0, 0], "item_id": [0, 1, 2], "seq": [1, 2, 1], "split": ["val", "TEST", "0"]}
    data = load_dataset(str(make_folder(interactions=log)))
    assert pairs(data) == [(0, 2), (0, 1), (1, 0)]
    assert data.given.tolist() == [0, 2, 1]


def test_csv_with_bom_crlf_semicolons_and_quotes(make_folder):
    text = '\ufeffuser_id;item_id;timestamp\r\n"u;1"; 5;100\r\nu2;6;50\r\n'
    data = load_dataset(str(make_folder(interactions=text)))
    assert data.users.tolist() == ["u2", "u;1"]
    assert data.items.tolist() == [5, 6]
    assert data.items.dtype == np.int64


def test_csv_ids_with_leading_zeros_stay_text(make_folder):
    data = load_dataset(str(make_folder(interactions="user_id,item_id\n1,007\n1,7\n2,07\n")))
    assert data.items.tolist() == ["007", "07", "7"]
    assert data.users.dtype == np.int64


def test_csv_and_parquet_give_the_same_data(make_folder):
    frame = pd.DataFrame(
        {"user_id": [0, 0, 1, 1], "item_id": [3, 1, 3, 2], "timestamp": [9, 2, 3, 4], "value": [1.5, 2, 3, 4]}
    )
    one = load_dataset(str(make_folder("parquet", interactions=frame)), positive=2)
    two = load_dataset(str(make_folder("csv", interactions=frame.to_csv(index=False))), positive=2)
    assert one.hashes() == two.hashes()


def test_other_column_names_are_mapped_by_options_or_by_dataset_toml(make_folder):
    log = {"visitor": [0, 0], "sku": [1, 2], "hours": [0.5, 30.0]}
    toml = (
        'name = "steam"\nlicense = "MIT"\n[columns]\nuser_id = "visitor"\nitem_id = "sku"\nvalue = "hours"\n'
    )
    said = load_dataset(str(make_folder("said", interactions=log, dataset=toml)), positive=2)
    assert said.name == "steam"
    asked = load_dataset(
        str(make_folder("asked", interactions=log)),
        positive=2,
        columns={"user_id": "visitor", "item_id": "sku", "value": "hours"},
    )
    assert pairs(said) == pairs(asked) == [(0, 2)]


def test_columns_become_features_by_code(make_folder):
    items = {
        "item_id": [4, 3, 2, 1, 0],
        "price": [1.5, np.nan, 3, 4, 5],
        "new": [True, False, True, False, True],
        "brand": ["b", "a", "b", None, "c"],
        "kind": pd.Categorical(["x", "y", "y", "y", "x"]),
        "day": pd.to_datetime(["1970-01-02"] * 5),
    }
    users = {"user_id": [3, 2, 1, 0, 8], "age": [30, 20, 10, 0, 80]}
    data = load_dataset(
        str(make_folder(items=items, users=users)),
        item_columns=("price", "new", "brand", "kind", "day"),
        user_columns=("age",),
    )
    columns = data.item_columns
    np.testing.assert_array_equal(columns["price"], np.float32([1.5, np.nan, 3, 4, 5]))
    assert columns["new"].tolist() == [1, 0, 1, 0, 1]
    np.testing.assert_array_equal(columns["brand"], np.float32([0, 1, 0, np.nan, 2]))
    assert columns["kind"].tolist() == [1, 0, 0, 0, 1]
    assert columns["day"].tolist() == [1] * 5
    assert data.users.tolist() == [3, 2, 1, 0, 8]
    assert data.user_columns["age"].tolist() == [30, 20, 10, 0, 80]
    assert all(column.dtype == np.float32 for column in columns.values())


def test_users_that_the_table_does_not_list_take_part_without_columns(make_folder):
    data = load_dataset(str(make_folder(users={"user_id": [2, 1], "age": [20, 10]})), user_columns=("age",))
    assert data.users.tolist() == [2, 1, 0, 3]
    np.testing.assert_array_equal(data.user_columns["age"], np.float32([20, 10, np.nan, np.nan]))
    assert any("2 users of the interactions are not listed" in note for note in data.notes)


def test_csv_columns_are_typed(make_folder):
    items = 'item_id,price,new,brand\n0,1.5,true,a\n1,,false,"a\nb"\n2,3,,a\n3,4,true,\n4,5,false,c\n'
    data = load_dataset(str(make_folder(items=items)), item_columns=("price", "new", "brand"))
    np.testing.assert_array_equal(data.item_columns["price"], np.float32([1.5, np.nan, 3, 4, 5]))
    np.testing.assert_array_equal(data.item_columns["new"], np.float32([1, 0, np.nan, 1, 0]))
    np.testing.assert_array_equal(data.item_columns["brand"], np.float32([0, 1, 0, np.nan, 2]))


@given(st.lists(st.sampled_from(["a", "b", "c", "dd", ""]), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_category_codes_fall_with_frequency_then_follow_the_name(texts):
    values = np.asarray(texts, dtype="<U2")
    codes = encode_text(values, values != "")
    assert (np.isnan(codes) == (values == "")).all()
    seen = {name: (-texts.count(name), name) for name in set(texts) - {""}}
    for place, name in enumerate(sorted(seen, key=seen.get)):
        assert (codes[values == name] == place).all()


def test_impressions_keep_what_was_chosen_later(make_folder):
    log = {"user_id": [0, 0, 1], "item_id": [0, 1, 2], "timestamp": [1000, 90000, 5000]}
    seen = {"user_id": [0, 0, 9, 1], "item_id": [1, 2, 1, 77], "timestamp": [900, 2000, 1, 1]}
    data = load_dataset(str(make_folder(interactions=log, impressions=seen)))
    assert data.impressions is not None
    assert data.impressions.item.tolist() == [1, 2]  # item 1 is chosen later: dropping it here would tell
    assert data.impressions.time.tolist() == [900, 2000]
    assert any("2 rows name users or items outside" in note for note in data.notes)


def test_listed_modalities_alone_are_read(make_folder):
    folder = make_folder(
        text=VECTORS, user_vectors=np.ones((3, 2), np.float32), dataset='modalities = ["text"]\n'
    )
    assert list(load_dataset(str(folder)).modalities) == ["text"]


def test_options_that_name_nothing_are_wrong_options(make_folder):
    folder = str(make_folder(items={"item_id": [0, 1, 2, 3, 4], "category": list("aabbc")}))
    with pytest.raises(
        ConfigError, match=r"item_columns: Unknown column .* 'categroy'\. Did you mean 'category'"
    ):
        load_dataset(folder, item_columns=("categroy",))
    with pytest.raises(ConfigError, match=r"user_columns = \['age'\]: there is no users"):
        load_dataset(folder, user_columns=("age",))
    with pytest.raises(ConfigError, match=r"columns\.valu.*Did you mean 'value'"):
        load_dataset(folder, columns={"valu": "rating"})
    with pytest.raises(ConfigError, match=r"columns\.item_id.*'itemid'\. Did you mean 'item_id'"):
        load_dataset(folder, columns={"item_id": "itemid"})
    with pytest.raises(ConfigError, match=r"positive = 4 needs a value column; .* has user_id, item_id"):
        load_dataset(folder, positive=4)


def test_a_threshold_above_every_value_is_a_wrong_option(make_folder):
    log = {"user_id": [0, 1], "item_id": [0, 1], "rating": [2, 5]}
    with pytest.raises(ConfigError, match=r"positive = 6: no event has such a value .* values 2 to 5"):
        load_dataset(str(make_folder(interactions=log)), positive=6)


def test_loading_writes_nothing(make_folder):
    folder = make_folder(text=VECTORS)
    before = sorted(path.name for path in folder.iterdir())
    load_dataset(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == before
