"""MicroLens folders: the same data come out, and every fault of them is named."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.data.datasets import load_dataset

PAIRS = b"user,item,timestamp\n1,2,1700000000000\n2,3,1700000001000\n1,3,1700000002000\n"


@pytest.fixture
def micro(original, tmp_path):
    """The original data without split and value, items from 1, and the same as MicroLens stores it: (own, theirs)."""
    own, root = tmp_path / "own", tmp_path / "MicroLens-50k"
    (root / "extracted_modality_features").mkdir(parents=True)
    own.mkdir()
    events = original.events[["user_id", "item_id", "timestamp"]].assign(
        item_id=original.events["item_id"] + 1
    )
    items = original.items[["item_id", "title"]].assign(item_id=original.items["item_id"] + 1)
    events.to_parquet(own / "interactions.parquet")
    items.to_parquet(own / "items.parquet")
    np.save(own / "image.npy", original.text)
    events.columns = ["user", "item", "timestamp"]
    events.to_csv(root / "MicroLens-50k_pairs.csv", index=False)
    items.columns = ["item", "title"]
    items.to_csv(root / "MicroLens-50k_titles.csv", index=False)
    np.save(root / "extracted_modality_features" / "MicroLens-50k_image_features_CLIPRN50.npy", original.text)
    return own, root


def test_the_same_data_come_out(micro, tmp_path, importing, same_data):
    own, root = micro
    told = importing("microlens", root, tmp_path / "out")
    assert (
        told["events"] + told["duplicates"]
        == told["read"]
        == len(pd.read_parquet(own / "interactions.parquet"))
    )
    assert (tmp_path / "out" / "image.npy").read_bytes() == (own / "image.npy").read_bytes()
    titles = [
        pd.read_parquet(folder / "items.parquet")["title"].tolist() for folder in (own, tmp_path / "out")
    ]
    assert titles[0] == titles[1]
    same_data(own, tmp_path / "out")


def test_the_numbers_of_a_run_are_the_same(micro, tmp_path, importing, figures):
    own, root = micro
    importing("microlens", root, tmp_path / "out")
    assert figures(tmp_path / "out") == figures(own)


def test_the_page_runs(micro, run_page, tmp_path):
    counts = "".join(f"{item}\t5\t50\n" for item in range(1, 9))
    (micro[1] / "MicroLens-50k_likes_and_views.txt").write_text(counts)
    assert run_page("formats/microlens.md", tmp_path) >= 2


@pytest.fixture
def small(tmp_path):
    """Write a folder: ``small({name: bytes or array})``."""

    def make(files=None):
        root = tmp_path / "small"
        root.mkdir()
        for name, value in ({"S_pairs.csv": PAIRS} | (files or {})).items():
            (root / name).parent.mkdir(exist_ok=True)
            np.save(root / name, value) if isinstance(value, np.ndarray) else (root / name).write_bytes(value)
        return root

    return make


def test_all_files_of_a_set(small, tmp_path, importing):
    files = {
        "S_title_en.csv": b'\xef\xbb\xbf2,"Cats, and ""dogs"""\r\n5,A thing, with commas\r\n3,"two\nlines"\r\n',
        "S_likes_and_views.txt": b"2\t7\t70\n9\t0\t1\n",
        "tags_to_summary.csv": b"videoID,category\n2,pets\n",
        "S_title_en_text_features_BgeM3.npy": np.eye(4, dtype=np.float32),
        "audio_features/2.npy": np.float32([1, 2]),
        "audio_features/9.npy": np.float32([[3, 4]]),
        "audio_features/11.npy": np.float32([5, 6]),
    }
    told = importing("microlens", small(files), tmp_path / "out")
    assert (told["items"], told["files"]) == (7, 8)
    assert "counted after the events" in told["notes"][0]
    items = pd.read_parquet(tmp_path / "out" / "items.parquet").set_index("item_id")
    assert items.index.tolist() == [2, 5, 3, 1, 4, 9, 11]
    assert items["title"].tolist()[:3] == ['Cats, and "dogs"', "A thing, with commas", "two\nlines"]
    assert items.loc[2, ["likes", "views", "category"]].tolist() == [7, 70, "pets"]
    data = load_dataset(str(tmp_path / "out"))
    np.testing.assert_array_equal(data.modalities["text"].values[0], [0, 1, 0, 0])  # row 1 is item 2
    assert data.modalities["audio"].present.tolist() == [True, *[False] * 4, True, True]
    assert data.clock == "real"


