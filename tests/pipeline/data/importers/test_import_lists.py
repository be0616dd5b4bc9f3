"""Files with a line a user: the same data come out, and every fault of them is named."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.data.datasets import load_dataset

ORDER = ["train", "valid", "test"]
GOOD = b"0 5 7 9\n1 7\n"


@pytest.fixture
def mgcl(original, tmp_path):
    """A folder of our own without time, and the same as MGCL and MCLN store it: (own, lists)."""
    own, root = tmp_path / "own", tmp_path / "MCLN" / "Data" / "tiny"
    own.mkdir()
    root.mkdir(parents=True)
    events = original.events[["user_id", "item_id", "split"]].drop_duplicates(["user_id", "item_id"])
    events = pd.concat(
        [events[events["split"] == window].sort_values("user_id", kind="stable") for window in ORDER]
    )
    events.to_parquet(own / "interactions.parquet")
    original.items[["item_id"]].to_parquet(own / "items.parquet")
    np.save(own / "image.npy", original.text)
    for window, name in (("train", "train.txt"), ("valid", "val.txt"), ("test", "test.txt")):
        some = events[events["split"] == window].groupby("user_id")["item_id"].agg(list)
        lines = [" ".join(map(str, (user, *items))) for user, items in some.items()]
        (root / name).write_bytes(("\r\n".join(lines) + "\r\n").encode())
    rows = [f"{item} {' '.join(map(repr, map(float, row)))}" for item, row in enumerate(original.text)]
    (root / "item2imgfeat.txt").write_text("\n".join(rows))
    (root / "item_popularity.txt").write_text("0 5\n")
    return own, root


def test_the_same_data_come_out(mgcl, tmp_path, importing, same_data):
    own, root = mgcl
    told = importing("lists", root, tmp_path / "out")
    assert told["events"] == told["read"] == len(pd.read_parquet(own / "interactions.parquet"))
    assert told["notes"] == [
        "item_popularity.txt is not read: it counts events, those of the test among them."
    ]
    assert (tmp_path / "out" / "image.npy").read_bytes() == (own / "image.npy").read_bytes()
    same_data(own, tmp_path / "out")


def test_the_numbers_of_a_run_are_the_same(mgcl, tmp_path, importing, figures):
    own, root = mgcl
    importing("lists", root, tmp_path / "out")
    assert figures(tmp_path / "out") == figures(own)


def test_the_page_runs(mgcl, run_page, tmp_path):
    shutil.copy(mgcl[1] / "train.txt", mgcl[1] / "all.txt")
    assert run_page("formats/lists.md", tmp_path) >= 2


@pytest.fixture
def small(tmp_path):
    """Write a folder: ``small(train__txt=bytes)``."""

    def make(**files):
        root = tmp_path / "small"
        root.mkdir()
        for name, value in ({"train__txt": GOOD} | files).items():
            path = root / name.replace("__", ".")
            np.save(path, value) if isinstance(value, np.ndarray) else path.write_bytes(value)
        return root

    return make


def test_the_order_of_a_line_becomes_seq(small, tmp_path, importing):
    importing("lists", small(test__txt=b"0 2\n"), tmp_path / "out", "--set", "ordered=true")
    found = pd.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert found.sort_values(["user_id", "seq"])["item_id"].tolist() == [5, 7, 9, 2, 7]


def test_packed_files_marks_and_lines_without_items(small, tmp_path, importing):
    root = small(test__txt__gz=gzip.compress(b"\xef\xbb\xbf0 3\n\n1\n2 4\t5  6\n"))
    told = importing("lists", root, tmp_path / "out")
    assert told["dropped"] == {"lines without items": 2}
    assert load_dataset(str(tmp_path / "out")).items.tolist() == [3, 4, 5, 6, 7, 9]


def test_text_and_the_largest_integers_are_ids(small, tmp_path, importing):
    importing("lists", small(train__txt=b"ann 007 7\nbob 2.0\n"), tmp_path / "text", "--set", "ids=text")
    assert load_dataset(str(tmp_path / "text")).items.tolist() == ["007", "2.0", "7"]
    shutil.rmtree(tmp_path / "small")
    importing("lists", small(train__txt=b"0 1099511627776 9223372036854775807\n1 3\n"), tmp_path / "wide")
    assert load_dataset(str(tmp_path / "wide")).items.tolist() == [3, 2**40, 2**63 - 1]


def test_items_with_features_and_without_events_stay(small, tmp_path, importing):
    root = small(item2imgfeat__txt=b"5 1 2\n11 3 4\n", itemtitle2vec__txt=b"7 1\n5 nan\n11 3\n")
    told = importing("lists", root, tmp_path / "out")
    assert (told["items"], told["repeated"]) == (4, 0)
    data = load_dataset(str(tmp_path / "out"))
    assert data.items.tolist() == [5, 11, 7, 9]
    assert data.modalities["text"].present.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train__txt": b""}, "train.txt: the file is empty"),
        ({"train__txt": b"\xef\xbb\xbf"}, "no"),
        ({"train__txt": b"0 1\n0 b\n"}, "line 2, word 2 (ids=text takes ids that are no integers): 'b'"),
        ({"train__txt": b"0 1.0\n"}, "'1.0'. Allowed: an integer of 64 bits"),
        ({"train__txt": b"0 9223372036854775808\n"}, "an integer of 64 bits"),
        ({"train__txt": "0 ٣\n".encode()}, "an integer of 64 bits"),
        ({"train__txt": b"0 \xff\n"}, "line 1: byte 0xff is not UTF-8"),
        ({"train__txt": "0 1\n".encode("utf-16")}, "is not UTF-8"),
        ({"train__txt": b"0 1\x00\n"}, "holds a zero byte"),
        ({"train__txt": b"0\n1\n"}, "holds no events"),
        ({"train__txt": b"0 " + b"1" * (17 << 20)}, "is longer than 16,777,216 bytes"),
        ({"test__txt__gz": gzip.compress(GOOD * 50)[:-9]}, "the gzip is truncated"),
        (
            {"test__txt__gz": gzip.compress((b"0 1" + b" " * 1_000_000 + b"\n") * 80, 1)},
            "bytes of gzip grew to more than",
        ),
        ({"test__txt__gz": GOOD}, "not readable as gzip"),
        ({"item2imgfeat__txt": b"0 1 2\n1 1\n"}, "line 2: 1 numbers after lines of 2"),
        ({"item2imgfeat__txt": b"5 1 2\n7 1 x\n"}, "line 2: not all words are numbers"),
        ({"item2imgfeat__txt": b"b 1 2\n"}, "line 1, word 1: 'b'"),
        ({"item2imgfeat__txt": b"5\n"}, "line 1: item '5' without numbers"),
        ({"item2imgfeat__txt": b"0 1\n", "image_feat__npy": np.ones((9, 1))}, "are both features of 'image'"),
        ({"text_feat__npy": np.ones((9, 1))}, "item 9 has no row in features of 9 rows"),
        ({"text_feat__npy": b"\x93NUMPY\x01\x00v\x00{"}, "truncated inside its header"),
        ({"text_feat__npy": b"PK\x03\x04....."}, "is an .npz archive"),
    ],
)
def test_a_broken_folder_is_refused_and_leaves_nothing(files, said, small, refused):
    assert said in " ".join(refused(3, "lists", small(**files)).split())


def test_a_folder_without_training_events_a_directory_and_a_way_out(small, refused):
    root = small(val__txt=GOOD)
    assert "leaves this folder" in refused(3, "lists", root, "--set", "train=/etc/passwd")
    (root / "train.txt").unlink()
    assert "no file of training events; found val.txt" in refused(3, "lists", root)
    (root / "train.txt").mkdir()
    assert "train.txt: is a directory" in refused(3, "lists", root)
