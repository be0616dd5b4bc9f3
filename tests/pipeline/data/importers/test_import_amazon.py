"""Amazon Reviews: three years in five layouts tell the same reviews; every fault is named by its line or counted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagelens.pipeline.data.importers import amazon_reviews
from stagelens.pipeline.data.importers.amazon import Amazon
from stagelens.pipeline.data.importers.amazon_items import RECORD, WIDTH, fields
from stagelens.pipeline.data.importers.amazon_reviews import Layout
from stagelens.pipeline.data.importers.reading import Reading
from stagelens.pipeline.errors import ConfigError, DataError

ROWS = [
    ("A1RSDE90N6RSZF", "B00006HAXW", 5.0, 1_390_176_000),
    ("A2SUAM1J3GNN3B", "0594451647", 1.0, 1_252_800_000),
    ("A1RSDE90N6RSZF", "B000031HUE", 3.0, 1_400_000_000),
]
USER, ITEM = "A1RSDE90N6RSZF", "B00006HAXW"
LAYOUT = Layout(("reviewerID", "asin", "overall", "unixReviewTime"))


def review_2014(row: tuple[str, str, float, int]) -> dict[str, Any]:
    user, item, rating, time = row
    return {
        "reviewerID": user,
        "asin": item,
        "reviewerName": 'J. "Mc" Donald',
        "helpful": [2, 3],
        "reviewText": "Fits } { well,\nnot too tight.",
        "overall": rating,
        "unixReviewTime": time,
        "reviewTime": "01 20, 2014",
    }


def review_2018(row: tuple[str, str, float, int]) -> dict[str, Any]:
    user, item, rating, time = row
    style = {"Size:": " Large", "Color:": " Grün"}
    return {
        "overall": rating,
        "verified": True,
        "reviewerID": user,
        "asin": item,
        "style": style,
        "unixReviewTime": time,
    }


def review_2023(row: tuple[str, str, float, int]) -> dict[str, Any]:
    user, item, rating, time = row
    image = {"small_image_url": "https://m.media-amazon.com/images/I/a.jpg", "attachment_type": "IMAGE"}
    return {
        "rating": rating,
        "title": "Such a lovely scent",
        "images": [image],
        "asin": f"V{item[1:]}",
        "parent_asin": item,
        "user_id": user,
        "timestamp": time * 1000 + 923,
        "verified_purchase": True,
    }


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_json(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    return write_lines(path, [json.dumps(record) for record in records])


def rows_of(reading: Reading) -> list[tuple[Any, ...]]:
    names = ("user_id", "item_id", "value", "timestamp")
    return [tuple(row[name] for name in names) for table in reading.events for row in table.to_pylist()]


def items_of(reading: Reading) -> list[dict[str, Any]]:
    rows_of(reading)
    return [row for table in reading.items for row in table.to_pylist()]


# Layouts


@pytest.mark.parametrize("name", ["reviews_Office_5.json", "reviews_Office_5.json.gz"])
@pytest.mark.parametrize("made", [review_2014, review_2018])
def test_reviews_of_2014_and_2018(tmp_path: Path, name: str, made: Any) -> None:
    reading = Amazon().read(write_json(tmp_path / name, [made(row) for row in ROWS]))
    assert rows_of(reading) == ROWS
    assert reading.files == (tmp_path / name,)
    assert reading.dropped == {}


def test_reviews_of_2023_keep_milliseconds_and_name_the_product_or_the_variant(tmp_path: Path) -> None:
    path = write_json(tmp_path / "Office.jsonl", [review_2023(row) for row in ROWS])
    expected = [(user, item, rating, time * 1000 + 923) for user, item, rating, time in ROWS]
    assert rows_of(Amazon().read(path)) == expected
    assert {row[1] for row in rows_of(Amazon(item="asin").read(path))} == {f"V{row[1][1:]}" for row in ROWS}


def test_reviews_that_are_literals_of_python(tmp_path: Path) -> None:
    lines = [repr(review_2014(row) | {"verified": None, "style": ("x", True)}) for row in ROWS]
    assert rows_of(Amazon().read(write_lines(tmp_path / "reviews.json", lines))) == ROWS


@pytest.mark.parametrize("item_first", [False, True])
def test_ratings_without_a_header_tell_users_from_items(tmp_path: Path, item_first: bool) -> None:
    lines = [
        f"{item},{user},{rating},{time}" if item_first else f"{user},{item},{rating},{time}"
        for user, item, rating, time in ROWS
    ]
    reading = Amazon().read(write_lines(tmp_path / "ratings_Office.csv", lines))
    assert rows_of(reading) == ROWS
    assert ("item, user" if item_first else "user, item") in reading.notes[0]


def test_an_order_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "ratings.csv", ["u1,i1,5.0,10"])
    with pytest.raises(ConfigError, match=r"cannot tell .*'u1', 'i1'.*order=user-item"):
        Amazon().read(path)
    assert rows_of(Amazon(order="item-user").read(path)) == [("i1", "u1", 5.0, 10)]


def test_ratings_of_2023_have_a_header_and_perhaps_a_history(tmp_path: Path) -> None:
    head = "user_id,parent_asin,rating,timestamp,history"
    lines = [
        f"{user},{item},{rating},{time}000,{'' if at == 0 else 'B0A B0B'}"
        for at, (user, item, rating, time) in enumerate(ROWS)
    ]
    got = rows_of(Amazon().read(write_lines(tmp_path / "Office.csv.gz", [head, *lines])))
    assert got == [(user, item, rating, time * 1000) for user, item, rating, time in ROWS]


def test_the_parts_of_a_split_become_windows(tmp_path: Path) -> None:
    head = "user_id,parent_asin,rating,timestamp"
    for (user, item, rating, time), part in zip(ROWS, ("test", "train", "valid"), strict=True):
        write_lines(tmp_path / f"Office.{part}.csv", [head, f"{user},{item},{rating},{time}000"])
    tables = list(Amazon().read(tmp_path).events)
    assert [set(table["split"].to_pylist()) for table in tables] == [{"train"}, {"valid"}, {"test"}]
    assert [table["item_id"][0].as_py() for table in tables] == [ROWS[1][1], ROWS[2][1], ROWS[0][1]]


def test_windows_line_ends_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    lines = [json.dumps(review_2014(row)) for row in ROWS]
    path = tmp_path / "reviews.json"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([lines[0], "", *lines[1:], ""]).encode())
    assert rows_of(Amazon().read(path)) == ROWS


# Folders


def test_several_review_files_are_not_guessed_at(tmp_path: Path) -> None:
    write_json(tmp_path / "reviews_A.json", [review_2014(ROWS[0])])
    write_json(tmp_path / "reviews_B.json", [review_2014(ROWS[1])])
    with pytest.raises(ConfigError, match=r"several files .*reviews_A.json, reviews_B.json.*--set 'reviews="):
        Amazon().read(tmp_path)
    assert rows_of(Amazon(reviews=("reviews_B.json",)).read(tmp_path)) == ROWS[1:2]
    assert rows_of(Amazon(reviews=("reviews_A.json", "reviews_B.json")).read(tmp_path)) == ROWS[:2]
    with pytest.raises(DataError, match="leaves this folder"):
        Amazon(reviews=("../reviews_A.json",)).read(tmp_path)


@pytest.mark.parametrize("name", ["reviews.json", "meta_X.json", "image.b"])
def test_a_file_outside_the_source_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write_json(tmp_path / "in" / "reviews.json", [review_2014(ROWS[0])])
    (tmp_path / "in" / name).unlink(missing_ok=True)
    write_json(tmp_path / name, [review_2014(ROWS[0])])
    (tmp_path / "in" / name).symlink_to(tmp_path / name)
    with pytest.raises(DataError, match=f"names '{name}', which leaves this folder"):
        Amazon().read(tmp_path / "in")


def test_a_folder_without_reviews_and_a_folder_for_a_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "meta_Office.json", ["{}"])
    with pytest.raises(DataError, match=r"no reviews; found meta_Office.json"):
        Amazon().read(tmp_path)
    (tmp_path / "reviews.json").mkdir()
    with pytest.raises(DataError, match="is a directory"):
        Amazon().read(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        Amazon().read(tmp_path / "nothing")


# Broken lines

GOOD = json.dumps(review_2014(ROWS[0]))
BROKEN = {
    "not JSON": GOOD[:-5],
    "not an object": "[1, 2]",
    "no reviewerID": '{"asin": "B0", "overall": 5.0, "unixReviewTime": 1}',
    "no asin": json.dumps(review_2014(ROWS[0]) | {"asin": None}),
    "no overall": '{"reviewerID": "A", "asin": "B", "unixReviewTime": 5}',
    "overall is not a finite number": json.dumps(review_2014(ROWS[0]) | {"overall": "5"}),
    "unixReviewTime is not an integer of 64 bits": json.dumps(review_2014(ROWS[0]) | {"unixReviewTime": 1.5}),
    "asin is not text of 1 to 256 characters": json.dumps(review_2014(ROWS[0]) | {"asin": 7}),
}
ALSO = {
    "overall": ["NaN", "1e999", "true", "[5]", '{"a": 1}', "9" * 5000, "Infinity"],
    "unixReviewTime": ["true", "9223372036854775808", '"5"', "1e30", "9" * 5000, "NaN"],
    "asin": ['""', '"\\ud800"', '"a\\u0000b"', '"a\\nb"', f'"{"a" * 257}"', "true", '["B"]'],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_line_that_cannot_be_used_is_named_or_counted(tmp_path: Path, reason: str) -> None:
    good = [json.dumps(review_2014(ROWS[0] if at % 2 else ROWS[1])) for at in range(150)]
    path = write_lines(tmp_path / "reviews.json", [*good, BROKEN[reason], *good])
    with pytest.raises(DataError, match=rf"reviews.json, line 151: {reason}.*broken=drop"):
        rows_of(Amazon().read(path))
    reading = Amazon(broken="drop").read(path)
    assert len(rows_of(reading)) == 300
    assert reading.dropped == {reason: 1}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ALSO for value in ALSO[name]])
def test_values_of_a_wrong_type_or_size(tmp_path: Path, name: str, value: str) -> None:
    record = review_2014(ROWS[0])
    line = json.dumps({key: value for key, value in record.items() if key != name})[:-1]
    path = write_lines(tmp_path / "reviews.json", [GOOD, f'{line}, "{name}": {value}}}'])
    with pytest.raises(DataError, match=r"line 2: .{1,300}$"):
        rows_of(Amazon().read(path))


@pytest.mark.parametrize(
    "cells",
    [
        "A1,B1,5.0",
        "A1,B1,5.0,10,more",
        "A1,B1,five,10",
        "A1,B1,nan,10",
        "A1,B1,inf,10",
        "A1,B1,5.0,1e3",
        "A1,B1,5.0,0x10",
        "A1,B1, 5.0,10",
        "A1,B1,5.0,",
        "A1,,5.0,10",
        ",B1,5.0,10",
        'A1,"B,1",5.0,10',
        "A1,B1,5.0,9223372036854775808",
        "A1,B1,5.0,1\rA1,B1,5.0,1",
    ],
)
def test_broken_lines_of_ratings(tmp_path: Path, cells: str) -> None:
    lines = [f"{user},{item},{rating},{time}" for user, item, rating, time in ROWS]
    path = write_lines(tmp_path / "ratings.csv", [*lines, cells])
    with pytest.raises(DataError, match=r"ratings.csv, line 4: "):
        rows_of(Amazon().read(path))
    reading = Amazon(broken="drop").read(path)
    assert rows_of(reading) == ROWS
    assert sum(reading.dropped.values()) == 1


def test_files_that_are_something_else(tmp_path: Path) -> None:
    for number, (text, said) in enumerate(
        {
            '{"a": 1, "b": 2}': r"line 1: holds 'a', 'b'. Allowed: reviews of 2014",
            "user_id,item,rating,timestamp": r"no column 'parent_asin'",
            "user_id,parent_asin,rating,timestamp,rating": "a column stands twice",
            "1,2,3": "3 columns and no user_id",
            "some text": "line 1: not JSON",
            "\n\n": "holds no text",
        }.items()
    ):
        path = write_lines(tmp_path / f"file{number}.json", [text])
        with pytest.raises(DataError, match=said):
            rows_of(Amazon().read(path))


def test_truncated_gzip_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = write_json(tmp_path / "reviews.json.gz", [review_2014(row) for row in ROWS])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated"):
        rows_of(Amazon().read(path))
    broken = tmp_path / "reviews.json"
    broken.write_bytes(GOOD.encode() + b"\n" + GOOD.replace("Donald", "Don\xff").encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"line 2: byte 0xff is not UTF-8"):
        rows_of(Amazon().read(broken))


# The fast way and the slow way

ODD = st.sampled_from(
    [
        GOOD,
        GOOD + GOOD,
        GOOD[: len(GOOD) // 2],
        GOOD[len(GOOD) // 2 :],
        " " + GOOD,
        GOOD + " ",
        "",
        "{}",
        "{}{}",
        '{"a": {}',
        "{}}",
        repr(review_2014(ROWS[1])),
        '{"reviewerID":"A","asin":"B","overall":1,"unixReviewTime":2}',
        '{"reviewerID":"A","asin":"B","overall":1,"unixReviewTime":2.0}',
        '{"reviewerID":"A","asin":"B","overall":1,"unixReviewTime":-0}',
        '{"reviewerID":"A","reviewerID":"C","asin":"B","overall":1,"unixReviewTime":2}',
        '{"reviewerID":"A\\u00e9","asin":"B","overall":1e-7,"unixReviewTime":2,"x":NaN}',
        '{"reviewerID":"A","asin":"B","overall":NaN,"unixReviewTime":2}',
        '\ufeff{"reviewerID":"A","asin":"B","overall":1,"unixReviewTime":2}',
    ]
)
CELLS = Layout(("user", "item", "rating", "timestamp"), ("user", "item", "rating", "timestamp"))
ODD_CELLS = st.tuples(
    st.sampled_from(["A1", "", " A", '"', "\ufeffA", "A\r", "é", "A" * 300]),
    st.sampled_from(["B1", "B,1", "'", "0x1"]),
    st.sampled_from(["5.0", "5", " 5", "nan", "", "1e400", ".5", "+5", "1e3", "5.", "0x10"]),
    st.sampled_from(["1", "-1", "0x10", "1.0", "", " 1", "9" * 19, "007", "1\r"]),
).map(",".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ODD, min_size=1, max_size=4))
def test_arrow_takes_no_block_that_lines_would_not_give(lines: list[str]) -> None:
    same_both_ways(LAYOUT, lines)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ODD_CELLS, min_size=1, max_size=4))
def test_arrow_takes_no_cells_that_lines_would_not_give(lines: list[str]) -> None:
    same_both_ways(CELLS, lines)


def same_both_ways(layout: Layout, lines: list[str]) -> None:
    fast = layout.block(lines)
    if fast is None:
        return
    slow = [layout.parsed(line) for line in lines]
    assert [tuple(row.values()) for row in fast.to_pylist()] == slow


def test_plain_lines_go_the_fast_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the piece of 64 lines around a fault is read line by line."""
    taken: list[int] = []
    original = amazon_reviews._line_by_line

    def counted(path: Path, layout: Layout, first: int, lines: list[str], dropped: Any) -> pa.Table:
        taken.append(len(lines))
        return original(path, layout, first, lines, dropped)

    monkeypatch.setattr(amazon_reviews, "_line_by_line", counted)
    lines = [GOOD] * 1000
    lines[500] = "{"
    reading = Amazon(broken="drop").read(write_lines(tmp_path / "reviews.json", lines))
    assert len(rows_of(reading)) == 999
    assert taken == [64]


