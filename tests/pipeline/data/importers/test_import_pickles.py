"""Pickles of strangers: what SciPy and NumPy write is read, and nothing else is made of a file."""

from __future__ import annotations

import collections
import functools
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from stagelens.pipeline.data.importers.pickled import Sparse
from stagelens.pipeline.data.importers.pickles import LIST_STEPS, load
from stagelens.pipeline.data.importers.sparse import Matrix
from stagelens.pipeline.errors import DataError

DENSE = np.array([[0, 2, 0, 0], [1, 0, 0, 3], [0, 0, 0, 0]])
KINDS = [sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array, sp.csc_array, sp.coo_array]
PICKLE = pickle.dumps(sp.csr_matrix(DENSE), 4)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def dense(path: Path) -> Any:
    matrix = Matrix.of(path, load(path))
    made = np.zeros(matrix.shape)
    for row, column, values in matrix.blocks():
        np.add.at(made, (row, column), values)
    return made


def everything(path: Path) -> None:
    value = load(path)
    if isinstance(value, Sparse):
        matrix = Matrix.of(path, value)
        matrix.kinds()
        list(matrix.blocks())


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.call = (function, given)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_matrix_comes_out_as_it_went_in(kind, protocol, tmp_path):
    path = written(tmp_path / "m.pkl", pickle.dumps(kind(DENSE), protocol))
    np.testing.assert_array_equal(dense(path), DENSE)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", ">f4", ">i2"])
def test_every_type_of_number_is_read(dtype, tmp_path):
    matrix = sp.csr_matrix(DENSE)
    matrix.data = matrix.data.astype(dtype)
    matrix.indices = matrix.indices.astype(">i8")
    np.testing.assert_array_equal(dense(written(tmp_path / "m.pkl", pickle.dumps(matrix))), DENSE)


def test_logical_values_and_wide_indices_are_read(tmp_path):
    matrix = sp.coo_matrix((np.array([True]), ([2**40 - 1], [7])), shape=(2**40, 2**41))
    path = written(tmp_path / "m.pkl", pickle.dumps(matrix))
    found = Matrix.of(path, load(path))
    assert found.shape == (2**40, 2**41)
    assert [part.tolist() for part in next(found.blocks())] == [[2**40 - 1], [7], [True]]


@pytest.mark.parametrize("old", ["scipy.sparse.csr", "scipy.sparse"])
def test_module_paths_of_older_libraries_are_known(old, tmp_path):
    data = pickle.dumps(sp.csr_matrix(DENSE), 2)
    assert b"numpy._core" in data
    data = data.replace(b"scipy.sparse._csr\n", old.encode() + b"\n").replace(b"numpy._core", b"numpy.core")
    np.testing.assert_array_equal(dense(written(tmp_path / "m.pkl", data)), DENSE)


def test_rows_and_columns_as_older_scipy_kept_them(tmp_path):
    matrix = sp.coo_matrix(DENSE)
    state = {"_shape": (3, 4), "maxprint": 50, "row": matrix.row, "col": matrix.col, "data": matrix.data}
    data = pickle.dumps(state, 3)
    head = b"\x80\x03cscipy.sparse.coo\ncoo_matrix\nq\xc8)\x81"
    np.testing.assert_array_equal(dense(written(tmp_path / "m.pkl", head + data[2:-1] + b"b.")), DENSE)


def test_bytes_stay_in_the_file(tmp_path):
    path = written(tmp_path / "m.pkl", pickle.dumps(sp.csr_matrix(np.ones((2000, 500))), 4))
    tracemalloc.start()
    found = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.state["data"]) == 1_000_000
    assert peak < 200_000
    with pytest.raises(ValueError, match="read-only"):
        found.state["data"][0] = 2