def test_lines_by_user_other_columns_and_the_first_item(small, tmp_path, importing):
    root = small({"S_pairs.tsv": b"1\t2 3\n2\t3\n", "image_features.npy": np.eye(4)})
    (root / "S_pairs.csv").unlink()
    importing("microlens", root, tmp_path / "lists", "--set", "first_item=0")
    found = pd.read_parquet(tmp_path / "lists" / "interactions.parquet")
    assert found["seq"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(
        load_dataset(str(tmp_path / "lists")).modalities["image"].values[2], [0, 0, 1, 0]
    )
    (root / "S_pairs.csv").write_bytes(
        b'timestamp,"videoID",userID\r\n1700000000000,1099511627776,4\r\n1700000000000,2,-5\r\n'
    )
    importing("microlens", root, tmp_path / "named", "--set", 'features={image="image_features.npy"}')
    found = pd.read_parquet(tmp_path / "named" / "interactions.parquet")
    assert found["item_id"].tolist() == [2**40, 2]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"S_pairs.csv": b""}, "the file is empty"),
        ({"S_pairs.csv": b"a,b,c\n1,2,3\n"}, "no column 'user'; found a, b, c"),
        ({"S_pairs.csv": b"1,2,3\n1,two,3\n"}, "line 2, item: 'two'. Allowed: an integer"),
        ({"S_pairs.csv": b"1,2,3\n1,2,3.5\n"}, "line 2, timestamp: '3.5'"),
        ({"S_pairs.csv": b"1,2,3\n1,2\n"}, "line 2: 2 cells. Allowed: user, item and timestamp"),
        ({"S_pairs.csv": b"1,9223372036854775808,3\n"}, "an integer of 64 bits"),
        ({"S_pairs.csv": PAIRS + b"\xff"}, "line 5: byte 0xff is not UTF-8"),
        ({"T_pairs.csv": PAIRS}, "S_pairs.csv and T_pairs.csv. Allowed: one file *_pairs.csv"),
        ({"S_titles.csv": b"item,title\nx,y\n"}, "line 2, item: 'x'"),
        ({"S_titles.csv": b"item,title\n4\n"}, "line 2: 1 cells"),
        ({"S_titles.csv": b'4,"' + b"open\n" * 60_000}, "not readable as CSV (field larger"),
        ({"S_likes_and_views.txt": b"1\t2\n"}, "line 1: 2 words. Allowed: item, likes, views"),
        ({"S_likes_and_views.txt": b"1\t2\tmany\n"}, "likes=false leaves this file out"),
        ({"image_feat.npy": np.eye(2), "cover_features.npy": np.eye(2)}, "are both features of 'image'"),
        ({"image_feat.npy": b"\x93NUMPY\x01\x00v\x00{"}, "truncated inside its header"),
        ({"image_feat.npy": np.ones(3)}, "float64 of shape [3]"),
        ({"audio_features/x.npy": np.ones(3)}, "x.npy, its name: 'x'"),
        ({"audio_features/1.npy": np.ones((3, 2))}, "3 rows. Allowed: one vector"),
        ({"audio_features/1.npy": np.ones(3), "audio_features/2.npy": np.ones(2)}, "Allowed: one width"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_refused_and_leaves_nothing(files, said, small, refused):
    assert said in " ".join(refused(3, "microlens", small(files)).split())


def test_no_pairs_a_directory_an_object_array_and_a_way_out(small, refused, tmp_path):
    root = small()
    np.save(root / "image_feat.npy", np.array([None, 1]), allow_pickle=True)
    assert "holds Python objects" in refused(3, "microlens", root)
    (root / "image_feat.npy").unlink()
    assert "leaves this folder" in refused(3, "microlens", root, "--set", 'features={image="../x.npy"}')
    (root / "S_titles.csv").symlink_to("/etc/passwd")
    assert "leaves this folder" in refused(3, "microlens", root)
    (root / "S_titles.csv").unlink()
    (root / "S_pairs.csv").unlink()
    assert "no file of pairs; found nothing" in refused(3, "microlens", root)
    (root / "S_pairs.csv").mkdir()
    assert "is a directory" in refused(3, "microlens", root)
    shutil.rmtree(root)
    assert "no such folder" in refused(3, "microlens", root)
