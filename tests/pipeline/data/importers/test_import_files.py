"""Files of strangers: what is read, and how every broken one is named."""

import gzip
import io
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.data.importers import files
from stagelens.pipeline.errors import DataError

lines_of_text = st.lists(
    st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8"), max_size=9), max_size=20
)


@settings(deadline=None, max_examples=60)
@given(lines_of_text, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans(), st.booleans())
def test_lines_come_back_with_their_numbers(tmp_path_factory, lines, end, mark, packed, last):
    path = tmp_path_factory.getbasetemp() / f"lines.txt{'.gz' if packed else ''}"
    data = b"\xef\xbb\xbf" * mark + (end.join(lines) + end * last).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    if lines and (lines[0].startswith("\ufeff") and not mark):
        return
    wanted = lines[:-1] if lines and not lines[-1] and not last else lines
    if not lines and last:
        wanted = [""]
    if not wanted:
        with pytest.raises(DataError, match=r"empty|no text"):
            list(files.text_lines(path))
    else:
        assert list(files.text_lines(path)) == list(enumerate(wanted, 1))


def test_lines_across_the_blocks_that_are_read(tmp_path):
    lines = ["x" * 700_000, "é" * 400_000, "", "y" * (1 << 20)]
    (tmp_path / "long").write_text("\n".join(lines), encoding="utf-8")
    assert [line for _, line in files.text_lines(tmp_path / "long")] == lines


