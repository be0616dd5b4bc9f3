"""`--fix`: a mended copy loads as the same data set, without the codes that it mends, all of it or nothing."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

import stagelens.pipeline.cli
from stagelens.pipeline.cli import main
from stagelens.pipeline.data.check import check
from stagelens.pipeline.data.codes import KINDS
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.mend import mend
from stagelens.pipeline.errors import ConfigError, DataError

START = 1_600_000_000


def frame(seed=0, n_users=40, n_items=30, each=8):
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.permutation(n_items)[:each] for _ in range(n_users)])
    user = np.repeat(np.arange(n_users), each)
    return pd.DataFrame(
        {"user_id": user, "item_id": item, "timestamp": START + rng.integers(0, 9e7, len(user))}
    )


def vectors(n=30, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 6)).astype(np.float32)


def codes(folder, **options):
    return {fault.code for fault in check(str(folder), **options)}


def same(one, two):
    for name in ("users", "items", "given"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()
    assert one.clock == two.clock
    for column in ("user", "item", "time", "value"):
        assert np.array_equal(getattr(one.interactions, column), getattr(two.interactions, column))
        if one.impressions is not None:
            assert np.array_equal(getattr(one.impressions, column), getattr(two.impressions, column))
    assert list(one.modalities) == list(two.modalities)
    for name, table in one.modalities.items():
        other = two.modalities[name]
        assert np.array_equal(table.present, other.present)
        assert np.array_equal(table.values[table.present], other.values[table.present])
    for side in ("item_columns", "user_columns"):
        for name, values in getattr(one, side).items():
            assert np.array_equal(values, getattr(two, side)[name], equal_nan=True)


def repeats(**columns):
    log = frame()
    for name, values in columns.items():
        log[name] = values(len(log))
    return pd.concat([log, log.iloc[[5, 9, 9]].assign(timestamp=START + 95_000_000)], ignore_index=True)


def broken(values, rows=(3, 7)):
    values[list(rows), 0] = np.nan, np.inf
    return values


WIDE = vectors().astype(np.float64)
TWICE = np.concatenate([vectors(), vectors()[[4]]])
CASES = {
    "repeats": ({"interactions": repeats()}, None, {"duplicate-pairs": 3}),
    "repeats in csv": ({"interactions": repeats().to_csv(index=False)}, None, {"duplicate-pairs": 3}),
    "repeats across windows": (
        {"interactions": repeats(split=lambda n: np.resize(["train", "valid", "train", "test"], n))
         .assign(split=lambda log: np.where(log.index >= 320, "test", log.split))},
        None, {"pairs-across-windows": 3, "duplicate-pairs": 3},
    ),
    "not finite": ({"text": broken(vectors())}, None, {"non-finite": 2}),
    "doubles": ({"text": WIDE}, None, {"float64-array": 1}),
    "doubles too large": ({"text": np.where(WIDE > 2.2, 1e300, WIDE)}, None, {"float64-array": 1, "non-finite": 1}),
    "rows of nobody": (
        {"items": {"item_id": range(30)}, "text": vectors(33), "text__ids": np.r_[np.arange(29, -1, -1), 97, 98, 99]},
        None, {"extra-rows": 3},
    ),
    "rows of nobody, ids in a table": (
        {"items": {"item_id": range(30)}, "image": vectors(31), "image__ids": {"item_id": np.r_[np.arange(30), 97]}},
        None, {"extra-rows": 1},
    ),
    "two tables": ({"items": {"item_id": range(30)}},
                   lambda folder: (folder / "items.csv").write_text("item_id\n1\n"), {"two-tables": 1}),
    "stray ids": ({"old__ids": np.arange(4)}, None, {"ids-without-array": 1}),
    "marks": ({"interactions": "\ufeff" + frame().to_csv(index=False, lineterminator="\r\n")}, None, {"csv-marks": 1}),
    "users": ({"users": {"user_id": range(38), "age": [20.0] * 38}}, None, {"unlisted-users": 2}),
    "users in csv": ({"users": "user_id,age\n" + "".join(f"{u},20\n" for u in range(38))}, None, {"unlisted-users": 2}),
    "exposures": ({"impressions": frame(7)[:50].assign(item_id=lambda log: log.item_id.where(log.index > 2, 99))},
                  None, {"unknown-impressions": 3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_copy_is_the_same_data_set_without_the_fault(make_folder, case):
    files, damage, expected = CASES[case]
    folder = make_folder(**{"interactions": frame(), **files})
    if damage is not None:
        damage(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert codes(folder) >= set(expected)
    target = folder.parent / "mended"
    done = mend(str(folder), target)
    assert {entry.code: entry.count for entry in done} == expected
    assert all(entry.done == KINDS[entry.code].mend != "" for entry in done)
    assert codes(target) & set(expected) == set()
    options = {"user_columns": ("age",)} if "age" in str(files.get("users", "")) else {}
    same(load_dataset(str(folder), **options), load_dataset(str(target), **options))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert mend(str(target), folder.parent / "again") == []


@pytest.mark.parametrize("options", [{}, {"positive": 3}, {"positive": 5}, {"weight": True}])
def test_a_repeat_that_a_threshold_could_count_stays(make_folder, options):
    log = pd.DataFrame({"user_id": [0, 0, 0, 0, 1, 1], "item_id": [1, 1, 1, 1, 1, 2], "rating": [2, 2, 5, 4, 5, 5],
                        "timestamp": START + np.array([1, 70, 30, 44, 55, 66])})  # fmt: skip
    folder = make_folder(interactions=log)
    target = folder.parent / "mended"
    (entry,) = mend(str(folder), target)
    assert (entry.code, entry.count) == ("duplicate-pairs", 2)
    same(load_dataset(str(folder), **options), load_dataset(str(target), **options))
    assert "duplicate-pairs" in codes(target)


def test_repeats_stay_where_the_clock_would_change_without_them(make_folder):
    log = pd.DataFrame({"user_id": np.repeat([0, 1, 2], 4), "item_id": [0, 1, 0, 2] * 3,
                        "timestamp": np.r_[5:9, 6:10, 7:11]})  # fmt: skip
    folder = make_folder(interactions=log)
    assert load_dataset(str(folder)).clock == "order"
    assert mend(str(folder), folder.parent / "mended") == []
    assert load_dataset(str(folder.parent / "mended")).clock == "order"


def test_decimal_ids_become_whole_and_meet_the_items(make_folder):
    log = frame()
    text = log.assign(item_id=log.item_id.astype(float)).to_csv(index=False)
    folder = make_folder(interactions=text, items={"item_id": range(30)}, text=vectors())
    assert codes(folder) >= {"float-ids", "unknown-item"}
    done = mend(str(folder), folder.parent / "mended")
    assert [(entry.code, entry.count) for entry in done] == [("float-ids", 30)]
    plain = make_folder("plain", interactions=log, items={"item_id": range(30)}, text=vectors())
    same(load_dataset(str(folder.parent / "mended")), load_dataset(str(plain)))


def test_decimal_ids_beside_names_stay(make_folder):
    folder = make_folder(interactions="user_id,item_id\n1.0,1\nguest,2\n0012.0,2\n")
    assert mend(str(folder), folder.parent / "mended") == []
    assert "float-ids" in codes(folder.parent / "mended")


@pytest.mark.parametrize("other", ["row ids", "parquet", "names"])
def test_decimal_ids_that_another_file_keeps_stay(make_folder, other):
    """Taking .0 off one of them would part events from items, or items from their vectors."""
    log, decimals = frame(), [f"{item}.0" for item in range(30)]
    text = log.assign(item_id=log.item_id.astype(float)).to_csv(index=False)
    table = "item_id\n" + "\n".join(decimals) + "\n" + ("gift\n" if other == "names" else "")
    items = {"item_id": decimals} if other == "parquet" else table
    rows = {"text__ids": np.array(decimals)} if other != "parquet" else {}
    folder = make_folder(interactions=text, items=items, text=vectors(), **rows)
    assert mend(str(folder), folder.parent / "mended") == []
    same(load_dataset(str(folder)), load_dataset(str(folder.parent / "mended")))


def test_equal_rows_of_an_item_become_one_and_different_rows_stay(make_folder):
    ids = np.r_[np.arange(30), 4]
    folder = make_folder(interactions=frame(), text=TWICE, text__ids=ids)
    done = mend(str(folder), folder.parent / "mended")
    assert [(entry.code, entry.count) for entry in done] == [("row-twice", 1)]
    plain = make_folder("plain", interactions=frame(), text=vectors(), text__ids=np.arange(30))
    same(load_dataset(str(folder.parent / "mended")), load_dataset(str(plain)))
    other = make_folder("other", interactions=frame(), text=vectors(31), text__ids=ids)
    assert mend(str(other), other.parent / "left") == []
    assert "row-twice" in codes(other.parent / "left")


def test_what_would_be_a_guess_stays(make_folder):
    folder = make_folder(
        interactions="user_id,item_id,timestamp\n1,0,100\n1,1,late\n1,9,50\n2,1\n,2,3\n",
        items={"item_id": [0, 1, 2]},
    )
    assert mend(str(folder), folder.parent / "mended") == []
    before, after = codes(folder), codes(folder.parent / "mended")
    assert before == after >= {"ragged-csv", "missing-id", "bad-timestamp", "unknown-item"}


def test_a_link_becomes_the_file(make_folder):
    folder = make_folder(interactions=frame(), text=vectors())
    elsewhere = folder.parent / "arrays"
    elsewhere.mkdir()
    (folder / "text.npy").rename(elsewhere / "text.npy")
    (folder / "text.npy").symlink_to(elsewhere / "text.npy")
    done = mend(str(folder), folder.parent / "mended")
    assert [(entry.code, entry.where) for entry in done] == [("link-outside", "text.npy")]
    assert not (folder.parent / "mended" / "text.npy").is_symlink()
    assert "link-outside" not in codes(folder.parent / "mended")


def test_targets_that_are_refused(make_folder):
    folder = make_folder()
    with pytest.raises(ConfigError, match=r"inside .*: give a new folder elsewhere"):
        mend(str(folder), folder / "mended")
    with pytest.raises(ConfigError, match="inside"):
        mend(str(folder), folder)
    (folder.parent / "full").mkdir()
    (folder.parent / "full" / "x").touch()
    with pytest.raises(ConfigError, match=r"not an empty folder: give another --fix"):
        mend(str(folder), folder.parent / "full")
    with pytest.raises(DataError, match="does not exist"):
        mend(str(folder.parent / "nowhere"), folder.parent / "mended")
    (folder / "interactions.parquet").unlink()
    with pytest.raises(DataError, match="no interactions file"):
        mend(str(folder), folder.parent / "mended")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["data", "full"]


ARRAY = "an array written anew", {"text": np.full((4_000, 64), 0.5)}
COPY = "an array copied", {"text": np.full((4_000, 64), 0.5, np.float32)}
TABLE = "a table", {"interactions": repeats(note=lambda n: [f"{row:0200d}" for row in range(n)])}


@pytest.mark.parametrize("files", [ARRAY, COPY, TABLE], ids=lambda case: case[0])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(make_folder, files):
    folder = make_folder(**{"interactions": frame(), **files[1]})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with pytest.raises(OSError, match=r"too large|requested|27"):
            mend(str(folder), folder.parent / "mended")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


FULL = """
import os, sys
from pathlib import Path
from stagelens.pipeline.cli import main
small = Path(sys.argv[2])
os.mkdir(small)
if os.system(f"mount -t tmpfs -o size=64k none {small} 2>/dev/null"):
    sys.exit(77)
