"""What timestamps are: seconds whatever their unit, positions, or nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stagelens.pipeline.data.clock import moment, read_stamps
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.tables import Table

USER = [0, 0, 0, 1, 1, 2, 2, 2]
ITEM = [0, 1, 2, 1, 3, 0, 2, 3]
MINUTES = [8, 0, 15, 166_666, 83_333, 333_333, 333_341, 333_345]
SECONDS = 1_600_000_000 + 60 * np.array(MINUTES)


def log(timestamp, **columns):
    return {"user_id": USER, "item_id": ITEM, "timestamp": timestamp, **columns}


FORMS = {
    "s": SECONDS,
    "ms": SECONDS * 1000 + 7,
    "us": SECONDS * 10**6 + 7,
    "ns": SECONDS * 10**9 + 7,
    "float seconds": SECONDS + 0.25,
    "float whole": SECONDS.astype(float),
    "datetime": pd.to_datetime(SECONDS, unit="s"),
    "zoned datetime": pd.to_datetime(SECONDS, unit="s", utc=True).tz_convert("Asia/Tokyo"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_real_clock_gives_the_same_seconds(make_folder, form):
    data = load_dataset(str(make_folder(interactions=log(FORMS[form]))))
    assert data.clock == "real"
    expected = np.concatenate([np.sort(SECONDS[np.array(USER) == user]) for user in range(3)])
    assert data.interactions.time.tolist() == expected.tolist()
    said = [note for note in data.notes if "timestamps in" in note]
    assert len(said) == (0 if form in ("s", "float seconds", "float whole") else 1)


def test_dates_as_text_and_numbers_as_text(make_folder):
    stamps = pd.to_datetime(SECONDS, unit="s", utc=True)
    frame = pd.DataFrame(log(stamps.strftime("%Y-%m-%dT%H:%M:%SZ")))
    numbers = pd.DataFrame(log(SECONDS))
    one = load_dataset(str(make_folder("dates", interactions=frame.to_csv(index=False))))
    two = load_dataset(str(make_folder("numbers", interactions=numbers.to_csv(index=False))))
    assert one.hashes() == two.hashes()
    assert one.clock == "real"


def test_moments_beyond_the_calendar_are_shown_as_numbers():
    moments = (0, 10**12, 10**18, -(10**12))
    shown = ["1970-01-01 00:00 UTC", *(f"second {at}" for at in moments[1:])]
    assert [moment(at) for at in moments] == shown


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_moments_keep_their_own_unit(unit):
    raw = np.array([2**62, 0, 1_600_000_000])
    column = pa.chunked_array([pa.array(raw).cast(pa.timestamp(unit, tz="Asia/Tokyo"))])
    table = Table(Path("log.parquet"), {"timestamp": column}, ("timestamp",), 3, False)
    stamps = read_stamps(table, "timestamp", Findings())
    assert stamps.raw.tolist() == raw.tolist()
    assert (stamps.unit, stamps.broken.any()) == (unit, False)


def test_order_within_a_second_is_kept(make_folder):
    stamps = np.array([5.9, 5.1, 5.5, 100.0, 200.0, 300.0, 400.0, 500.0])
    data = load_dataset(str(make_folder(interactions=log(stamps))))
    assert data.interactions.time[:3].tolist() == [5, 5, 5]
    assert data.interactions.item[:3].tolist() == [1, 2, 0]


def test_seq_breaks_ties_of_a_real_clock(make_folder):
    stamps = [100, 100, 100, 300, 200, 400, 500, 600]
    data = load_dataset(str(make_folder(interactions=log(stamps, seq=[3, 1, 2, 1, 2, 1, 2, 3]))))
    assert data.clock == "real"
    assert data.interactions.item[:3].tolist() == [1, 2, 0]


def test_every_user_starting_at_the_same_stamp_is_an_order(make_folder):
    data = load_dataset(str(make_folder(interactions=log([0, 5, 9, 0, 3, 0, 1, 4]))))
    assert data.clock == "order"
    assert any(
        "every user starts at the same stamp, 0" in note and "not a clock" in note for note in data.notes
    )


def test_consecutive_stamps_are_an_order_even_when_a_start_was_filtered_away(make_folder):
    data = load_dataset(str(make_folder(interactions=log([1, 2, 3, 0, 1, 0, 1, 2]))))
    assert data.clock == "order"


def test_positions_stay_positions_after_the_threshold_removes_the_first_events(make_folder):
    columns = log([0, 5, 9, 0, 3, 0, 1, 4], value=[1, 5, 5, 5, 5, 5, 1, 5])
    data = load_dataset(str(make_folder(interactions=columns)), positive=2)
    assert data.clock == "order"
    assert data.interactions.time.tolist() == [5, 9, 0, 3, 0, 4]


def test_one_stamp_for_everything_is_no_clock(make_folder):
    data = load_dataset(str(make_folder(interactions=log([7] * 8))))
    assert data.clock == "none"
    assert not data.interactions.time.any()
    assert any("every stamp is the same" in note for note in data.notes)


def test_seq_alone_is_an_order(make_folder):
    data = load_dataset(
        str(make_folder(interactions={"user_id": [0, 0, 1], "item_id": [0, 1, 2], "seq": [2.5, 1, 9]}))
    )
    assert data.clock == "order"
    assert data.interactions.item.tolist() == [1, 0, 2]


def test_dataset_toml_has_the_last_word(make_folder):
    data = load_dataset(
        str(make_folder("real", interactions=log([0, 5, 9, 0, 3, 0, 1, 4]), dataset='clock = "real"'))
    )
    assert data.clock == "real"
    data = load_dataset(str(make_folder("none", interactions=log(SECONDS), dataset='clock = "none"')))
    assert data.clock == "none"


@pytest.mark.data
def test_real_data_sets_are_read_as_what_they_are(real_data):
    clocks = {
        "amazon_beauty_kw": "order",
        "amazon_office": "order",
        "movielens100k": "real",
        "tiktok": "none",
    }
    for name, clock in clocks.items():
        assert load_dataset(str(real_data / name)).clock == clock
