"""What an import does with a reading: codes, first events, cores, catalogue, vectors, all or nothing."""

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.importers.files import vector_blocks
from stagelens.pipeline.data.importers.landing import land
from stagelens.pipeline.data.importers.origin import Origin
from stagelens.pipeline.data.importers.reading import Reading, VectorBlock
from stagelens.pipeline.data.importers.selection import Selection, core, first_of_pairs
from stagelens.pipeline.data.importers.spool import Spool
from stagelens.pipeline.data.importers.vocabulary import Vocabulary
from stagelens.pipeline.errors import ConfigError, DataError

ORIGIN = Origin("test", Path("source"), "test", "CC0", {"deep": {"a": [1, True]}, "none": None})


def tables(frame, size):
    """Cut a frame into blocks."""
    frame = pd.DataFrame(frame)
    return [
        pa.Table.from_pandas(frame.iloc[start : start + size], preserve_index=False)
        for start in range(0, len(frame), size)
    ]


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


ids = st.lists(st.one_of(st.text(max_size=4), st.integers(-30, 30).map(str)), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(ids, st.integers(1, 60))
def test_ids_get_codes_by_first_appearance(values, cut):
    known = Vocabulary()
    codes = np.r_[known.encode(pa.array(values[:cut])), known.encode(pa.array(values[cut:], pa.string()))]
    distinct = list(dict.fromkeys(values))
    assert [distinct[code] for code in codes] == values
    assert known.texts().to_pylist() == distinct
    assert known.encode(pa.array(["nobody", *distinct]), insert=False).tolist() == [-1, *range(len(distinct))]
    whole = all(text.removeprefix("-").isdecimal() and str(int(text)) == text for text in distinct)
    assert known.whole == whole
    assert known.ids().to_pylist() == ([int(text) for text in distinct] if whole else distinct)


def test_many_ids_survive_the_growth_of_the_table():
    known, rng = Vocabulary(), np.random.default_rng(0)
    values = rng.integers(-(2**62), 2**62, 30_000)
    codes = known.encode(pa.array(np.r_[values, values[::-1]]))
    np.testing.assert_array_equal(known.ids().take(pa.array(codes)), np.r_[values, values[::-1]])
    assert known.ids().type == pa.int64()  # 19 digits, and yet integers: they came as such


def spool_of(user, item, **columns):
    return Spool(
        np.array(user, np.int32),
        np.array(item, np.int32),
        {name: np.array(values) for name, values in columns.items()},
    )


def plain_core(user, item, least_user, least_item):
    """The core by its definition: leave out all that have too few, until nobody has."""
    kept, rounds = np.ones(len(user), bool), 0
    while True:
        low = [np.bincount(side[kept], minlength=99) for side in (user, item)]
        wrong = kept & ((low[0][user] < least_user) | (low[1][item] < least_item))
        if not wrong.any():
            return kept, rounds
        kept &= ~wrong
        rounds += 1


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=70)


@settings(deadline=None, max_examples=80)
@given(pairs, st.integers(0, 4), st.integers(0, 4))
def test_the_core_is_the_fixed_point(events, least_user, least_item):
    user, item = np.array(events).T
    asked = Selection(min_user=least_user, min_item=least_item)
    kept, rounds = core(spool_of(user, item), np.ones(len(user), bool), 10, 10, asked)
    wanted, turns = plain_core(user, item, least_user, least_item)
    assert kept.tolist() == wanted.tolist()
    assert rounds == turns


def test_a_long_chain_is_peeled_in_one_pass():
    n = 200_000  # a round takes away one link at either end
    user, item = np.repeat(np.arange(n), 2)[1:], np.repeat(np.arange(n), 2)[:-1]
    kept, rounds = core(
        spool_of(user, item), np.ones(len(user), bool), n, n, Selection(min_user=2, min_item=2)
    )
    assert not kept.any()
    assert rounds == n


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=40), st.data())
def test_the_first_event_of_a_pair_stays(events, data):
    user, item, window, time = np.array(events).T
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(user), max_size=len(user))))
    left = first_of_pairs(spool_of(user, item, split=window, timestamp=time), kept, 3)
    best: dict[tuple[int, int], tuple[int, int, int]] = {}
    for row in np.flatnonzero(kept):
        key, rank = (user[row], item[row]), (window[row], time[row], row)
        best[key] = min(best.get(key, rank), rank)
    assert np.flatnonzero(left).tolist() == sorted(row for *_, row in best.values())


