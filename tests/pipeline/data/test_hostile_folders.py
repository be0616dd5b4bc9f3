"""Files that nobody means well with: each its own clear error, no crash, no hang, no memory eaten."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from stagelens.pipeline.cli import main
from stagelens.pipeline.data.check import check
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.errors import DataError

GOOD = np.ones((5, 3), np.float32)
LOG = {"user_id": [0, 0, 1], "item_id": [0, 1, 2]}


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin-1") + b"\n"
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


def array(header: str, data: bytes = b"", **version: bytes):
    return lambda folder: (folder / "text.npy").write_bytes(npy(header, data, **version))


def shape(text: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {text}}}"


def saved(values, **options):
    return lambda folder: np.save(folder / "text.npy", values, **options)


def cut(folder):
    np.save(folder / "text.npy", GOOD)
    (folder / "text.npy").write_bytes((folder / "text.npy").read_bytes()[:-1])


def archive(folder):
    np.savez(folder / "text.npz", a=GOOD)
    (folder / "text.npz").rename(folder / "text.npy")


def huge_and_sparse(folder):
    """A file of a terabyte that holds nothing: the header and the size agree."""
    with (folder / "text.npy").open("wb") as stream:
        start = npy(shape("(250000000000, 1)"))
        stream.write(start)
        stream.truncate(len(start) + 10**12)


def directory(name):
    return lambda folder: (folder / name).mkdir()


def pipe(name):
    return lambda folder: os.mkfifo(folder / name)


def text(content, name="interactions.csv"):
    def write(folder):
        (folder / "interactions.parquet").unlink()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def arrow(**columns):
    def write(folder):
        parquet.write_table(pa.table(columns), folder / "interactions.parquet")

    return write


def loop(folder):
    (folder / "text.npy").symlink_to("text.npy")


def bomb(folder):
    user = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 100_000]))
    columns = pa.table({"user_id": user, "item_id": np.zeros(20_000, np.int64)})
    parquet.write_table(columns, folder / "interactions.parquet", store_schema=False)
    assert (folder / "interactions.parquet").stat().st_size < 200_000


def many_zeros(folder):
    """Twenty million rows in a few kilobytes: told from the footer alone, before a row is read."""
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64())])
    part = pa.table({"user_id": np.zeros(10**6, np.int64), "item_id": np.zeros(10**6, np.int64)}, schema)
    with parquet.ParquetWriter(folder / "interactions.parquet", schema) as writer:
        for _ in range(20):
            writer.write_table(part)


CASES = {
    "truncated array": (cut, "unreadable-array", "truncated: 187 bytes are fewer than its header promises"),
    "empty array": (array("", b""), "unreadable-array", "not readable"),
    "no bytes": (lambda folder: (folder / "text.npy").touch(), "unreadable-array", "truncated: 0 bytes"),
    "terabytes promised": (array(shape("(500000000000, 512)")), "unreadable-array", "fewer than its header promises"),
    "terabytes of nothing": (huge_and_sparse, "array-type", "shape [250000000000, 1]"),
    "more than can be counted": (array(shape("(4611686018427387904, 16)")), "unreadable-array", "not readable"),
    "beyond 64 bits": (array(shape(f"({2**70}, 4)")), "unreadable-array", "not readable"),
    "negative": (array(shape("(-5, 4)")), "unreadable-array", "not readable"),
    "no rows": (array(shape("(0, 4)")), "row-count", "0 rows"),
    "no header": (array("{'descr': '<f4'}"), "unreadable-array", "not readable"),
    "code for a header": (array("__import__('os').abort()"), "unreadable-array", "not readable"),
    "nested header": (array("(" * 5_000), "unreadable-array", "not readable"),
    "unknown version": (array(shape("(5, 3)"), version=b"\x09\x00"), "unreadable-array", "not readable"),
    "long header": (array(shape("(5, 3)") + " " * 60_000), "unreadable-array", "not readable"),
    "objects": (saved(np.array([{}] * 5, object), allow_pickle=True), "unreadable-array", "holds Python objects"),
    "objects without a pickle": (array(shape("(5, 3)", "'|O'"), b"x"), "unreadable-array", "holds Python objects"),
    "an archive": (archive, "unreadable-array", "is an .npz archive"),
    "a structure": (saved(np.zeros(5, [("a", "f4")])), "array-type", "shape [5]"),
    "complex": (saved(np.ones((5, 3), complex)), "array-type", "complex128 of shape [5, 3]"),
    "a folder for an array": (directory("text.npy"), "unreadable-array", "is a directory, not a file"),
    "a pipe for an array": (pipe("text.npy"), "unreadable-array", "is a pipe or device, not a file"),
    "a folder for a table": (directory("items.csv"), "not-a-file", "items.csv: is a directory, not a file"),
    "a pipe for a table": (pipe("users.parquet"), "not-a-file", "is a pipe or device, not a file"),
    "a folder for the settings": (directory("dataset.toml"), "bad-toml", "not a file"),
    "a pipe for the settings": (pipe("dataset.toml"), "bad-toml", "not a file"),
    "a loop of links": (loop, "broken-link", "links to text.npy, which is not there"),
    "nested settings": (lambda folder: (folder / "dataset.toml").write_text("a = " + "[" * 50_000), "bad-toml",
                        "not valid TOML"),
    "long settings": (lambda folder: (folder / "dataset.toml").write_bytes(b"#" * 2_000_000), "bad-toml",
                      "2000000 bytes; allowed: a file of at most 1048576 bytes"),
    "settings of bytes": (lambda folder: (folder / "dataset.toml").write_bytes(b"\xff\xfe"), "bad-toml", "not valid"),
    "numbers for names": (lambda folder: (folder / "dataset.toml").write_text("modalities = [1]"), "bad-value",
                          "modalities = [1]. Allowed: names in quotes"),
    "a number for a column": (lambda folder: (folder / "dataset.toml").write_text("[columns]\nvalue = 1"),
                              "bad-value", "columns.value = 1"),
    "empty table": (text(""), "unreadable-table", "the file is empty (0 bytes)"),
    "empty parquet": (text("", "interactions.parquet"), "unreadable-table", "the file is empty (0 bytes)"),
    "text for parquet": (text("user_id,item_id\n1,1\n", "interactions.parquet"), "unreadable-table",
                         "not readable as Parquet"),
    "parquet for text": (text(b"PAR1\x15\x04\xff\xff\xffPAR1"), "unreadable-table", "not readable as CSV"),
    "blank lines": (text("\n\n\n"), "unreadable-table", "the first line is empty"),
    "UTF-16": (text("user_id,item_id\n1,1\n".encode("utf-16")), "unreadable-table", "not readable as CSV in UTF-8"),
    "Latin-1": (text("user_id,item_id\nJürgen,1\n".encode("latin-1")), "unreadable-table", "UTF-8"),
    "one endless line": (text("user_id,item_id," + "x" * 3_000_000), "unreadable-table",
                         "the first line is longer than 1,048,576 characters"),
    "an endless cell": (text("user_id,item_id\n1," + "x" * 3_000_000 + "\n"), "unreadable-table", "not readable"),
    "mixed types": (text("user_id,item_id,timestamp,value\n1,1,1600000000,5\n2,1,soon,good\n"), "bad-timestamp",
                    "line 3: 'soon'"),
    "mixed values": (text("user_id,item_id,value\n1,1,5\n2,1,good\n"), "not-numbers", "line 3: 'good'"),
    "unsigned beyond 63 bits": (arrow(user_id=pa.array([1, 2**63 + 5], pa.uint64()), item_id=[1, 2]), "id-type",
                                "1 ids do not fit 64-bit integers (e.g. 9223372036854775813). Write them as text"),
    "decimals beyond 64 bits": (arrow(user_id=[1.0, 2.0**70], item_id=[1, 2]), "id-type",
                                "1 ids are decimals beyond 2^53, where digits are lost"),
    "infinite ids": (arrow(user_id=[1.0, float("inf")], item_id=[1, 2]), "id-type", "digits are lost"),
    "a dictionary bomb": (bomb, "oversized-table", "unfold to more than 0.25 GiB"),
    "rows out of nothing": (many_zeros, "oversized-table", "unfold to more than 0.25 GiB"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_one_clear_line(make_folder, capsys, case):
    damage, code, words = CASES[case]
    folder = make_folder(
        interactions=LOG, items={"item_id": [0, 1, 2, 3, 4]} if code == "row-count" else None
    )
    damage(folder)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(DataError) as caught:
        load_dataset(str(folder))
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert code in {fault.code for fault in check(str(folder)) if fault.severity == "error"}
    assert time.process_time() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000  # kilobytes


def test_the_command_says_it_in_a_line_and_gives_status_3(make_folder, capsys):
    folder = make_folder(interactions=LOG)
    huge_and_sparse(folder)
    assert main(["data", "describe", str(folder)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) <= 4
    assert "text.npy" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("big", [2**40, 2**53 + 1, 2**63 - 2])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_large_integers_are_ids_like_others(make_folder, big, ending):
    frame = pd.DataFrame({"user_id": [big, 7, 7, big], "item_id": [1, 2, big + 1, big]})
    folder = make_folder(interactions=frame if ending == "parquet" else frame.to_csv(index=False))
    data = load_dataset(str(folder))
    assert data.users.tolist() == [7, big]
    assert data.items.tolist() == [1, 2, big, big + 1]


@pytest.mark.parametrize("big", [2**40, 2**62])
def test_a_large_integer_is_no_row_of_an_array(make_folder, big):
    folder = make_folder(interactions={"user_id": [0, 0], "item_id": [1, big]}, text=GOOD)
    with pytest.raises(
        DataError, match=rf"1 items outside the catalogue \(0 to 4, the feature rows\): {big}"
    ):
        load_dataset(str(folder))


def test_an_id_beyond_64_bits_is_text_and_kept_whole(make_folder):
    big = 2**70
    nearly = make_folder("nearly", interactions=f"user_id,item_id\n{2**63},1\n7,1\n")
    assert load_dataset(str(nearly)).users.tolist() == ["7", str(2**63)]
    folder = make_folder(interactions=f"user_id,item_id\n{big},1\n{big + 1},1\n{big},2\n")
    assert load_dataset(str(folder)).users.tolist() == [str(big), str(big + 1)]
    mixed = make_folder("mixed", interactions=f"user_id,item_id\n1,1\n{big},1\n3,1\n")
    assert load_dataset(str(mixed)).users.tolist() == ["1", str(big), "3"]
    assert "mixed-ids" in {fault.code for fault in check(str(mixed))}


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_marks_and_line_ends_change_nothing(make_folder, start, end, delimiter):
    lines = ["user_id,item_id,value", "a,1,5", "a,2,4", "b,1,3"]
    content = start + end.join(line.replace(",", delimiter) for line in lines) + end
    data = load_dataset(str(make_folder(interactions=content)))
    assert data.users.tolist() == ["a", "b"]
    assert data.items.tolist() == [1, 2]
    assert "csv-marks" in {fault.code for fault in check(data.source)} or (start, end) == ("", "\n")


def test_a_link_out_of_the_folder_is_followed_and_said(make_folder):
    folder = make_folder(interactions=LOG)
    np.save(folder.parent / "far.npy", GOOD)
    (folder / "text.npy").symlink_to(folder.parent / "far.npy")
    (folder / "image.npy").symlink_to("text.npy")
    data = load_dataset(str(folder))
    assert data.modalities["text"].width == 3
    found = [fault.where for fault in check(str(folder)) if fault.code == "link-outside"]
    assert [Path(where).name for where in found] == ["image.npy", "text.npy"]


@contextmanager
def nobody() -> Iterator[None]:
    """Act as a user without rights: root may read everything."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if mine == 0:
            os.seteuid(mine)


@pytest.mark.parametrize("locked", [".", "interactions.parquet", "text.npy", "dataset.toml", "items.csv"])
def test_what_may_not_be_read_is_said(make_folder, tmp_path_factory, locked):
    folder = make_folder(interactions=LOG, text=GOOD, dataset='name = "x"', items="item_id\n0\n1\n2\n3\n4\n")
    check(str(folder))  # what is imported only now could not be read either
    above = [
        folder,
        *(path for path in folder.parents if str(path).startswith(str(tmp_path_factory.getbasetemp()))),
    ]
    above += [tmp_path_factory.getbasetemp().parent]
    modes = {path: path.stat().st_mode for path in above}
    try:
        for path in above:
            path.chmod(0o755)
        (folder / locked).chmod(0)
        with nobody():
            faults = check(str(folder))
            with pytest.raises(DataError, match=r"may not be read \(Permission denied\)\. Ask for the right"):
                load_dataset(str(folder))
        assert "no-access" in {fault.code for fault in faults}
    finally:
        (folder / locked).chmod(0o755)
        for path, mode in modes.items():
            path.chmod(mode)
