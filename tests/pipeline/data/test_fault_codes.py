"""Every kind of fault: raised by data that has it, told in full, and listed in the documentation."""

import ast
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import stagelens.pipeline.data
from stagelens.pipeline.core import ModalityTable
from stagelens.pipeline.data.check import check
from stagelens.pipeline.data.check_content import check_content
from stagelens.pipeline.data.codes import KINDS, fault_table
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.faults import Findings

LOG = {"user_id": [0, 0, 1], "item_id": [0, 1, 2]}
GOOD = np.float32([[1, 0], [0, 1], [1, 1], [2, 1], [1, 2]])
START = 1_600_000_000
RNG = np.random.default_rng(0)


def log(**columns):
    return {**LOG, **columns}


def table(n_users, n_items, each, seed=0):
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.permutation(n_items)[:each] for _ in range(n_users)])
    return {"user_id": np.repeat(np.arange(n_users), each), "item_id": item}


def bytes_at(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def instead(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def bomb(folder):
    text = pa.array(["x" * 100_000])
    user = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), text)
    parquet.write_table(pa.table({"user_id": user, "item_id": np.zeros(len(user), np.int64)}),
                        folder / "interactions.parquet", store_schema=False)  # fmt: skip


def moved(folder):
    (folder.parent / f"{folder.name}.npy").write_bytes((folder / "text.npy").read_bytes())
    (folder / "text.npy").unlink()
    (folder / "text.npy").symlink_to(folder.parent / f"{folder.name}.npy")


def copies():
    values = np.random.default_rng(9).standard_normal((400, 16)).astype(np.float32)
    values[3] = values[4] * np.float32(1.0001)
    values[5] = values[6]
    values[7] = 2
    values[8] = 0
    values[9] = np.delete(values, [8, 9], axis=0).mean(axis=0)
    values[10] *= 1000
    values[:, 15] = np.where(values[:, 15] == 0, 0, 2)
    values[7] = 2
    values[9] = 0
    values[9] = values[[*range(8), *range(10, 400)]].mean(axis=0)
    return values


def many(n):
    return {
        "user_id": np.zeros(n, int),
        "item_id": np.arange(n),
        "timestamp": START + 7 * np.arange(n) % 80_000,
    }


SPLIT = log(split=["train", "valid", "test"])
SEQUENCE = {**table(30, 40, 8), "seq": np.tile(np.arange(8), 30)}