# Metadata and image features

META_2014 = (
    "{'asin': 'B00006HAXW', 'title': 'Girls\\' Ballet', 'price': 3.17, 'imUrl': 'http://a/b.jpg', "
    "'brand': 'Coxlures', 'categories': [['Sports', 'Dance'], ['Toys']], 'description': 'A tutu'}"
)
META_2018 = json.dumps(
    {
        "asin": "0594451647",
        "title": "Adapter",
        "price": "$1,049.99",
        "imageURLHighRes": ["https://a/h.jpg"],
        "imageURL": ["https://a/l.jpg"],
        "brand": "Nook",
        "category": ["Electronics", "Cables"],
        "description": ["One.", "", "Two."],
    }
)
META_2023 = json.dumps(
    {
        "parent_asin": "B000031HUE",
        "title": "Howard LC0008",
        "price": None,
        "images": [
            {"thumb": "https://a/t.jpg", "large": "https://a/l.jpg", "hi_res": None, "variant": "MAIN"}
        ],
        "store": "Howard",
        "categories": ["Home", "Wax"],
        "description": [],
        "details": {"Brand": "Howard"},
    }
)


def test_metadata_of_every_year(tmp_path: Path) -> None:
    write_json(tmp_path / "reviews.json", [review_2014(row) for row in ROWS])
    write_lines(tmp_path / "meta_Office.json.gz", [META_2014, META_2018, META_2023, META_2014])
    reading = Amazon().read(tmp_path)
    assert items_of(reading) == [
        {
            "item_id": "B00006HAXW",
            "title": "Girls' Ballet",
            "description": "A tutu",
            "categories": "Sports > Dance; Toys",
            "brand": "Coxlures",
            "image": "http://a/b.jpg",
            "price": 3.17,
        },
        {
            "item_id": "0594451647",
            "title": "Adapter",
            "description": "One. Two.",
            "categories": "Electronics > Cables",
            "brand": "Nook",
            "image": "https://a/h.jpg",
            "price": 1049.99,
        },
        {
            "item_id": "B000031HUE",
            "title": "Howard LC0008",
            "description": None,
            "categories": "Home > Wax",
            "brand": "Howard",
            "image": "https://a/l.jpg",
            "price": None,
        },
    ]
    assert reading.dropped == {"metadata: an item again": 1}


