"""RecBole's atomic files: the same data comes out, and every fault of them is named."""

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.data.datasets import load_dataset

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\ttitle:token_seq\tprice:float\ttext:float_seq\n"


def cells(row):
    return " ".join(repr(float(value)) for value in row) if row.any() else ""


def write_events(path, events, time="timestamp"):
    lines = zip(events["user_id"], events["item_id"], events["value"], events["timestamp"], strict=True)
    text = "".join(f"{user}\t{item}\t{value}\t{stamp}\n" for user, item, value, stamp in lines)
    path.write_text(INTER.replace("timestamp", time) + text)


def write_items(path, original):
    lines = zip(original.items.itertuples(index=False), original.text, strict=True)
    text = "".join(f"{row.item_id}\t{row.title}\t{row.price}\t{cells(values)}\n" for row, values in lines)
    path.write_text(ITEM + text)


@pytest.fixture
def recbole(original, tmp_path):
    """The original data set as atomic files, in benchmark parts."""
    root = tmp_path / "shop"
    root.mkdir()
    for window in ("train", "valid", "test"):
        write_events(root / f"shop.{window}.inter", original.events[original.events["split"] == window])
    write_items(root / "shop.item", original)
    return root


@pytest.fixture
def small(tmp_path):
    """Write a small folder of text files by their endings."""

    def make(**files):
        root = tmp_path / "small"
        root.mkdir()
        good = {"inter": INTER + "a\tx\t5\t1\na\ty\t4\t2\nb\ty\t3\t3\n"}
        for ending, text in {**good, **files}.items():
            (root / f"small.{ending.replace('__', '.')}").write_text(text)
        return root

    return make


def test_the_same_data_and_the_same_numbers_come_out(
    original, recbole, tmp_path, importing, same_data, figures
):
    told = importing("recbole", recbole, tmp_path / "out")
    assert told["events"] == told["read"] == len(original.events)
    same_data(original.folder, tmp_path / "out")
    assert (tmp_path / "out" / "text.npy").read_bytes() == (original.folder / "text.npy").read_bytes()
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    pd.testing.assert_frame_equal(items, original.items, check_dtype=False)
    assert figures(tmp_path / "out") == figures(original.folder)


def test_one_file_has_no_split(original, recbole, tmp_path, importing):
    write_events(recbole / "shop.inter", original.events)
    importing("recbole", recbole, tmp_path / "out", "--set", "split=none")
    data = load_dataset(str(tmp_path / "out"))
    assert data.given.max() == -1
    assert len(data.interactions) == len(original.events)


def test_parts_and_the_whole_file_together_need_a_word(original, recbole, refused):
    write_events(recbole / "shop.inter", original.events)
    assert "--set split=given" in refused(2, "recbole", recbole)


def test_a_column_type_decides(small, tmp_path, importing):
    root = small(
        item="item_id:token\ttags:token_seq\tprice:float\tv:float_seq\tsizes:float_seq\n"
        "y\tred blue\t\t\t1 2 3\nx\t\t2.5\t1 -2e-1\t4\n",
        user="user_id:token\tage:float\tcity:token\tw:float_seq\nb\t33\tRome\t1 2\n",
        itememb="iid:token\tgraph:float_seq\nx\t1 2 3\ny\t4 5 6\nz\t7 8 9\n",
    )
    sets = ["--set", "skip=['sizes']", "--set", "vectors=['itememb']"]
    told = importing("recbole", root, tmp_path / "out", *sets)
    data = load_dataset(str(tmp_path / "out"), item_columns=["price"], user_columns=["age"])
    assert data.items.tolist() == ["y", "x"]  # in the order of the file
    assert data.users.tolist() == ["b", "a"]  # the listed first
    np.testing.assert_array_equal(data.item_columns["price"], np.float32([np.nan, 2.5]))
    np.testing.assert_array_equal(data.user_columns["age"], np.float32([33, np.nan]))
    assert data.modalities["v"].present.tolist() == [False, True]
    np.testing.assert_array_equal(data.modalities["v"].values[1], np.float32([1, -0.2]))
    np.testing.assert_array_equal(data.modalities["graph"].values, np.float32([[4, 5, 6], [1, 2, 3]]))
    assert told["vectors"]["graph"]["unknown"] == 1
    assert told["notes"] == ["small.user: w is left out: vectors of users have no use here"]
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["tags"].fillna("-").tolist() == ["red blue", "-"]


TOKENS = "user_id:token\titem_id:token\trating:token\ttimestamp:token\n"


def test_numbers_in_token_columns_are_read_exactly(small, tmp_path, importing):
    stamps = [2**60 + 1, 2**60, 1_600_000_000]
    lines = zip("aab", "xyy", ("5", "", "4.5"), (*stamps[:2], "1.6e9"), strict=True)
    root = small(inter=TOKENS + "".join("\t".join(map(str, line)) + "\n" for line in lines))
    assert importing("recbole", root, tmp_path / "out")["notes"] == []
    found = pd.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert found["timestamp"].tolist() == stamps
    np.testing.assert_array_equal(found["value"], [5, np.nan, 4.5])