CASES = {
    "nothing": (None, lambda folder: (folder / "interactions.parquet").unlink(), {}, {"no-interactions"}),
    "broken link": (None, lambda folder: (folder / "text.npy").symlink_to("gone"), {}, {"broken-link"}),
    "folder for a file": (None, instead("interactions.parquet"), {}, {"not-a-file"}),
    "toml": ({"dataset": "name = x"}, None, {}, {"bad-toml"}),
    "keys": ({"dataset": 'nmae = "x"\nclock = "fast"'}, None, {}, {"unknown-key", "bad-value"}),
    "names": ({"dataset": 'modalities = ["texts"]', "all": GOOD}, None, {}, {"unknown-modality", "reserved-name"}),
    "cut table": (None, bytes_at("interactions.parquet", b"PAR1"), {}, {"unreadable-table"}),
    "bomb": (None, bomb, {}, {"oversized-table"}),
    "columns": ({"interactions": "user_id,item_id,item_id\n1,2,3\n"}, None, {}, {"column-twice"}),
    "ragged": ({"interactions": "user_id,item_id\n1,2\n3\n"}, None, {}, {"ragged-csv"}),
    "no rows": ({"interactions": "user_id,item_id\n"}, None, {}, {"no-rows"}),
    "no column": ({"interactions": {"user": [1], "item_id": [1]}}, None, {}, {"missing-column"}),
    "no id": ({"interactions": "user_id,item_id\n1,\n1,1\n"}, None, {}, {"missing-id"}),
    "fractions": ({"interactions": {"user_id": [1.5, 2], "item_id": [1, 2]}}, None, {}, {"id-type"}),
    "item twice": ({"items": {"item_id": [0, 1, 2, 2]}}, None, {}, {"id-twice"}),
    "words": ({"interactions": "user_id,item_id,value\n1,1,x\n1,2,1\n"}, None, {}, {"not-numbers"}),
    "weights": ({"interactions": log(value=[1, 0, 2])}, None, {"weight": True}, {"bad-weight", "weights"}),
    "moments": ({"interactions": log(timestamp=[1.0, np.nan, 5])}, None, {}, {"bad-timestamp"}),
    "promised": ({"dataset": 'clock = "real"'}, None, {}, {"no-timestamps"}),
    "labels": ({"interactions": log(split=["a", "test", "train"])}, None, {}, {"split-label"}),
    "lists": ({"items": {"item_id": [0, 1, 2], "tags": [["a"], ["b"], []]}}, None,
              {"item_columns": ("tags",)}, {"feature-type"}),
    "unlisted item": ({"items": {"item_id": [0, 1]}}, None, {}, {"unknown-item"}),
    "small": (None, None, {}, {"empty-window"}),
    "text ids": ({"interactions": {"user_id": [1, 1], "item_id": ["a", "b"]}, "text": GOOD[:2]}, None, {},
                 {"rows-without-ids"}),
    "rows": ({"items": {"item_id": [0, 1, 2]}, "text": GOOD}, None, {}, {"row-count"}),
    "rows twice": ({"text": GOOD, "text__ids": np.array([0, 1, 2, 2, 3])}, None, {}, {"row-twice"}),
    "cut array": (None, bytes_at("text.npy", b"\x93NUMPY"), {}, {"unreadable-array"}),
    "flat array": ({"text": GOOD[:, 0]}, None, {}, {"array-type"}),
    "only nan": ({"text": GOOD * np.nan}, None, {}, {"no-vectors", "non-finite"}),
    "future known": (
        {"interactions": {"user_id": [0] * 5 + [1] * 5, "item_id": [0, 1, 2, 3, 4] * 2,
                          "timestamp": START + np.array([1, 20, 30, 40, 50, 2, 25, 35, 45, 55]),
                          "split": ["test", "train", "train", "train", "valid"] * 2}},
        None, {}, {"leak-own-future", "leak-global-time", "test-before-train", "few-test-users", "little-to-rank"},
    ),
    "pairs": (
        {"interactions": {"user_id": [0, 0, 0, 1, 1], "item_id": [0, 0, 1, 1, 1],
                          "split": ["train", "test", "train", "valid", "valid"]}},
        None, {}, {"pairs-across-windows", "duplicate-pairs"},
    ),
    "one stamp": ({"interactions": log(timestamp=[5, 5, 5])}, None, {}, {"no-clock"}),
    "odd stamps": (
        {"interactions": {**table(30, 40, 8), "timestamp": np.r_[np.arange(0, 7, 0.5), 4e10, START + np.arange(225)]}},
        None, {}, {"early-timestamps", "future-timestamps"},
    ),
    "busy": ({"interactions": {key: np.r_[value, [1, 2, 2][place:place + 1]]
                               for place, (key, value) in enumerate(many(1_200).items())}},
             None, {}, {"busy-users"}),
    "users": ({"users": {"user_id": [0, 7]}}, None, {}, {"unlisted-users", "users-without-events"}),
    "mixed": ({"interactions": "user_id,item_id\n1,1\n2,2\nguest,3\n"}, None, {}, {"mixed-ids"}),
    "decimals": ({"interactions": "user_id,item_id\n1.0,1\n1.2E+11,2\n"}, None, {}, {"float-ids", "spreadsheet-ids"}),
    "values": ({"interactions": log(value=[1, np.nan, 2])}, None, {"positive": 1}, {"value-missing", "positives"}),
    "unused values": ({"interactions": log(value=[1, 1, 2])}, None, {}, {"value-unused", "single-event-users"}),
    "features": (
        {"interactions": table(30, 40, 8),
         "items": {"item_id": range(40), "price": [1.0] * 40, "name": [f"n{i}" for i in range(40)]}},
        None, {"item_columns": ("price", "name")}, {"many-categories", "constant-feature"},
    ),
    "exposures": ({"interactions": log(timestamp=[START, START + 50, START + 9]),
                   "impressions": {"user_id": [0, 9], "item_id": [0, 1]}}, None, {},
                  {"unknown-impressions", "impressions-without-time"}),
    "copies": ({"interactions": table(30, 400, 8), "text": copies()}, None, {},
               {"duplicate-vectors", "constant-vectors", "mean-filled-vectors", "near-duplicate-vectors",
                "norm-spread", "zero-vector", "items-without-events"}),
    "one column": ({"text": np.float32([[1, 2], [1, 3], [1, 4]])}, None, {}, {"constant-columns"}),
    "gaps": ({"text": np.float32([[0, 0], [0, 0], [1, 4]])}, None, {}, {"mostly-missing"}),
    "unrelated": ({"interactions": table(600, 300, 6),
                   "text": np.random.default_rng(1).standard_normal((300, 16)).astype(np.float32)}, None, {},
                  {"unrelated-rows"}),
    "doubles": ({"text": GOOD.astype(float)}, None, {}, {"float64-array"}),
    "extra": ({"items": {"item_id": [0, 1, 2]}, "text": GOOD, "text__ids": np.arange(5)}, None, {}, {"extra-rows"}),
    "files": ({"old__ids": np.arange(3), "interactions": LOG}, bytes_at("interactions.csv", b"x"), {},
              {"ids-without-array", "two-tables"}),
    "order": ({"interactions": SEQUENCE}, None, {}, {"order-only"}),
    "milliseconds": ({"interactions": log(timestamp=[START * 1000, START * 1000 + 9, START * 1000 + 70])},
                     None, {}, {"time-unit"}),
    "days": ({"interactions": {**table(30, 40, 8), "timestamp": START + 86_400 * RNG.integers(0, 90, 240)}},
             None, {}, {"coarse-clock"}),
    "id types": ({"items": {"item_id": ["0", "1", "2"]}}, None, {}, {"id-types"}),
    "marks": ({"interactions": "\ufeffuser_id,item_id\r\n1,1\r\n"}, None, {}, {"csv-marks"}),
    "link": ({"text": GOOD}, moved, {}, {"link-outside"}),
    "idle": (None, bytes_at("image.npz", b"x"), {}, {"unused-file"}),
    "cold": (
        {"interactions": {"user_id": [0, 0, 0, 0, 1, 1], "item_id": [0, 1, 2, 3, 4, 0],
                          "split": ["train", "train", "train", "valid", "test", "test"]},
         "text": np.float32([[1, 2], [2, 1], [3, 1], [1, 4], [0, 0]])},
        None, {}, {"cold-test-users", "cold-test-items", "cold-items-without-content"},
    ),
}  # fmt: skip
ELSEWHERE = {"no-folder", "no-access"}