def test_items_without_a_review_are_kept_on_request(tmp_path: Path) -> None:
    write_json(tmp_path / "reviews.json", [review_2014(ROWS[0])])
    write_lines(tmp_path / "meta_Office.json", [META_2014, META_2018])
    assert [row["item_id"] for row in items_of(Amazon().read(tmp_path))] == ["B00006HAXW"]
    both = items_of(Amazon(catalogue="all").read(tmp_path))
    assert [row["item_id"] for row in both] == ["B00006HAXW", "0594451647"]


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        ("$4.99", 4.99),
        ("4", 4.0),
        (12, 12.0),
        ("$10.00 - $20.00", None),
        (".a-box-inner{background-color:#fff}", None),
        ("", None),
        (float("nan"), None),
        (-1, None),
        (True, None),
        (10**400, None),
        ([1], None),
    ],
)
def test_prices(price: Any, expected: float | None) -> None:
    assert fields({"price": price})["price"] == expected


@pytest.mark.parametrize("value", [None, 5, [], [[]], [5], {"a": 1}, [{}], [[["x"]]], "", "\ud800", True])
def test_odd_metadata_becomes_nothing_or_text(value: Any) -> None:
    names = ("title", "description", "categories", "brand", "imUrl", "images")
    got = fields(dict.fromkeys(names, value))
    made = pa.table({name: [cell] for name, cell in got.items()})
    assert made.num_rows == 1
    assert set(got.values()) <= {None, "?"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{'asin': 'B1', 'title': ", "not JSON"),
        ("{'title': 'x'}", "asin is not text"),
        ("{'asin': __import__('os').system('true')}", "not JSON"),
        ("{'a':" * 5000, "not JSON"),
        ('{"a":' * 5000, r"not JSON \(nested too deeply"),
    ],
)
def test_broken_metadata(tmp_path: Path, line: str, said: str) -> None:
    write_json(tmp_path / "reviews.json", [review_2014(row) for row in ROWS])
    write_lines(tmp_path / "meta.json", [META_2014, line])
    with pytest.raises(DataError, match=rf"meta.json, line 2: {said}"):
        items_of(Amazon().read(tmp_path))
    reading = Amazon(broken="drop").read(tmp_path)
    assert len(items_of(reading)) == 1
    assert sum(reading.dropped.values()) == 1


