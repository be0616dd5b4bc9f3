"""Amazon Reviews become data sets: what was written in five layouts comes out as the same data and the same numbers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

WIDTH = 4096


@pytest.fixture(scope="module")
def office(original: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, np.ndarray]:
    """The original data set with ids of Amazon, the items of its events alone, and vectors of 2014's width."""
    root = tmp_path_factory.mktemp("office") / "office"
    root.mkdir()
    events = original.events.assign(
        user_id=[f"A{user:012}" for user in original.events["user_id"]],
        item_id=[f"B{item:09}" for item in original.events["item_id"]],
    )
    codes = np.unique(original.events["item_id"])
    items = pd.DataFrame(
        {"item_id": [f"B{item:09}" for item in codes], "title": [f"No. {item}" for item in codes]}
    )
    image = np.tile(original.text, (1, WIDTH // original.text.shape[1]))[codes].astype(np.float32)
    events.drop(columns="split").to_parquet(root / "interactions.parquet")
    items.to_parquet(root / "items.parquet")
    np.save(root / "image.npy", image)
    return root, events, image


def records(events: pd.DataFrame, year: int) -> list[dict[str, Any]]:
    """Return the events as reviews of a year."""
    rows = events[["user_id", "item_id", "value", "timestamp"]].itertuples(index=False)
    if year == 2014:
        return [
            {
                "reviewerID": user,
                "asin": item,
                "reviewText": "a {b}, c",
                "overall": value,
                "unixReviewTime": time,
            }
            for user, item, value, time in rows
        ]
    return [
        {
            "rating": value,
            "text": "d",
            "asin": "V",
            "parent_asin": item,
            "user_id": user,
            "timestamp": time * 1000,
        }
        for user, item, value, time in rows
    ]


def write(path: Path, lines: list[str]) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def write_metadata(folder: Path, items: list[str], year: int) -> None:
    """Write the items' metadata: literals of Python in 2014, JSON in 2023."""
    name = "asin" if year == 2014 else "parent_asin"
    made = [{name: item, "title": f"No. {int(item[1:])}", "price": 3.5} for item in items]
    ending = "json.gz" if year == 2014 else "jsonl"
    write(folder / f"meta_Office.{ending}", [repr(one) if year == 2014 else json.dumps(one) for one in made])


def test_reviews_metadata_and_image_features_of_2014(
    office: Any, tmp_path: Path, importing: Any, same_data: Any, figures: Callable[[Path], Any]
) -> None:
    root, events, image = office
    items = pd.read_parquet(root / "items.parquet")["item_id"].tolist()
    source = tmp_path / "Office"
    source.mkdir()
    write(source / "reviews_Office_5.json.gz", [json.dumps(record) for record in records(events, 2014)])
    write_metadata(source, [*items, "B999999999"], 2014)
    order = np.random.default_rng(0).permutation(len(items))
    data = b"".join(items[row].encode() + image[row].astype("<f4").tobytes() for row in order)
    (source / "image_features_Office.b").write_bytes(data)

    told = importing("amazon", source, tmp_path / "out", "--licence", "theirs")

    assert told["read"] == told["events"] == len(events)
    assert told["items"] == len(items)
    assert (tmp_path / "out" / "image.npy").read_bytes() == (root / "image.npy").read_bytes()
    same_data(root, tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "items.parquet")["title"].tolist() == [
        f"No. {int(item[1:])}" for item in items
    ]
    assert 'license = "theirs"' in (tmp_path / "out" / "dataset.toml").read_text(encoding="utf-8")
    assert figures(tmp_path / "out") == figures(root)


@pytest.fixture
def bare(office: Any, tmp_path: Path) -> Path:
    """The same without vectors."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("interactions.parquet", "items.parquet"):
        (folder / name).write_bytes((office[0] / name).read_bytes())
    return folder


def test_reviews_and_metadata_of_2023(
    office: Any, bare: Path, tmp_path: Path, importing: Any, same_data: Any
) -> None:
    source = tmp_path / "Office"
    source.mkdir()
    write(source / "Office.jsonl.gz", [json.dumps(record) for record in records(office[1], 2023)])
    write_metadata(source, pd.read_parquet(bare / "items.parquet")["item_id"].tolist(), 2023)
    importing("amazon", source, tmp_path / "out")
    frame = pd.read_parquet(bare / "interactions.parquet")
    frame["timestamp"] *= 1000
    frame.to_parquet(bare / "interactions.parquet")
    same_data(bare, tmp_path / "out")


@pytest.mark.parametrize("names", [["user_id", "item_id"], ["item_id", "user_id"]])
def test_ratings_without_a_header(
    office: Any, bare: Path, tmp_path: Path, importing: Any, same_data: Any, names: list[str]
) -> None:
    path = tmp_path / "ratings_Office.csv"
    office[1][[*names, "value", "timestamp"]].to_csv(path, header=False, index=False)
    importing("amazon", path, tmp_path / "out")
    same_data(bare, tmp_path / "out")


def test_the_published_split(office: Any, bare: Path, tmp_path: Path, importing: Any, same_data: Any) -> None:
    source = tmp_path / "Office"
    source.mkdir()
    events = office[1]
    names = {"item_id": "parent_asin", "value": "rating"}
    for part, rows in events.rename(columns=names).groupby("split"):
        rows = rows[["user_id", "parent_asin", "rating", "timestamp"]].assign(history="B1 B2")
        rows.to_csv(source / f"Office.{part}.csv.gz", index=False)
    importing("amazon", source, tmp_path / "out")
    events.to_parquet(bare / "interactions.parquet")
    same_data(bare, tmp_path / "out")


def test_dropped_lines_and_the_core_are_reported(office: Any, tmp_path: Path, importing: Any) -> None:
    lines = [json.dumps(record) for record in records(office[1], 2014)]
    lines[10:10] = ["{", '{"asin": "B1"}', lines[0]]
    path = write(tmp_path / "reviews.json", lines)
    told = importing(
        "amazon", path, tmp_path / "out", "--set", "broken=drop", "--min-user", "3", "--positive", "2"
    )
    assert told["dropped"] == {"not JSON": 1, "no reviewerID": 1}
    assert told["read"] == len(office[1]) + 1
    assert told["duplicates"] >= 0
    assert told["below"] + told["duplicates"] + told["outside"] + told["events"] == told["read"]
    assert pd.read_parquet(tmp_path / "out" / "interactions.parquet")["user_id"].value_counts().min() >= 3


def test_a_broken_line_leaves_nothing_behind(tmp_path: Path, refused: Callable[..., str]) -> None:
    good = json.dumps({"reviewerID": "A1", "asin": "B1", "overall": 5, "unixReviewTime": 5})
    path = write(tmp_path / "reviews.json", [*[good] * 2000, good[:-1]])
    assert "line 2001: not JSON" in " ".join(refused(3, "amazon", path).split())


def test_every_command_of_the_page_runs(office: Any, tmp_path: Path, run_page: Callable[..., int]) -> None:
    source = tmp_path / "Office"
    source.mkdir()
    events = office[1]
    for year, name in ((2014, "reviews_Office_5.json.gz"), (2023, "Office.jsonl.gz")):
        write(source / name, [json.dumps(record) for record in records(events, year)])
    names = {"item_id": "parent_asin", "value": "rating"}
    for part, rows in events.rename(columns=names).groupby("split"):
        rows[["user_id", "parent_asin", "rating", "timestamp"]].to_csv(
            source / f"Office.{part}.csv", index=False
        )
    assert run_page("formats/amazon.md", tmp_path) == 4