def test_lists_and_numbers_of_numpy(tmp_path):
    said = {np.int64(3): [np.int32(4), 5], 7: [], 9: {1}}
    assert load(written(tmp_path / "d.pkl", pickle.dumps(said)), steps=LIST_STEPS) == {
        3: [4, 5],
        7: [],
        9: [1],
    }
    rows = np.array([[0, 5, 6], [1, 7]], dtype=object)
    assert load(written(tmp_path / "r.pkl", pickle.dumps(rows))) == [[0, 5, 6], [1, 7]]
    array = np.asfortranarray(np.arange(6).reshape(3, 2))
    np.testing.assert_array_equal(load(written(tmp_path / "a.pkl", pickle.dumps(array))), array)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Calls(os.system, "touch owned"), f"{os.system.__module__}.system"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(getattr, "x", "upper"), "builtins.getattr"),
        (functools.partial(print, "x"), "functools.partial"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (Calls(np.load, "x", None, True), "numpy.load"),
        (Calls(np.zeros, 2**40), "numpy.zeros"),
        (sp.lil_matrix(DENSE), "scipy.sparse._lil.lil_matrix"),
        (sp.dok_matrix(DENSE), "scipy.sparse._dok.dok_matrix"),
        (np.array([], dtype="datetime64[s]"), "'M8'"),
        (np.zeros(2, dtype="c16"), "'c16'"),
        (np.zeros(2, dtype=[("a", "i4")]), "'V4'"),
        (np.zeros((2, 2, 2)), "3 axes"),
        (Path("x"), "pathlib."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_any_other_class_or_function_is_refused_by_its_name(made, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = name.replace("builtins.", "__builtin__." if protocol < 3 else "builtins.")
    with pytest.raises(DataError, match=r"Allowed: a SciPy matrix") as caught:
        load(written(tmp_path / "m.pkl", pickle.dumps(made, protocol)))
    assert name in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"(i__main__\nX\n.", "opcode INST is refused"),
        (b"(cos\nsystem\no.", "names 'os.system'"),
        (b"\x80\x02\x82\x01.", "opcode EXT1 is refused"),
        (b"Pname\n.", "opcode PERSID is refused"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER is refused"),
        (b"\x80\x04(}]\x92.", "opcode NEWOBJ_EX is refused"),
        (b"\xff.", "opcode 0xff is refused"),
        (b"\x80\x04\x8c\x0bos\nsystem..\x8c\x01x\x93.", "never made"),
        (b"cnumpy\nndarray\n(K\x02tR.", "not readable as a pickle"),
        (b"cnumpy\ndtype\n(X\x02\x00\x00\x00V9tR.", "array of type 'V9'"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00base64tR.", "encodes text as 'base64'"),
        (b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.", "no matrix"),
        (b"N}b.", "gives a NoneType a state"),
        (b"\x80\x04N", "truncated"),
        (b".", "ends with 0 values"),
        (b"(.", "ends with 1 values"),
        (b"NN.", "ends with 2 values"),
        (b"N.N.", "2 bytes follow the pickle"),
        (b"0.", "not readable"),
        (b"t.", "not readable"),
        (b"g5\n.", "not readable"),
        (b"}(]Nu.", "key of type list"),
        (b"}((NtNu.", "key of type tuple"),
        (b"PK\x03\x04rest", "torch.save writes one"),
        (b"\x1f\x8b\x08rest", "zip or gzip"),
        (b"user,item\n1,2\n", "not readable as a pickle"),
        (b"\x8a\x0a" + b"\x01" * 10 + b".", "not readable"),
        (b"I" + b"9" * 300 + b"\n.", "not readable"),
        (b"F1e5e5\n.", "not readable"),
    ],
)
def test_a_strange_pickle_is_refused(data, said, tmp_path):
    with pytest.raises(DataError, match=r"m\.pkl") as caught:
        load(written(tmp_path / "m.pkl", data))
    assert said in str(caught.value)


def _nested(depth: int) -> bytes:
    """Lists that hold the list before them twice; the last is kept under ``depth``."""
    inner = (b"0](h%bh%beq%b" % (bytes([k - 1]), bytes([k - 1]), bytes([k])) for k in range(1, depth + 1))
    return b"\x80\x04]q\x00" + b"".join(inner) + b"0"


OBJECTS = b"cnumpy\ndtype\nU\x02O8\x85Rq\x41cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"cnumpy\ndtype\nh\x40\x85R.", "type is no text"),
        (b"c_codecs\nencode\nU\x01ah\x40\x86R.", "encodes text as 'what is no name'"),
        (OBJECTS + b"\x85R(NU\x03abch\x41Nh\x40tb.", "1 axes"),
    ],
)  # fmt: skip
def test_lists_within_lists_are_never_written_out(data, said, tmp_path):
    """Written out, the 2^64 places of such a list would take for ever."""
    with pytest.raises(DataError, match=said):
        load(written(tmp_path / "m.pkl", _nested(64) + data))


def test_sets_made_of_one_list_cost_nothing(tmp_path):
    n, times = 10_000, 500
    data = b"\x80\x04](" + b"K\x01" * n + b"eq\x000](" + b"c__builtin__\nset\nh\x00\x85R" * times + b"e."
    path = written(tmp_path / "m.pkl", data)
    tracemalloc.start()
    try:
        made = load(path, steps=LIST_STEPS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(one) for one in made] == [n] * times
    assert peak < 16 * n + 3_000_000  # copies would take 8 n each


def test_dictionaries_of_arrays(tmp_path):
    said = {3: np.array([4, 5], np.int32), 7: np.array([1])}
    np.save(tmp_path / "d.npy", said, allow_pickle=True)
    start = (tmp_path / "d.npy").read_bytes().index(b"\x80")
    for made in (
        load(written(tmp_path / "d.pkl", pickle.dumps(said)), steps=LIST_STEPS),
        load(tmp_path / "d.npy", offset=start, steps=LIST_STEPS)[0],
    ):
        assert {user: items.tolist() for user, items in made.items()} == {3: [4, 5], 7: [1]}


def _array(shape: bytes, code: bytes, data: bytes) -> bytes:
    head = b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    kind = b"cnumpy\ndtype\n(X" + struct.pack("<i", len(code)) + code + b"\x89\x88tR"
    return head + b"(K\x01" + shape + kind + b"\x89" + data + b"tb."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc", "it claims 1,099,511,627,776 more"),
        (b"\x80\x04\x96" + struct.pack("<Q", 2**63) + b"abc", "claims"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"abc", "claims"),
        (b"\x80\x04X" + struct.pack("<I", 2**32 - 1) + b"abc", "claims"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N", "truncated"),
        (b"\x8b" + struct.pack("<I", 2**31 - 1) + b"abc", "refused"),
        (b"Nr" + struct.pack("<I", 2**32 - 1) + b"NNN.", "ends with 4 values"),  # a place in the memory
        (_array(b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85", b"f8", b"C\x01x"), "needs 8,796,093"),
        (_array(b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"\x85", b"O8", b"]"), "lacks its 1,099,511"),
        (_array(b"J\xff\xff\xff\xff\x85", b"f8", b"C\x00"), "a length that is none"),
        (b"\x80\x02(c_codecs\nencode\nq\x00X\xff\x00\x00\x00" + b"a" * 255 + b"q\x01X\x06\x00\x00\x00latin1q\x02"
         + b"h\x00(h\x01h\x02tR" * 100 + b"t.", "encodes more text than it holds"),
        (b"N0" * 60_000 + b"N.", "more than 100,000 steps"),
        (b"]" + b"](h\x00e" * 0 + b"q\x00" + b"(" + b"h\x00" * 200 + b"e" + b".", ""),  # contains itself
    ],
)  # fmt: skip
def test_a_small_pickle_never_costs_memory(data, said, tmp_path):
    path = written(tmp_path / "m.pkl", data)
    tracemalloc.start()
    try:
        if said:
            with pytest.raises(DataError) as caught:
                load(path)
            assert said in str(caught.value)
        else:
            assert len(load(path)) == 200
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"_shape": None}, "shape that is none"),
        ({"_shape": (3, -4)}, "shape (3, -4)"),
        ({"_shape": (2**70, 4)}, "a matrix of shape"),
        ({"_shape": (3, 4, 5)}, "shape (3, 4, 5)"),
        ({"indices": None}, "columns are no array"),
        ({"indices": np.zeros(3)}, "columns are no array"),
        ({"indptr": np.array([0, 1, 1, 2])}, "starts that do not divide 3 entries into 3 groups"),
        ({"indptr": np.array([0, 3, 1, 3])}, "starts that do not divide"),
        ({"indptr": np.array([0, 3])}, "starts that do not divide"),
        ({"data": np.ones(2)}, "3 entries with 2 values"),
        ({"data": np.array(["a", "b", "c"])}, "array of type 'U1'"),
        ({"data": np.array([1, np.nan, 1])}, "entry 1 is nan"),
        ({"indices": np.array([0, 4, 1])}, "entry 1 names column 4 of 4 columns"),
        ({"indices": np.array([0, -1, 1])}, "entry 1 names column -1"),
        ({"indices": np.array([0, 2**64 - 1, 1], np.uint64)}, "names column 18446744073709551615"),
    ],
)
def test_parts_that_do_not_fit_are_refused(state, said, tmp_path):
    matrix = sp.csr_matrix(DENSE.astype(float))
    vars(matrix).update(state)
    path = written(tmp_path / "m.pkl", pickle.dumps(matrix))
    with pytest.raises(DataError) as caught:
        everything(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_zeros_and_other_values_are_told(tmp_path):
    for values, said in (([1, 1, 1], (0, False)), ([1, 0, 1], (1, False)), ([1, 0.5, 0], (1, True))):
        matrix = sp.csr_matrix(DENSE.astype(float))
        matrix.data = np.array(values)
        path = written(tmp_path / "m.pkl", pickle.dumps(matrix))
        assert Matrix.of(path, load(path)).kinds() == said


def test_a_file_that_ends_early_is_refused_wherever_it_ends(tmp_path):
    for end in range(1, len(PICKLE)):
        with pytest.raises(DataError):
            load(written(tmp_path / "m.pkl", PICKLE[:end]))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(PICKLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_bytes_changed_at_random_are_read_or_refused(changes):
    data = bytearray(PICKLE)
    for place, byte in changes:
        data[place] = byte
    path = Path(os.environ["PYTEST_CURRENT_TEST_FOLDER"]) / "m.pkl"
    path.write_bytes(bytes(data))
    try:
        everything(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  # either outcome is right


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_CURRENT_TEST_FOLDER", str(tmp_path_factory.mktemp("random")))
        yield


@pytest.mark.parametrize(("make", "said"), [(Path.mkdir, "is a directory"), (Path.touch, "is empty")])
def test_no_file_is_refused(make, said, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "m.pkl")
    make(tmp_path / "m.pkl")
    with pytest.raises(DataError, match=said):
        load(tmp_path / "m.pkl")
