"""DiffMM, MMSSL and LightGT folders: the same data comes out of each, and every fault of them is named."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from stagelens.pipeline.data.datasets import load_dataset

ORDER = {"train": 0, "valid": 1, "test": 2}


@pytest.fixture(scope="module")
def plain(original, tmp_path_factory):
    """The original data without time and value, sorted as a matrix keeps them: a folder of our own."""
    folder = tmp_path_factory.mktemp("plain") / "tiny"
    folder.mkdir()
    events = original.events[["user_id", "item_id", "split"]].drop_duplicates(["user_id", "item_id"])
    events = events.sort_values(
        ["split", "user_id", "item_id"], key=lambda c: c.map(ORDER) if c.name == "split" else c
    )
    events.to_parquet(folder / "interactions.parquet")
    original.items[["item_id"]].to_parquet(folder / "items.parquet")
    np.save(folder / "text.npy", original.text)
    return folder


@pytest.fixture
def layout(plain, tmp_path):
    """Write the plain data in a layout: ``layout("diffmm")``."""
    events = pd.read_parquet(plain / "interactions.parquet")
    windows = dict(iter(events.groupby("split")))
    shape = (events["user_id"].max() + 1, len(np.load(plain / "text.npy")))

    def matrix(window, kind):
        some = windows[window]
        made = sp.coo_matrix((np.ones(len(some)), (some["user_id"], some["item_id"])), shape=shape)
        return pickle.dumps(kind(made), 4)

    def lists(window):
        return windows[window].groupby("user_id")["item_id"].agg(list).to_dict()

    def make(name, kind=sp.csr_matrix):
        root = tmp_path / name
        root.mkdir()
        shutil.copy(plain / "text.npy", root / "text_feat.npy")
        for window, short, other in (
            ("train", "trn", "train"),
            ("valid", "val", "val"),
            ("test", "tst", "test"),
        ):
            some = windows[window]
            if name == "diffmm":
                (root / f"{short}Mat.pkl").write_bytes(matrix(window, kind))
            elif name == "mmssl" and window == "train":
                (root / "train_mat").write_bytes(matrix(window, kind))
            elif name == "mmssl":
                said = {str(user): items for user, items in lists(window).items()}
                (root / f"{other}.json").write_text(json.dumps(said, indent=1))
            elif name == "lightgt":
                np.save(root / f"{other}.npy", np.asfortranarray(some[["user_id", "item_id"]].to_numpy()))
            elif window == "train":
                np.save(root / "user_item_dict.npy", lists(window), allow_pickle=True)
            else:
                rows = np.empty(len(lists(window)), dtype=object)
                rows[:] = [[user, *items] for user, items in lists(window).items()]
                np.save(root / f"{other}.npy", rows, allow_pickle=True)
        return root

    return make


@pytest.mark.parametrize("name", ["diffmm", "mmssl", "lightgt", "objects"])
def test_the_same_data_come_out_of_every_layout(name, layout, plain, tmp_path, importing, same_data):
    told = importing("matrices", layout(name), tmp_path / "out")
    assert told["events"] == told["read"] == len(pd.read_parquet(plain / "interactions.parquet"))
    assert told["notes"] == []
    assert (tmp_path / "out" / "text.npy").read_bytes() == (plain / "text.npy").read_bytes()
    same_data(plain, tmp_path / "out")


def test_the_numbers_of_a_run_are_the_same(layout, plain, tmp_path, importing, figures):
    importing("matrices", layout("diffmm"), tmp_path / "out")
    assert figures(tmp_path / "out") == figures(plain)


@pytest.mark.parametrize("kind", [sp.coo_matrix, sp.csc_matrix, sp.coo_array])
def test_the_kind_of_matrix_does_not_matter(kind, layout, plain, tmp_path, importing):
    importing("matrices", layout("diffmm", kind), tmp_path / "out")
    columns = ["user_id", "item_id", "split"]
    one, two = (
        pd.read_parquet(folder / "interactions.parquet")[columns] for folder in (plain, tmp_path / "out")
    )
    pd.testing.assert_frame_equal(
        *(frame.sort_values(columns).reset_index(drop=True) for frame in (one, two)), check_dtype=False
    )


@pytest.fixture
def small(tmp_path):
    """Write a folder of files: bytes as they are, arrays and matrices in their own way."""

    def make(**files):
        root = tmp_path / "small"
        root.mkdir()
        default = {"trnMat.pkl": sp.csr_matrix([[1, 0, 1], [0, 1, 0]])}
        for name, value in (
            {name.replace("__", "."): value for name, value in files.items()} or default
        ).items():
            if isinstance(value, bytes):
                (root / name).write_bytes(value)
            elif isinstance(value, str):
                (root / name).write_text(value)
            elif isinstance(value, np.ndarray):
                np.save(root / name, value)
            else:
                (root / name).write_bytes(pickle.dumps(value))
        return root

    return make


MATRIX = sp.csr_matrix([[1, 0, 1], [0, 1, 0]])


def test_values_are_kept_and_stored_zeros_are_counted(small, tmp_path, importing):
    matrix = sp.csr_matrix([[5, 3, 1], [0, 2, 0]]).astype(np.float32)
    matrix.data[2] = 0
    told = importing("matrices", small(trnMat__pkl=matrix), tmp_path / "out")
    assert told["dropped"] == {"stored zeros of a matrix": 1}
    data = load_dataset(str(tmp_path / "out"), weight=True)
    assert data.interactions.value.tolist() == [5, 3, 2]


def test_items_without_events_stay_where_features_name_them(small, tmp_path, importing):
    matrix = sp.csr_matrix([[1, 0, 0, 0]])
    root = small(
        trnMat__pkl=matrix, v_feats__npy=np.eye(4), extra__pt=b"x", FeatureAudio_avg_normal__npy=np.eye(4)
    )
    told = importing("matrices", root, tmp_path / "out")
    assert (told["items"], sorted(told["vectors"])) == (4, ["audio", "visual"])
    assert told["notes"] == [
        "Not read: extra.pt. An array NAME_feat.npy is the modality NAME; so is what features names."
    ]


def test_items_numbered_after_the_users_and_other_names(small, tmp_path, importing, refused):
    root = small(edges__npy=np.array([[0, 2], [1, 3], [0, 4]]), vis__npy=np.eye(3, dtype=np.float16))
    sets = ["--set", "train=edges.npy", "--set", 'features={image="vis.npy"}']
    assert "set item_offset to the number of users" in refused(3, "matrices", root, *sets)
    importing("matrices", root, tmp_path / "out", *sets, "--set", "item_offset=2")
    data = load_dataset(str(tmp_path / "out"))
    assert data.items.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data.modalities["image"].values, np.eye(3))
    assert "no such file in" in refused(2, "matrices", root, "--set", "train=other.npy")
    assert "leaves this folder" in refused(3, "matrices", root, "--set", "train=../../edges.npy")
    assert "features.image = 'none.npy'" in refused(
        2, "matrices", root, *sets[:2], "--set", "features={image='none.npy'}"
    )


OWNED = b"cos\nsystem\n(X\x01\x00\x00\x00xtR."
GOOD = {"trnMat__pkl": MATRIX}
OBJECTS = np.array([[0, 1], [1]], dtype=object)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"trnMat__pkl": OWNED}, "names 'os.system'"),
        ({"val__npy": OWNED, "train__npy": np.zeros((1, 2), int)}, "is not a .npy file"),
        (GOOD | {"tstMat__pkl": OWNED}, "tstMat.pkl: byte 0: names 'os.system'"),
        (GOOD | {"tstMat__pkl": sp.csr_matrix([[1, 0]])}, "matrices of different users and items"),
        (GOOD | {"tstMat__pkl": b""}, "tstMat.pkl: the file is empty"),
        (GOOD | {"text_feat__npy": np.ones((4, 2))}, "text_feat.npy 4, the columns of the matrix 3 items"),
        (GOOD | {"text_feat__npy": np.ones((3, 2)), "image_feat__npy": np.ones((2, 2))}, "image_feat.npy 2"),
        (GOOD | {"text_feat__npy": np.ones((3, 2)), "t_feats__npy": np.ones((3, 2))}, "are both features of 'text'"),
        (GOOD | {"text_feat__npy": OBJECTS}, "holds Python objects"),
        (GOOD | {"text_feat__npy": np.ones(3)}, "float64 of shape [3]"),
        (GOOD | {"text_feat__npy": np.ones((3, 2), int)}, "holds int64"),
        (GOOD | {"text_feat__npy": b"\x93NUMPY\x01\x00v\x00{'descr'"}, "truncated inside its header"),
        ({"trnMat__pkl": {"a": [1]}}, "list 0 is not a user and integer items"),
        ({"trnMat__pkl": {0: [1.5]}}, "list 0 is not a user"),
        ({"trnMat__pkl": {0: [2**63]}}, "list 0 is not a user"),
        ({"trnMat__pkl": [[0, 1], 7]}, "list 1 is not a user"),
        ({"trnMat__pkl": pickle.dumps("text")}, "list 0 is not a user"),
        ({"trnMat__pkl": pickle.dumps(np.ones((2, 3), int))}, "integers [N, 2]"),
        ({"train__npy": np.ones((2, 3), int)}, "integers [N, 2]"),
        ({"train__npy": np.array([[0, 1.5]])}, "holds float64"),
        ({"train__npy": np.array([[0, 2**64 - 1]], np.uint64)}, "item id 18446744073709551615 is beyond 64 bits"),
        ({"train__json": '{"0": [1, 2'}, "found 'the end of the file'"),
        ({"train__json": '{"0": [1, "b"]}'}, "found 'b'"),
        ({"train__json": '{"0": [[1]]}'}, "found '['"),
        ({"train__json": '{"0": [1.5]}'}, "'1.5'"),
        ({"train__json": '{"0": [99999999999999999999]}'}, "an integer of 64 bits"),
        ({"train__json": '{"u": [1]}'}, "'u'. Allowed: an integer"),
        ({"train__json": b'{"0": [\xff]}'}, "not UTF-8"),
        ({"train__json": "[" * 100_000}, "found '['"),
        ({"train__json": "{}"}, "holds no events"),
        ({"valMat__pkl": MATRIX}, "no file of training events; found valMat.pkl"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_refused_and_leaves_nothing(files, said, small, refused):
    if isinstance(files.get("text_feat__npy"), np.ndarray) and files["text_feat__npy"].dtype == object:
        root = small(**{name: value for name, value in files.items() if name != "text_feat__npy"})
        np.save(root / "text_feat.npy", OBJECTS, allow_pickle=True)
    else:
        root = small(**files)
    assert said in " ".join(refused(3, "matrices", root).split())


def test_arrays_by_user_are_read_and_one_list_for_many_users_is_refused(small, tmp_path, importing, refused):
    root = small(train_mat={3: np.array([4, 5]), 7: np.array([1], np.int32)})
    importing("matrices", root, tmp_path / "out")
    assert load_dataset(str(tmp_path / "out")).items.tolist() == [1, 4, 5]
    shared = list(range(5000))
    (root / "train_mat").write_bytes(pickle.dumps({user: shared for user in range(5000)}))  # noqa: C420
    assert "hold more items than the file has bytes" in refused(3, "matrices", root)


def test_ids_as_large_as_64_bits_allow(small, tmp_path, importing):
    matrix = sp.coo_matrix((np.ones(2), ([2**40, 0], [2**40, 3])), shape=(2**41, 2**62))
    importing("matrices", small(trnMat__pkl=matrix), tmp_path / "out")
    data = load_dataset(str(tmp_path / "out"))
    assert (data.users.tolist(), data.items.tolist()) == ([0, 2**40], [3, 2**40])


def test_a_byte_order_mark_and_windows_line_ends_in_json(small, tmp_path, importing):
    root = small(train__json=b'\xef\xbb\xbf{\r\n"0": [1,\r\n 2],\r\n"5": []}\r\n')
    told = importing("matrices", root, tmp_path / "out")
    assert (told["users"], told["items"], told["events"]) == (1, 2, 2)


def test_a_directory_or_a_link_in_place_of_a_file(small, refused, tmp_path):
    root = small()
    (root / "valMat.pkl").mkdir()
    assert "valMat.pkl: is a directory" in refused(3, "matrices", root)
    (root / "valMat.pkl").rmdir()
    (tmp_path / "elsewhere.pkl").write_bytes(b"N.")
    (root / "valMat.pkl").symlink_to(tmp_path / "elsewhere.pkl")
    assert "leaves this folder" in refused(3, "matrices", root)
    assert "is a file. Allowed: a folder" in refused(3, "matrices", root / "trnMat.pkl")
    assert "no such folder" in refused(3, "matrices", root / "none")


def test_the_page_runs(layout, run_page, tmp_path):
    root = layout("diffmm")
    for name in ("baby", "tiktok"):
        shutil.copytree(root, tmp_path / "DiffMM" / "Datasets" / name)
    shutil.copytree(layout("lightgt"), tmp_path / "LightGT" / "Data" / "baby")
    assert run_page("formats/matrices.md", tmp_path) >= 2
