"""Candidate lists and vectors made elsewhere: what is read, what is counted, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.core import Interactions, Queries, TrainingData
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.seeds import tie_order
from stagelens.recall import Dense, FileVectors, FromFile
from stagelens.recall.files import read_ids, read_vectors

USERS, ITEMS = np.array(["ann", "bob", "cid"]), np.array([10, 20, 30, 40, 50])


@pytest.fixture
def data() -> TrainingData:
    window = Interactions.of([0, 1, 2], [0, 1, 2], n_users=3, n_items=5)
    return TrainingData(window, users=USERS, items=ITEMS)


@pytest.fixture
def queries(data: TrainingData) -> Queries:
    nothing = data.interactions.where(np.zeros(3, bool))
    return Queries.of(np.arange(3), data.interactions, nothing, tie_order(0, 5))


def lists(recipe: FromFile, data: TrainingData, queries: Queries) -> list[list[int]]:
    found = recipe.fit(data, seed=0).retrieve(queries, 5)
    found.check()
    return [ITEMS[row[row >= 0]].tolist() for row in found.item]


CSV = "user_id,item_id,score\nann,20,0.5\nann,30,0.9\nbob,50,1\nann,20,0.95\nzoe,10,1\nbob,99,1\n"


def test_scores_decide_and_what_does_not_match_is_counted(
    tmp_path: Path, data: TrainingData, queries: Queries
) -> None:
    path = tmp_path / "two.tower.csv"
    path.write_text(CSV)
    recipe = FromFile(path=str(path))
    assert recipe.label == "FromFile(two)"
    assert FromFile(path=str(path), name="tower").label == "FromFile(tower)"
    assert lists(recipe, data, queries) == [[20, 30], [50], []]
    fitted = recipe.fit(data, seed=0)
    assert fitted.counts == {
        "rows": 6,
        "unknown_users": 1,
        "unknown_items": 1,
        "repeats": 1,
        "users_without_list": 1,
    }
    assert "1 users and 1 items of the file are unknown" in fitted.note
    score = fitted.score(queries, np.array([[1, 2, 0, -1]] * 3, np.int32))
    np.testing.assert_allclose(score[0], [0.95, 0.9, np.nan, np.nan])
    assert np.isnan(score[2]).all()


def test_ranks_trec_runs_and_parquet(tmp_path: Path, data: TrainingData, queries: Queries) -> None:
    by_rank = tmp_path / "ranks.csv"
    by_rank.write_text("item_id,rank,user_id\n20,2,ann\n40,1,ann\n")
    assert lists(FromFile(path=str(by_rank)), data, queries) == [[40, 20], [], []]
    run = tmp_path / "system.trec"
    run.write_text("ann Q0 20 1 3.5 tag\nann Q0 50 2 7.5 tag\ncid Q0 10 1 0.1 tag\n")
    assert lists(FromFile(path=str(run)), data, queries) == [[50, 20], [], [10]], "scores, not ranks"
    table = tmp_path / "lists.parquet"
    pd.DataFrame({"user_id": ["bob"], "item_id": ["30"], "score": [1.0]}).to_parquet(table)
    assert lists(FromFile(path=str(table)), data, queries) == [[], [30], []], "'30' is 30"


def test_without_external_ids_codes_are_read(tmp_path: Path, data: TrainingData, queries: Queries) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("user_id,item_id,score\n2,4,1\n")
    assert lists(FromFile(path=str(path)), TrainingData(data.interactions), queries) == [[], [], [50]]


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text(CSV)
    recipe = FromFile(path=str(path))
    first = recipe.inputs()
    assert recipe.inputs() == first
    path.write_text(CSV + "cid,10,1\n")
    assert recipe.inputs() != first
    np.save(tmp_path / "v.npy", np.eye(3))
    vectors = FileVectors(path=str(tmp_path / "v.npy"))
    assert Dense(vectors=vectors).inputs() == vectors.inputs()
    assert len(vectors.inputs()[0]) == 64


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", None, "no such file"),
        ("a.xls", "x", "unknown ending '.xls'"),
        ("a.csv", "user,item_id,score\nann,1,1\n", "no column 'user_id'; found user, item_id, score"),
        ("a.csv", "user_id,item_id\nann,1\n", "neither 'score' nor 'rank'"),
        ("a.csv", "user_id,item_id,score\n", "no rows"),
        ("a.csv", "user_id,item_id,score\nann,10,1\nann,20,high\n", "column 'score' holds 'high' in row 2"),
        ("a.csv", "user_id,item_id,score\nann,10,inf\n", "column 'score' holds 'inf' in row 1"),
        ("a.csv", "user_id,item_id,score\n,10,1\n", "column 'user_id' is empty in row 1"),
        ("a.csv", "user_id,item_id,score\nxyz,10,1\n", "no value of column 'user_id' is known"),
        ("a.csv", "user_id,item_id,score\nann,999,1\n", "no value of column 'item_id' is known"),
        ("a.parquet", "not parquet", "cannot be read"),
        ("a.csv", "", "cannot be read"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, data: TrainingData, name: str, text: str | None, said: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        FromFile(path=str(path)).fit(data, seed=0)
    assert str(path) in str(caught.value)


def saved(folder: Path, name: str, array: np.ndarray) -> str:
    np.save(folder / f"{name}.npy", array)
    return str(folder / f"{name}.npy")


def test_item_vectors_are_placed_by_id(tmp_path: Path, data: TrainingData, queries: Queries) -> None:
    path = saved(tmp_path, "items", np.array([[1, 0], [0.9, 0.1], [0, 1], [0, 0]], np.float32))
    ids = saved(tmp_path, "ids", np.array([30, 10, 20, 40]))
    recipe = FileVectors(path=path, ids=ids)
    fitted = recipe.fit(data, seed=0)
    assert fitted.present.tolist() == [True, True, True, False, False], "a zero row is no vector"
    found = Dense(vectors=recipe).fit(data, seed=0).retrieve(queries, 5)
    assert ITEMS[found.item[0][:3]].tolist() == [30, 10, 20]


def test_user_vectors_make_the_query(tmp_path: Path, data: TrainingData, queries: Queries) -> None:
    path = saved(tmp_path, "items", np.eye(51, 51, dtype=np.float32))  # row i belongs to item id i
    users = saved(tmp_path, "users", np.eye(51, dtype=np.float32)[[40, 50]])
    user_ids = saved(tmp_path, "user_ids", np.array(["cid", "ann"]))
    recipe = FileVectors(path=path, users=users, user_ids=user_ids)
    found = Dense(vectors=recipe).fit(data, seed=0).retrieve(queries, 1)
    assert ITEMS[found.item[[0, 2], 0]].tolist() == [50, 40]
    assert not found.found[1].any()


def test_broken_vector_files_are_named(tmp_path: Path, data: TrainingData) -> None:
    items = saved(tmp_path, "items", np.eye(60, 4, dtype=np.float32))
    flat = saved(tmp_path, "flat", np.arange(4))
    cases = [
        (FileVectors(path=str(tmp_path / "none.npy")), "no such file"),
        (FileVectors(path=flat), r"holds int64 \(4,\)"),
        (FileVectors(path=items, ids=flat), "60 rows"),
        (FileVectors(path=items, ids=saved(tmp_path, "twice", np.zeros(60, int))), "row 2 occurs before"),
        (FileVectors(path=items, ids=saved(tmp_path, "other", np.arange(60) + 1000)), "no row belongs"),
        (FileVectors(path=items, users=items), "text ids"),
        (
            FileVectors(
                path=items,
                users=saved(tmp_path, "narrow", np.eye(3)),
                user_ids=saved(tmp_path, "u", USERS),
            ),
            "width 3",
        ),
    ]
    for recipe, said in cases:
        with pytest.raises(DataError, match=said):
            recipe.fit(data, seed=0)


@pytest.mark.parametrize("ending", ["csv", "trec"])
def test_ids_that_look_like_numbers_or_gaps_stay_what_they_are(tmp_path: Path, ending: str) -> None:
    users, items = np.array(["007", "NA", "x"]), np.array(["01", "1", '"q'])
    window = Interactions.of([0, 1, 2], [0, 1, 2], n_users=3, n_items=3)
    known = TrainingData(window, users=users, items=items)
    rows = [("007", "1", 0.9), ("7", "01", 0.8), ("NA", "01", 0.7)]
    path = tmp_path / f"run.{ending}"
    if ending == "csv":
        path.write_text("user_id,item_id,score\n" + "".join(f"{u},{i},{s}\n" for u, i, s in rows))
    else:
        rows.append(("x", '"q', 0.6))
        path.write_text("".join(f"{u} Q0 {i} 1 {s} tag\n" for u, i, s in rows))
    fitted = FromFile(path=str(path)).fit(known, seed=0)
    nothing = window.where(np.zeros(3, bool))
    found = fitted.retrieve(Queries.of(np.arange(3), window, nothing, tie_order(0, 3)), 3)
    last = [2] if ending == "trec" else []
    assert [row[row >= 0].tolist() for row in found.item] == [[1], [0], last]
    assert fitted.counts["unknown_users"] == 1


@pytest.mark.parametrize(
    ("bytes_", "said"),
    [
        (b"", "cannot be read as .npy"),
        (b"PK\x03\x04 no zip", "is an .npz archive"),
        (
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2",
            "cannot be read as .npy",
        ),
        (None, "is an .npz archive, not one array; expected a .npy file"),
    ],
)
def test_what_is_no_array_is_refused_by_name(tmp_path, bytes_, said):
    path = tmp_path / "vectors.npy"
    if bytes_ is None:
        with path.open("wb") as stream:
            np.savez(stream, a=np.eye(2))
    else:
        path.write_bytes(bytes_)
    for read in (lambda: read_vectors(str(path)), lambda: read_ids(str(path), 2, "vectors.npy")):
        with pytest.raises(DataError, match=re.escape(said)) as fault:
            read()
        assert str(path) in str(fault.value)