def told_in_full(fault):
    kind = KINDS[fault.code]
    assert fault.severity == kind.severity
    assert fault.count >= 1
    assert 1 <= len(fault.examples) <= 3
    assert all(fault.examples)
    assert min(len(fault.where), len(fault.found), len(fault.effect), len(fault.remedy), len(fault.unit)) > 0
    assert fault.mend == kind.mend


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_with_count_examples_effect_and_remedy(make_folder, case):
    files, damage, options, expected = CASES[case]
    folder = make_folder(**{"interactions": LOG, **(files or {})})
    if damage is not None:
        damage(folder)
    faults = check(str(folder), **options)
    assert {fault.code for fault in faults} >= expected
    for fault in faults:
        told_in_full(fault)


def test_no_folder_is_told_in_full(tmp_path):
    (fault,) = check(str(tmp_path / "nowhere"))
    assert fault.code == "no-folder"
    told_in_full(fault)


def test_every_kind_is_raised_by_some_case_and_every_code_in_the_source_is_a_kind():
    assert set.union(ELSEWHERE, *(expected for *_, expected in CASES.values())) == set(KINDS)
    source = set()
    for path in Path(stagelens.pipeline.data.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add" and len(node.args) == 3:
                source.add(node.args[0].value if isinstance(node.args[0], ast.Constant) else "a variable")
    assert source - {"a variable"} <= set(KINDS)
    assert set(KINDS) - source == {"float-ids", "spreadsheet-ids"}  # added by a variable


def test_every_kind_stands_in_the_documentation_as_it_is():
    page = Path(__file__).parents[3] / "docs" / "faults.md"
    assert fault_table() in page.read_text(encoding="utf-8")
    for kind in KINDS.values():
        for text in (kind.means, kind.unit, kind.effect, kind.remedy):
            assert text
            assert "|" not in text


def related(seed=0, width=12):
    """Users who choose within one of eight groups, and vectors that tell the group."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), 40)
    centre = rng.standard_normal((8, width))
    rows = [(user, item) for user in range(600) for item in rng.permutation(40)[:5] + 40 * (user % 8)]
    order = rng.permutation(320)
    place = np.argsort(order)
    log = {"user_id": [user for user, _ in rows], "item_id": [int(place[item]) for _, item in rows]}
    return log, (centre[group] + rng.standard_normal((320, width)))[order].astype(np.float32)


@pytest.mark.parametrize(("rows", "words"), [
    (lambda values: values, None),
    (lambda values: np.random.default_rng(5).permutation(values), ""),
    (lambda values: np.roll(values, 1, axis=0), "with every row moved by +1 they are alike"),
    (lambda values: np.roll(values, -1, axis=0), "with every row moved by -1 they are alike"),
])  # fmt: skip
def test_rows_in_another_order_than_the_items_are_found(make_folder, rows, words):
    log, values = related()
    folder = make_folder(interactions=log, text=rows(values))
    found = [fault.found for fault in check(str(folder)) if fault.code == "unrelated-rows"]
    assert len(found) == (words is not None)
    assert all((words or "") in text for text in found)
    if words == "":
        assert "moved" not in found[0]


def test_near_copies_are_found_and_neighbours_are_none(make_folder):
    rng = np.random.default_rng(3)
    values = rng.standard_normal((2_000, 32)).astype(np.float32)
    values[1_000:1_010] = values[:10] + 1e-4 * rng.standard_normal((10, 32))
    values[1_500] = values[20]
    data = load_dataset(str(make_folder(interactions=table(40, 2_000, 9), text=values)))
    findings = Findings(strict=False)
    check_content(data, findings)
    counts = {fault.code: fault.count for fault in findings.faults}
    assert counts["near-duplicate-vectors"] == 20
    assert counts["duplicate-vectors"] == 1
    findings = Findings(strict=False)
    smooth = ModalityTable.of("text", rng.standard_normal((2_000, 8)).astype(np.float32))
    check_content(type(data)(**{**{name: getattr(data, name) for name in data.__slots__},
                                "modalities": {"text": smooth}}), findings)  # fmt: skip
    assert "near-duplicate-vectors" not in {fault.code for fault in findings.faults}


def test_the_count_is_of_the_unit(make_folder):
    late = time.time() + 10 * 86_400
    frame = pd.DataFrame({**table(30, 40, 8), "timestamp": START + np.arange(240) * 977})
    frame.loc[[3, 9], "timestamp"] = int(late)
    found = {fault.code: fault for fault in check(str(make_folder(interactions=frame)))}
    assert (found["future-timestamps"].count, found["future-timestamps"].unit) == (2, "events")
    assert all("user 0" in text or "user 1" in text for text in found["future-timestamps"].examples)