def records(items: Sequence[str], values: np.ndarray[Any, Any]) -> bytes:
    return b"".join(
        item.encode() + row.astype("<f4").tobytes() for item, row in zip(items, values, strict=True)
    )


def test_image_features_of_2014(tmp_path: Path) -> None:
    write_json(tmp_path / "reviews.json", [review_2014(row) for row in ROWS])
    values = np.random.default_rng(0).normal(size=(4, WIDTH)).astype(np.float32)
    items = ["B00006HAXW", "B00000none", "B000031HUE", "B00006HAXW"]
    (tmp_path / "image_features_Office.b").write_bytes(records(items, values))
    reading = Amazon().read(tmp_path)
    rows_of(reading)
    blocks = list(reading.vectors["image"]())
    assert np.concatenate([block.ids for block in blocks]).tolist() == ["B00006HAXW", "B000031HUE"]
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), values[[0, 2]])
    assert reading.dropped == {"image features: an item again": 1}
    assert "4 records of image features" in reading.notes


@pytest.mark.parametrize("size", [5, RECORD - 1, RECORD + 10, 2 * RECORD - 4])
def test_image_features_that_end_inside_a_record(tmp_path: Path, size: int) -> None:
    write_json(tmp_path / "reviews.json", [review_2014(row) for row in ROWS])
    data = records(["B00006HAXW", "B000031HUE"], np.ones((2, WIDTH)))
    (tmp_path / "image_features.b").write_bytes(data[:size])
    with pytest.raises(DataError, match=rf"image_features.b, record {size // RECORD}: the file ends after"):
        Amazon().read(tmp_path)


def test_image_features_that_are_something_else(tmp_path: Path) -> None:
    write_json(tmp_path / "reviews.json", [review_2014(row) for row in ROWS])
    (tmp_path / "image_features.b").write_bytes(bytes(range(256)) * (RECORD // 2) + bytes(RECORD % 256) * 0)
    data = (tmp_path / "image_features.b").read_bytes()
    (tmp_path / "image_features.b").write_bytes(data[: len(data) // RECORD * RECORD])
    reading = Amazon().read(tmp_path)
    rows_of(reading)
    with pytest.raises(DataError, match=r"record 0: the item's id is b"):
        list(reading.vectors["image"]())