status = main(["data", "check", sys.argv[1], "--fix", str(small / "mended")])
print("left:", sorted(os.listdir(small)))
sys.exit(status)
"""


def test_a_full_disk_is_status_5_and_leaves_nothing_behind(make_folder):
    folder = make_folder(interactions=frame(), text=np.full((30, 4_000), 0.5))
    command = ["unshare", "-rm", sys.executable, "-c", FULL, str(folder), str(folder.parent / "small")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("a small disk cannot be mounted here")
    assert "No space left on device" in done.stderr or "requested" in done.stderr
    assert "Traceback" not in done.stderr
    assert "left: []" in done.stdout
    assert done.returncode == 5


SCHEMA = json.loads(
    (Path(stagelens.pipeline.cli.__path__[0]) / "check.schema.json").read_text(encoding="utf-8")
)


def answer(capsys, *words):
    status = main(["data", "check", *words])
    return status, capsys.readouterr().out


def test_json_fits_its_schema_with_and_without_fix(make_folder, capsys):
    folder = make_folder(interactions=repeats(), text=broken(vectors()), items={"item_id": range(29)})
    status, text = answer(capsys, str(folder), "--json")
    found = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert (status, found["usable"], found["fix"]) == (3, False, None)
    assert found["errors"] == sum(fault["severity"] == "error" for fault in found["faults"]) == 2
    status, text = answer(capsys, str(folder), "--json", "--fix", str(folder.parent / "mended"))
    found = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    assert status == 3
    assert [entry["code"] for entry in found["fix"]["mended"]] == ["non-finite", "duplicate-pairs"]
    assert "duplicate-pairs" not in {fault["code"] for fault in found["fix"]["faults"]}
    assert "unknown-item" in {fault["code"] for fault in found["fix"]["faults"]}


def test_the_words_on_the_screen(make_folder, capsys):
    folder = make_folder(interactions=repeats())
    target = folder.parent / "mended"
    status, text = answer(capsys, str(folder), "--fix", str(target))
    assert status == 0
    assert "mended duplicate-pairs (3 events)" in text
    assert "What remains:" in text
    status, text = answer(capsys, str(folder))
    for word in (
        "note duplicate-pairs (3 events)",
        "Effect: The first of each pair counts.",
        "--fix: Rows that",
    ):
        assert word in text
    assert main(["data", "check", "world:ecommerce", "--fix", str(folder.parent / "world")]) == 2
    assert "there is no folder to mend" in capsys.readouterr().err
    assert [path.name for path in target.iterdir()] == ["interactions.parquet"]


def test_every_command_of_the_page_runs(make_folder, tmp_path, capsys, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "faults.md"
    lines = re.findall(r"^\$ simulate (.*)$", page.read_text(encoding="utf-8"), re.M)
    assert len(lines) == 3
    (tmp_path / "path" / "to").mkdir(parents=True)
    make_folder(interactions=repeats()).rename(tmp_path / "path" / "to" / "data")
    monkeypatch.chdir(tmp_path)
    for line in lines:
        assert main(line.split()) == 0
        assert capsys.readouterr().out