EVENTS = {
    "user_id": ["b", "a", "b", "b", "c", "a", "c"],
    "item_id": ["y", "x", "x", "y", "z", "y", "x"],
    "timestamp": [5.0, 1.0, 2.0, 3.0, 9.0, 8.0, 7.0],
    "value": [5.0, 4.0, 3.0, 5.0, 1.0, np.nan, 4.0],
}
VECTORS = np.float32([[1, 2], [3, 4], [5, 6], [7, 8]])


def reading(size=2, **more):
    given_items = {"item_id": ["w", "z", "x", "w"], "title": ["W", "Z", "X", "again"]}
    whole = {
        "events": tables(EVENTS, size),
        "items": tables(given_items, size),
        "vectors": {"text": lambda: vector_blocks(np.array(["x", "q", "w", "x"]), VECTORS)},
        "impressions": tables({"user_id": ["a", "a", "n"], "item_id": ["z", "q", "x"]}, size),
        "notes": ("a word",),
        "dropped": {"without a user": 2, "never": 0},
    }
    return Reading(**{**whole, **more})


def test_a_reading_becomes_a_folder(tmp_path):
    told = land(reading(), tmp_path / "out", ORIGIN)
    data = load_dataset(str(tmp_path / "out"))
    assert data.users.tolist() == ["a", "b", "c"]
    assert data.items.tolist() == ["w", "z", "x", "y"]  # as listed; then the others
    frame = pd.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert frame["timestamp"].tolist() == [1, 2, 3, 9, 8, 7]  # the later of b, y is gone; the order stays
    assert frame["timestamp"].dtype == np.int64
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "text.npy"), [[5, 6], [0, 0], [1, 2], [0, 0]])
    assert pd.read_parquet(tmp_path / "out" / "items.parquet")["title"].fillna("-").tolist() == [
        "W",
        "Z",
        "X",
        "-",
    ]
    assert (told.read, told.duplicates, told.events, told.users, told.items) == (7, 1, 6, 3, 4)
    assert (told.repeated, told.impressions, told.dropped) == (1, (1, 2), {"without a user": 2})
    assert told.vectors["text"][2:] == (2, 1, 1)
    assert told.notes == ("a word",)
    said = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    assert said["license"] == "CC0"
    assert said["import"]["options"] == {"deep": {"a": [1, True]}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_block_sizes_and_runs_do_not_matter(tmp_path):
    for size in (1, 3, 99):
        land(reading(size), tmp_path / str(size), ORIGIN)
    assert content(tmp_path / "1") == content(tmp_path / "3") == content(tmp_path / "99")


@pytest.mark.parametrize(
    ("stamps", "kind"),
    [([2**60 + 1, 2**60, 3.0], np.int64), ([2.0, 2**60 + 1, 7], np.int64), ([5, 7, 0.5], np.float64)],
)
def test_times_are_integers_until_a_fraction_is_met(tmp_path, stamps, kind):
    blocks = [
        pa.table({"user_id": [row], "item_id": [row], "timestamp": [stamp]})
        for row, stamp in enumerate(stamps)
    ]
    land(Reading(events=blocks), tmp_path / "out", ORIGIN)
    found = pd.read_parquet(tmp_path / "out" / "interactions.parquet")["timestamp"]
    assert found.tolist() == stamps
    assert found.dtype == kind


def test_values_and_cores_are_counted(tmp_path):
    told = land(reading(), tmp_path / "out", ORIGIN, Selection(positive=3, min_item=2))
    assert (told.below, told.duplicates, told.outside, told.rounds) == (2, 1, 1, 1)
    data = load_dataset(str(tmp_path / "out"))
    assert data.items.tolist() == ["x"]
    assert len(data.interactions) == told.events == 3


def test_integers_stay_integers_and_nanoseconds_exact(tmp_path):
    stamps = [2**62 + 1, 2**62 + 3]
    events = {"user_id": [2**62, -5], "item_id": [7, 7], "timestamp": stamps, "split": ["train", "test"]}
    land(Reading(events=tables(events, 1)), tmp_path / "out", ORIGIN)
    frame = pd.read_parquet(tmp_path / "out" / "interactions.parquet")
    assert frame.to_dict("list") == events
    assert pd.read_parquet(tmp_path / "out" / "items.parquet")["item_id"].tolist() == [7]


def test_lists_are_copied_and_files_hashed(tmp_path):
    (tmp_path / "run.txt").write_text("1 Q0 7 1 0.5 x\n")
    source = reading(lists={"bm25.trec": tmp_path / "run.txt"}, files=(tmp_path / "run.txt",))
    told = land(source, tmp_path / "out", ORIGIN)
    assert told.lists == ("bm25.trec",)
    assert (tmp_path / "out" / "bm25.trec").read_bytes() == (tmp_path / "run.txt").read_bytes()
    said = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    digest = hashlib.sha256((tmp_path / "run.txt").read_bytes()).hexdigest()
    assert said["import"]["sha256"] == {"run.txt": digest}


def broken(rows, error):
    """Blocks that end in an error."""
    yield from tables(EVENTS, rows)[:1]
    raise error


def ragged():
    yield VectorBlock(np.array(["x"]), np.ones((1, 2), np.float32))
    yield VectorBlock(np.array(["z"]), np.ones((1, 3), np.float32))


def nobody():
    return iter([VectorBlock(np.array(["q"]), np.ones((1, 2), np.float32))])


def without(**columns):
    return tables({**{name: values[:3] for name, values in EVENTS.items()}, **columns}, 2)


FAULTS = {
    "interrupt": (lambda: reading(events=broken(2, KeyboardInterrupt())), KeyboardInterrupt, None),
    "disk": (lambda: reading(items=broken(2, OSError(28, "No space left on device"))), OSError, "No space"),
    "id": (lambda: reading(events=without(item_id=["x", None, "y"])), DataError, "event 2 has no item_id"),
    "empty id": (
        lambda: reading(events=without(user_id=["x", "y", ""])),
        DataError,
        "event 3 has no user_id",
    ),
    "time": (
        lambda: reading(events=without(timestamp=[1, 2, np.nan])),
        DataError,
        "event 3: timestamp is None",
    ),
    "window": (
        lambda: reading(events=without(split=["train", "dev", "test"])),
        DataError,
        "event 2: split is 'dev'",
    ),
    "nothing": (lambda: reading(events=[]), DataError, "no events"),
    "widths": (lambda: reading(vectors={"text": ragged}), DataError, "3 numbers after others of 2"),
    "no vector": (lambda: reading(vectors={"text": nobody}), DataError, "no item has a vector"),
    "name": (lambda: reading(vectors={"../text": nobody}), DataError, "cannot be written"),
    "list": (lambda: reading(lists={"../run": Path(__file__)}), DataError, "leaves this folder"),
    "list name": (lambda: reading(lists={"items.parquet": Path(__file__)}), DataError, "the name is taken"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_reading_leaves_nothing(tmp_path, fault):
    made, kind, said = FAULTS[fault]
    with pytest.raises(kind, match=said):
        land(made(), tmp_path / "out", ORIGIN)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_said(tmp_path):
    events = {name: EVENTS[name] for name in ("user_id", "item_id")}
    with pytest.raises(ConfigError, match="positive = 3: the source has no values"):
        land(reading(events=tables(events, 2)), tmp_path / "out", ORIGIN, Selection(positive=3))
    with pytest.raises(DataError, match=r"7 events were read, 7 have .* 6 of these .* min_user = 9"):
        land(reading(), tmp_path / "out", ORIGIN, Selection(min_user=9))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ConfigError, match="is not an empty folder"):
        land(reading(), tmp_path / "full", ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    with pytest.raises(TypeError, match="after others"):
        land(
            reading(events=tables(EVENTS, 4) + tables({"user_id": ["a"], "item_id": ["x"]}, 4)),
            tmp_path / "o",
            ORIGIN,
        )
