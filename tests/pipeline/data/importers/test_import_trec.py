"""TREC qrels and runs: the same judgements come out, and runs are lists that recall reads."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.data.datasets import load_dataset
from stagelens.recall.files import read_lists

QRELS = b"1 0 5 1\n1 0 6 0\n2 0 6 2\n"
RUN = b"1 Q0 5 1 9.5 ours\n1 Q0 6 2 -1e-3 ours\n"


@pytest.fixture
def trec(original, tmp_path):
    """The original data without time, and the same as qrels with a run: (own, theirs)."""
    own, root = tmp_path / "own", tmp_path / "trec" / "robust"
    own.mkdir()
    root.mkdir(parents=True)
    events = original.events[["user_id", "item_id", "split", "value"]].drop_duplicates(["user_id", "item_id"])
    events = pd.concat([events[events["split"] == window] for window in ("train", "valid", "test")])
    events.to_parquet(own / "interactions.parquet")
    for window, some in events.groupby("split"):
        lines = [f"{user} 0 {item} {int(value)}\n" for user, item, _, value in some.itertuples(index=False)]
        (root / f"qrels.{window}.txt").write_text("".join(lines))
    lines = [f"{user} Q0 {item} 1 {value} ours\n" for user, item, _, value in events.itertuples(index=False)]
    (root / "bm25.run").write_text("".join(lines))
    return own, root


def test_the_same_data_and_lists_come_out(trec, tmp_path, importing, same_data):
    own, root = trec
    told = importing("trec", root, tmp_path / "out")
    assert told["events"] == told["read"] == len(pd.read_parquet(own / "interactions.parquet"))
    assert told["impressions"] is None
    same_data(own, tmp_path / "out")
    values = [pd.read_parquet(folder / "interactions.parquet")["value"] for folder in (own, tmp_path / "out")]
    np.testing.assert_array_equal(*values)
    assert (tmp_path / "out" / "bm25.run").read_bytes() == (root / "bm25.run").read_bytes()
    assert len(read_lists(str(tmp_path / "out" / "bm25.run"))) == told["events"]


def test_the_numbers_of_a_run_are_the_same(trec, tmp_path, importing, figures):
    own, root = trec
    importing("trec", root, tmp_path / "out")
    assert figures(tmp_path / "out") == figures(own)


def test_the_page_runs(trec, run_page, tmp_path):
    shutil.copy(trec[1] / "bm25.run", trec[1] / "dense.run")
    assert run_page("formats/trec.md", tmp_path) >= 2


@pytest.fixture
def small(tmp_path):
    """Write a folder: ``small({name: bytes})``."""

    def make(files=None):
        root = tmp_path / "small"
        root.mkdir()
        for name, value in ({"qrels": QRELS} | (files or {})).items():
            (root / name).write_bytes(value)
        return root

    return make


def test_low_grades_are_impressions(small, tmp_path, importing):
    told = importing("trec", small(), tmp_path / "one")
    assert (told["events"], told["impressions"]) == (2, [1, 0])
    assert pd.read_parquet(tmp_path / "one" / "impressions.parquet").to_numpy().tolist() == [[1, 6]]
    told = importing("trec", tmp_path / "small", tmp_path / "two", "--set", "relevant=2")
    assert (told["events"], told["impressions"]) == (1, [0, 2])


def test_low_grades_of_the_test_are_no_impressions(small, tmp_path, importing):
    root = small({"qrels.test": b"2 0 5 0\n2 0 7 1\n1 0 7 0\n", "qrels.valid": b"2 0 9 0\n"})
    (root / "qrels").rename(root / "qrels.train")
    told = importing("trec", root, tmp_path / "out")
    assert (told["events"], told["impressions"]) == (3, [1, 0])
    assert pd.read_parquet(tmp_path / "out" / "impressions.parquet").to_numpy().tolist() == [[1, 6]]
    assert "only training judgements" in told["notes"][0]


def test_text_ids_packed_files_and_other_names(small, tmp_path, importing):
    packed = gzip.compress(b"\xef\xbb\xbfq1\t0\tMARCO_7\t1\r\n\r\nq1\t0\t007\t1\r\n")
    root = small({"judged.txt.gz": packed, "ours.res": RUN, "theirs.trec.gz": gzip.compress(RUN)})
    sets = [
        "--set",
        "train=judged.txt.gz",
        "--set",
        "test=qrels",
        "--set",
        'runs=["ours.res", "theirs.trec.gz"]',
    ]
    told = importing("trec", root, tmp_path / "out", *sets)
    assert told["lists"] == ["ours.res.run", "theirs.trec.gz"]
    data = load_dataset(str(tmp_path / "out"))
    assert data.items.tolist() == ["007", "5", "6", "MARCO_7"]
    assert data.given.tolist() == [2, 2, 0, 0]


def test_the_largest_id(small, tmp_path, importing):
    importing("trec", small({"qrels": b"1 0 1099511627776 1\n1 0 2 1\n"}), tmp_path / "out")
    assert load_dataset(str(tmp_path / "out")).items.tolist() == [2, 2**40]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"qrels": b""}, "qrels: the file is empty"),
        ({"qrels": b"1 0 5\n"}, "line 1: 3 words. Allowed: user 0 item grade"),
        ({"qrels": b"1 0 5 1\n1 0 5 high\n"}, "line 2, grade: 'high'"),
        ({"qrels": b"1 0 5 1.5\n"}, "line 1, grade: '1.5'"),
        ({"qrels": b"1 0 5 0\n"}, "holds no events"),
        ({"qrels": b"1 0 \xff 1\n"}, "line 1: byte 0xff is not UTF-8"),
        ({"a.run": b"1 Q0 5 1 9.5\n"}, "a.run, line 1: 5 words. Allowed: user Q0 item rank score tag"),
        ({"a.run": b"1 Q0 5 first 9.5 x\n"}, "line 1, rank: 'first'"),
        ({"a.run": b"1 Q0 5 1 nan x\n"}, "line 1, score: 'nan'. Allowed: a finite number"),
        ({"a.run": b'1 Q0 "5 1 1 x\n'}, "holds a quotation mark"),
        ({"a.run.gz": gzip.compress(RUN * 99)[:-9]}, "the gzip is truncated"),
        ({"a.run.gz": gzip.compress((b"1 Q0 5 1 1 x" + b" " * 1_000_000 + b"\n") * 80, 1)}, "gzip grew to more than"),
        ({"a.run": b""}, "a.run: the file is empty"),
        ({"qrels.train": QRELS, "qrels.trn": QRELS}, "may both be train"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_refused_and_leaves_nothing(files, said, small, refused):
    assert said in " ".join(refused(3, "trec", small(files)).split())


def test_no_judgements_no_run_a_directory_and_a_way_out(small, refused):
    root = small()
    assert "no file 'b.run'" in refused(2, "trec", root, "--set", 'runs=["b.run"]')
    assert "leaves this folder" in refused(3, "trec", root, "--set", 'runs=["../b.run"]')
    (root / "a.run").mkdir()
    assert "a.run: is a directory" in refused(3, "trec", root)
    (root / "a.run").rmdir()
    (root / "qrels").unlink()
    assert "no file of training events; found nothing" in refused(3, "trec", root)