def test_a_line_as_long_as_allowed_and_one_longer(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes("a\néé\n".encode())
    assert list(files.text_lines(path, limit=4)) == [(1, "a"), (2, "éé")]
    for content in ("a\nééé\n", "a\nééé"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match="line 2: is longer than 4 bytes"):
            list(files.text_lines(path, limit=4))
    with pytest.raises(DataError, match="holds more than 3 bytes"):
        list(files.text_lines(path, max_bytes=3))


def bad_crc(data):
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 1
    return bytes(packed)


TEXTS = {
    "empty": ("a.txt", b"", "the file is empty"),
    "no text": ("a.gz", gzip.compress(b""), "holds no text"),
    "mark only": ("a.txt", b"\xef\xbb\xbf", "holds no text"),
    "latin": ("a.txt", b"a\nb\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    "utf-16": ("a.txt", "ab".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    "zero": ("a.txt", b"a\nb\n\0\n", "line 3: holds a zero byte"),
    "endless": ("a.txt", b"x" * (1 << 21), "line 1: is longer than 1,048,576 bytes"),
    "truncated": ("a.gz", gzip.compress(os.urandom(4000).hex().encode())[:-20], "gzip is truncated"),
    "corrupt": ("a.gz", bad_crc(b"abc\n" * 99), "not readable as gzip"),
    "no gzip": ("a.gz", b"plain\n", "not readable as gzip"),
}


@pytest.mark.parametrize("fault", TEXTS)
def test_a_broken_text_is_named(tmp_path, fault):
    name, content, said = TEXTS[fault]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.*{said}"):
        list(files.text_lines(tmp_path / name))


def test_a_bomb_is_stopped_before_it_fills_the_memory(tmp_path):
    with gzip.open(tmp_path / "bomb.gz", "wb", 6) as stream:
        for _ in range(36):
            stream.write(b"0\n" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb.gz: .* bytes of gzip grew to .*allowed: 200 times"):
        for _ in files.line_blocks(tmp_path / "bomb.gz"):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 128 << 20


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # would wait for ever
    (tmp_path / "loop").symlink_to("loop")
    for name, said in {
        "folder": "is a directory",
        "pipe": "is a pipe",
        "loop": "no such file",
        "x": "no such",
    }.items():
        with pytest.raises(DataError, match=said):
            next(files.text_lines(tmp_path / name))
        with pytest.raises(DataError, match=said):
            files.array(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"is a file\. Allowed: a folder"):
        files.folder(tmp_path / "file")
    with pytest.raises(DataError, match="there is no such folder"):
        files.folder(tmp_path / "nothing")


def npy(header, data=b"", version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


def said_of(shape, descr="'<f4'", order=False):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


def packed(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


ARRAYS = {
    "no array": (b"hello world", "is not a .npy file"),
    "zip": (packed(a=np.ones(3)), "is an .npz archive"),
    "short": (b"\x93NUMPY\x01", "is not a .npy file"),
    "cut header": (npy(said_of((2, 2)))[:30], "truncated inside its header"),
    "truncated": (npy(said_of((2, 2)), bytes(15)), "truncated: .* bytes are fewer"),
    "huge": (npy(said_of((2**40, 2**40))), "fewer than the 4,835,703,278,458,516,698,824,7"),
    "overflow": (npy(said_of((2**64, 2))), "names the shape"),
    "negative": (npy(said_of((-1, 2))), "names the shape"),
    "boolean": (npy(said_of((True, 2))), "names the shape"),
    "no rows": (npy(said_of((0, 2))), "holds nothing"),
    "objects": (npy(said_of((1, 1), "'|O'"), bytes(8)), "Python objects"),
    "fields": (npy(said_of((1, 1), "[('a', '<f4')]"), bytes(8)), "named fields"),
    "no type": (npy(said_of((1, 1), "'<f99'"), bytes(8)), "header is not readable"),
    "code": (npy("__import__('os').system('true')\n"), "header is not readable"),
    "deep": (npy("(" * 9000), "header is not readable"),
    "claims": (
        npy(said_of((1, 1)), version=2)[:8] + b"\xff\xff\xff\x7f",
        "header claims 2,147,483,647 bytes",
    ),
    "integers": (npy(said_of((1, 1), "'<i8'"), bytes(8)), r"holds int64 of shape \[1, 1\]. Allowed: floats"),
    "flat": (npy(said_of((3,)), bytes(12)), "with 2 axes"),
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_a_broken_array_is_named(tmp_path, fault):
    content, said = ARRAYS[fault]
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"a.npy: .*{said}"):
        files.array(tmp_path / "a.npy")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_mapped_as_numpy_reads_them(tmp_path, version, order):
    values = np.asarray(np.arange(12).reshape(4, 3), dtype=">f8", order=order)
    with (tmp_path / "a.npy").open("wb") as stream:
        np.lib.format.write_array(stream, values, version=version)
    opened = files.array(tmp_path / "a.npy")
    assert isinstance(opened, np.memmap)
    assert opened.dtype == np.load(tmp_path / "a.npy").dtype
    np.testing.assert_array_equal(opened, values)


def test_names_that_leave_a_folder_are_refused(tmp_path):
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    assert files.inside(root, "inner/a..b.npy") == root / "inner" / "a..b.npy"
    for name in (
        "../x",
        "inner/../../x",
        "/etc/passwd",
        "out/x",
        "..\\x",
        "C:\\x",
        "~/x",
        "",
        " ",
        "a\0b",
        "loop",
    ):
        with pytest.raises(DataError, match="which leaves this folder"):
            files.inside(root, name)


def parsed(read, text):
    """The number, or why it is refused."""
    try:
        return read(text, "file, line 1")
    except DataError as error:
        return str(error)


@given(st.one_of(st.integers().map(str), st.text(max_size=5), st.floats().map(repr)))
def test_a_number_is_an_integer_of_64_bits_or_refused(text):
    value = parsed(files.number, text)
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(text) < 2**63:
        assert value == int(text)
    else:
        assert str(value).startswith("file, line 1: ")


@given(st.one_of(st.floats().map(repr), st.floats().map("{:.3f}".format), st.text(max_size=5)))
def test_a_decimal_is_finite_or_refused(text):
    value = parsed(files.decimal, text)
    if isinstance(value, float):
        assert value == float(text)
        assert np.isfinite(value)
    else:
        assert value.startswith("file, line 1: ")


def test_numbers_that_only_python_reads_are_refused():
    for text in ("1_0", "0x1", "nan", "inf", "1e999", "٣", "", " 1"):
        assert "Allowed: a finite number" in parsed(files.decimal, text)
        assert "Allowed: an integer of 64 bits" in parsed(files.number, text)
    assert [parsed(files.decimal, text) for text in ("1.", ".5", "-2e3", "+4")] == [1, 0.5, -2000, 4]


def test_vectors_come_in_blocks_of_bounded_size():
    values = np.zeros((9, files.BLOCK_BYTES // 16), np.float32)
    blocks = list(files.vector_blocks(np.arange(9), values))
    assert [len(block.ids) for block in blocks] == [4, 4, 1]
    assert np.concatenate([block.ids for block in blocks]).tolist() == list(range(9))
    with pytest.raises(DataError, match="9 rows of vectors against 8 item ids"):
        list(files.vector_blocks(np.arange(8), values))
