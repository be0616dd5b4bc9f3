"""Every parser that reads files of strangers, with small good folders to begin from."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from inputs import Harness, Layout


def npy(array: Any) -> bytes:
    """Return the bytes of a ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(array), allow_pickle=False)
    return stream.getvalue()


def parquet(**columns: Any) -> bytes:
    """Return the bytes of a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet as writer

    stream = io.BytesIO()
    writer.write_table(pa.table(columns), stream, compression="none")
    return stream.getvalue()


def lines(*texts: str) -> bytes:
    """Return lines of text."""
    return "".join(f"{text}\n" for text in texts).encode()


FEATURES = npy(np.arange(12, dtype=np.float32).reshape(4, 3) / 7)


def consume(reading: Any) -> None:
    """Read everything that an importer hands over, as the landing does: events first."""
    for tables in (reading.events, reading.items, reading.users, reading.impressions):
        for table in tables:
            table.validate(full=True)
            table.to_pylist()
    for opened in reading.vectors.values():
        for block in opened():
            assert len(block.ids) == len(block.values)
            np.asarray(block.values).sum(dtype=np.float64)
    assert all(path.exists() for path in reading.files)


def importer(name: str, folder: Path, options: Mapping[str, Any]) -> None:
    """Read a folder in one of the formats of ``simulate data import``."""
    from stagelens.pipeline.data.importers import FORMATS

    source = folder / options["source"] if "source" in options else folder
    consume(FORMATS[name](**{key: value for key, value in options.items() if key != "source"}).read(source))


def native(folder: Path, options: Mapping[str, Any]) -> None:
    """Check a folder of our own layout, then load it."""
    from stagelens.pipeline.data.check import check
    from stagelens.pipeline.data.datasets import load_dataset

    for fault in check(str(folder), **options):
        assert str(fault)
    load_dataset(str(folder), **options)


def lists_of_candidates(folder: Path, options: Mapping[str, Any]) -> None:
    """Read candidate lists into the codes of a small data set."""
    from stagelens.recall import FromFile

    data: Any = SimpleNamespace(
        users=np.asarray(["u1", "u2"]) if options["text"] else np.arange(2),
        items=np.asarray(["i1", "i2"]) if options["text"] else np.arange(2),
        interactions=SimpleNamespace(n_users=2, n_items=2),
    )
    recipe = FromFile(path=str(folder / options["name"]))
    recipe.inputs()
    recipe.fit(data, seed=0)


REVIEW = {"reviewerID": "A1RSDE90N6RSZF", "asin": "B00006HAXW", "overall": 5.0, "unixReviewTime": 1390176000}
REVIEW_2023 = {
    "user_id": "AG1",
    "parent_asin": "B00006HAXW",
    "asin": "B0",
    "rating": 5.0,
    "timestamp": 1588687728923,
}
META = "{'asin': 'B00006HAXW', 'title': 'Tutu', 'price': 3.17, 'categories': [['A', 'B']], 'imUrl': 'http://a/b.jpg'}"
META_2023 = {
    "parent_asin": "B00006HAXW",
    "price": "$4.99",
    "images": [{"large": "a"}],
    "description": ["x", "y"],
}
AMAZON = (
    Layout({"reviews.json": lines(json.dumps(REVIEW), repr(REVIEW)), "meta_X.json": lines(META)}),
    Layout(
        {"reviews.json": lines(json.dumps(REVIEW), "{"), "meta_X.json": lines(META, "{")}, {"broken": "drop"}
    ),
    Layout({"X.jsonl.gz": lines(json.dumps(REVIEW_2023)), "meta_X.jsonl.gz": lines(json.dumps(META_2023))}),
    Layout(
        {"X.csv": lines("user_id,parent_asin,rating,timestamp,history", "AG1,B0,5.0,1588687728923,B1 B2")}
    ),
    Layout(
        {
            f"X.{part}.csv": lines("user_id,parent_asin,rating,timestamp", "A,B,5.0,5")
            for part in ("train", "test")
        }
    ),
    Layout({"X.csv": lines("A1RSDE90N6RSZF,B00006HAXW,5.0,1390176000", "A2,B00006HAXX,1.0,5")}),
    Layout(
        {
            "reviews.json": lines(json.dumps(REVIEW)),
            "image.b": b"B00006HAXW" + np.ones(4096, "<f4").tobytes(),
        },
        {"catalogue": "all"},
    ),
)

EVENTS = lines(
    "user_id,item_id,timestamp,value",
    *(f"{at % 3},{at % 4},{1_600_000_000 + at * 86_400},{at % 5}" for at in range(24)),
)
ITEMS = lines("item_id,title,price", *(f"{at},name {at},{at}.5" for at in range(4)))
TOML = lines('name = "x"', 'clock = "real"', 'modalities = ["text"]', "[columns]", 'value = "value"')
SPLIT = lines(
    "user_id,item_id,split", "a,x,train", "a,y,valid", "b,x,test", "b,y,train", "c,z,train", "c,x,test"
)
COLUMNS = {"user_id": [0, 1, 2, 0, 1, 2], "item_id": [0, 1, 2, 1, 2, 3], "seq": [0, 0, 0, 1, 1, 1]}
NATIVE = (
    Layout({"interactions.csv": EVENTS, "items.csv": ITEMS, "text.npy": FEATURES, "dataset.toml": TOML}),
    Layout(
        {"interactions.csv": EVENTS, "items.csv": ITEMS},
        {"item_columns": ["title", "price"], "positive": 1.0},
    ),
    Layout(
        {
            "interactions.csv": SPLIT,
            "text.ids.npy": npy(np.asarray(["x", "y", "z", "w"])),
            "text.npy": FEATURES,
        }
    ),
    Layout({"interactions.parquet": parquet(**COLUMNS), "text.npy": FEATURES}),
    Layout(
        {
            "interactions.csv": EVENTS,
            "items.parquet": parquet(item_id=[0, 1, 2, 3]),
            "users.csv": lines("user_id,age", "0,5", "1,6", "2,7"),
            "impressions.csv": lines("user_id,item_id,timestamp", "0,1,1600000000"),
        },
        {"user_columns": ["age"]},
    ),
    Layout(
        {"interactions.csv": EVENTS, "text.ids.parquet": parquet(item_id=[3, 2, 1, 0]), "text.npy": FEATURES}
    ),
)

FROM_FILE = (
    Layout(
        {"a.csv": lines("user_id,item_id,score", "u1,i1,0.5", "u2,i2,1")}, {"name": "a.csv", "text": True}
    ),
    Layout(
        {"a.csv.gz": lines("user_id,item_id,rank", "0,1,1", "1,0,2")}, {"name": "a.csv.gz", "text": False}
    ),
    Layout({"a.run": lines("0 Q0 1 1 2.5 tag", "1 Q0 0 1 1.5 tag")}, {"name": "a.run", "text": False}),
    Layout({"a.trec.gz": lines("u1 Q0 i1 1 2.5 tag")}, {"name": "a.trec.gz", "text": True}),
    Layout(
        {"a.parquet": parquet(user_id=["u1", "u2"], item_id=["i1", "i2"], score=[0.5, 1.0])},
        {"name": "a.parquet", "text": True},
    ),
)


def _sparse(kind: str, protocol: int = 4) -> bytes:
    from scipy import sparse

    matrix = sparse.coo_matrix(([1.0, 1.0, 1.0], ([0, 1, 2], [0, 1, 3])), shape=(3, 4))
    return pickle.dumps(matrix.asformat(kind), protocol)


def _features() -> dict[str, bytes]:
    return {"image_feat.npy": FEATURES}


MATRICES = (
    Layout(
        {
            "trnMat.pkl": _sparse("coo"),
            "tstMat.pkl": _sparse("coo"),
            "valMat.pkl": _sparse("coo"),
            **_features(),
        }
    ),
    Layout({"train_mat": _sparse("csr", 2), "test.json": b'{"0": [1, 2], "1": [3]}', **_features()}),
    Layout({"train_mat.pkl": _sparse("csc", 3)}),
    Layout(
        {"train.npy": npy(np.asarray([[0, 1], [1, 2]])), "test.npy": npy(np.asarray([[0, 2]])), **_features()}
    ),
)
MMREC = (
    Layout(
        {
            "x.inter": lines(
                "userID\titemID\trating\ttimestamp\tx_label",
                *("0\t1\t5.0\t100\t0", "1\t2\t4.0\t101\t1", "1\t3\t4.0\t102\t2"),
            ),
            "image_feat.npy": FEATURES,
            "text_feat.npy": FEATURES,
        }
    ),
)
RECBOLE = (
    Layout(
        {
            "x.inter": lines(
                "user_id:token\titem_id:token\trating:float\ttimestamp:float",
                *("u1\ti1\t5\t100", "u2\ti2\t4\t101"),
            ),
            "x.item": lines(
                "item_id:token\ttitle:token_seq\tprice:float\tvec:float_seq",
                *("i1\ta b\t1.5\t1 2", "i2\tc\t\t3 4"),
            ),
            "x.user": lines("user_id:token\tage:float", "u1\t5", "u2\t7"),
        }
    ),
    Layout(
        {
            f"x.{part}.inter": lines(
                "user_id:token\titem_id:token\trating:token\ttimestamp:token",
                *("u1\ti1\t5\t1583378629552000001", "u2\ti2\t\t1.6e9", "u2\ti3\t4.5\t7.0"),
            )
            for part in ("train", "valid", "test")
        }
    ),
)
LISTS = (
    Layout(
        {
            "train.txt": lines("0 1 2", "1 0 3"),
            "test.txt": lines("0 3", "1 1"),
            "val.txt": lines("0 0"),
            **_features(),
        }
    ),
    Layout(
        {
            "train.txt": lines("0 1 2", "1 0 3"),
            "item2imgfeat.txt": lines("0 0.5 -1e-3 2", "1 1 2 3", "5 .5 0 1"),
            "itemtitle2vec.txt": lines("1 0.25 1", "3 1 0"),
        },
        {"ordered": True},
    ),
    Layout(
        {"train.tsv": lines("u1\ti1 i2", "u2\ti2"), "itemtitle2vec.txt.gz": lines("i1 1 2", "i9 3 4")},
        {"ids": "text"},
    ),
)
MICROLENS = (
    Layout(
        {
            "x_pairs.csv": lines(
                "user,item,timestamp", "1,1,1583378629552", "1,2,1583378730000", "2,1,1583378630000"
            )
        }
    ),
    Layout(
        {
            "x_pairs.csv": lines("1,1,1583378629552", "1,2,1583378730000", "2,1,1583378630000"),
            "x_titles.csv": lines("item,title", '1,"Cats, and ""dogs"""', "2,A thing, with commas", "5,é"),
            "x_likes_and_views.txt": lines("1\t7\t70", "9\t0\t1"),
            "tags_to_summary.csv": lines("videoID,category", "1,pets", "9,food"),
            "extracted_modality_features/x_image_features_CLIPRN50.npy": FEATURES,
            "x_title_en_text_features_BgeM3.npy": FEATURES,
        }
    ),
    Layout(
        {
            "x_pairs.tsv": lines("1\t2 3", "2\t3"),
            "audio_features/2.npy": npy(np.float32([1, 2])),
            "audio_features/9.npy": npy(np.float32([[3, 4]])),
        },
        {"likes": False},
    ),
)
TREC = (
    Layout(
        {
            "train.qrels": lines("u1 0 i1 1", "u1 0 i2 0", "u2 0 i1 1"),
            "bm25.run": lines("u1 Q0 i1 1 2.5 bm25"),
            "test.qrels": lines("u2 0 i2 1"),
        }
    ),
)

_IMPORTERS: dict[str, tuple[Layout, ...]] = {
    "amazon": AMAZON,
    "matrices": MATRICES,
    "mmrec": MMREC,
    "recbole": RECBOLE,
    "lists": LISTS,
    "microlens": MICROLENS,
    "trec": TREC,
}
_OTHERS: dict[str, tuple[tuple[Layout, ...], Callable[[Path, Mapping[str, Any]], object]]] = {
    "native": (NATIVE, native),
    "fromfile": (FROM_FILE, lists_of_candidates),
}
PARSERS = (*_IMPORTERS, *_OTHERS)
"""Their names; nothing of StageLens is imported to know them, for what is imported early is not watched."""


def harnesses() -> dict[str, Harness]:
    """Return every parser by name."""
    from stagelens.pipeline.data.importers import FORMATS

    found = {
        name: Harness(name, layouts, partial(importer, name))
        for name, layouts in _IMPORTERS.items()
        if name in FORMATS
    }
    return found | {name: Harness(name, layouts, run) for name, (layouts, run) in _OTHERS.items()}