def test_what_is_no_number_in_token_columns_is_said(small, tmp_path, importing, refused):
    root = small(inter=TOKENS + "a\tx\tgood\t2014-05-01\nb\ty\tbad\t\n")
    assert importing("recbole", root, tmp_path / "out")["notes"] == [
        "column timestamp is not read: small.inter: timestamp:token holds no numbers",
        "column rating is not read: small.inter: rating:token holds no numbers",
    ]
    assert {"timestamp", "value"}.isdisjoint(pd.read_parquet(tmp_path / "out" / "interactions.parquet"))
    rows = [f"{'a' * 9999}\tx\t1\t1"] * 300  # 3 MB; the first of them say what the column holds
    (root / "small.inter").write_text(TOKENS + "\n".join(rows) + "\nb\ty\t1\tlate\n")
    assert "line 302, column timestamp:token: 'late'" in refused(3, "recbole", root)
    importing("recbole", root, tmp_path / "skipped", "--set", "skip=['timestamp']")


def test_a_column_that_a_part_lacks_is_said(recbole, tmp_path, importing):
    test = (recbole / "shop.test.inter").read_text().splitlines()
    lines = [line.rpartition("\t")[0] for line in test]
    (recbole / "shop.test.inter").write_text("\n".join(lines))
    notes = importing("recbole", recbole, tmp_path / "out")["notes"]
    assert notes == ["column timestamp is not read: shop.test.inter: has it not"]


@pytest.mark.parametrize("name", ["small.inter", "small.item", "small.user", "small.emb"])
def test_a_file_outside_the_source_is_refused(small, refused, tmp_path, name):
    root = small(emb="iid:token\tv:float_seq\nx\t1 2\n")
    (tmp_path / name).write_text(INTER)
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(tmp_path / name)
    said = refused(3, "recbole", root, "--set", "vectors=['emb']")
    assert f"names '{name}', which leaves this folder" in said
    assert "leaves this folder" in refused(3, "recbole", root, "--set", "dataset=../small")


def test_ids_stay_text_where_one_is_no_integer(small, tmp_path, importing):
    importing("recbole", small(inter=INTER + "7\t01\t5\t1\n10\t2\t4\t2\n"), tmp_path / "out")
    data = load_dataset(str(tmp_path / "out"))
    assert data.users.tolist() == [7, 10]
    assert data.items.tolist() == ["01", "2"]


def test_one_late_text_id_makes_all_of_them_text(small, tmp_path, importing):
    root = small(inter=INTER + "7\t2\t5\t1\n10\t3\t4\t2\n", item="item_id:token\n10\n2\n3\nB00X\n")
    importing("recbole", root, tmp_path / "out")
    data = load_dataset(str(tmp_path / "out"))
    assert data.items.tolist() == ["10", "2", "3", "B00X"]
    assert data.interactions.item.tolist() == [1, 2]


FAULTS = {
    "untyped": ({"inter": "user_id\titem_id:token\n1\t2\n"}, ["column 'user_id'", "Allowed: NAME:TYPE"]),
    "type": ({"inter": "user_id:int\titem_id:token\n1\t2\n"}, ["'user_id:int'", "token, token_seq, float"]),
    "column": ({"inter": "uid:token\titem_id:token\n1\t2\n"}, ["no column 'user_id'", "Set user"]),
    "no id": ({"inter": INTER + "\tx\t1\t1\n"}, ["line 2", "is empty. Allowed: an id"]),
    "number": (
        {"inter": INTER + "a\tx\tgood\t1\n"},
        ["line 2, column rating:float", "'good'", "finite number"],
    ),
    "infinite": ({"inter": INTER + "a\tx\t1\t1e999\n"}, ["line 2, column timestamp:float", "'1e999'"]),
    "cells": ({"inter": INTER + "a\tx\t1\n"}, ["line 2", "3 cells against 4 columns"]),
    "width": (
        {"item": "item_id:token\tv:float_seq\nx\t1 2\ny\t1 2 3\n"},
        ["line 2, column v:float_seq", "2 numbers against 3 elsewhere"],
    ),
    "item id": ({"item": "iid:token\nx\n"}, ["small.item", "no column 'item_id'"]),
    "two sets": ({"__inter": "x"}, ["one data set of .inter files is needed"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_named_by_its_line(small, refused, fault):
    files, words = FAULTS[fault]
    root = small(**files)
    if fault == "two sets":
        (root / "other.inter").write_text(INTER)
    said = refused(3, "recbole", root)
    for word in words:
        assert word in said


def test_wrong_options_are_refused(small, refused):
    root = small()
    assert "Did you mean 'split'?" in refused(2, "recbole", root, "--set", "spilt=none")
    assert "split = 'sometimes'" in refused(2, "recbole", root, "--set", "split=sometimes")
    assert "Fields of recbole: dataset" in refused(2, "recbole", root, "--set", "split")
    assert "there is no small.emb" in refused(2, "recbole", root, "--set", "vectors=['emb']")
    assert "Known: " in refused(2, "recbol", root)


def test_every_command_of_the_page_runs(recbole, original, tmp_path, run_page):
    whole = tmp_path / "ml-100k"
    whole.mkdir()
    write_events(whole / "ml-100k.inter", original.events)
    write_items(whole / "ml-100k.item", original)
    (whole / "ml-100k.itememb").write_text("iid:token\tgraph:float_seq\n1\t1 2\n2\t3 4\n")
    assert run_page("formats/recbole.md", tmp_path) >= 3
