"""What the names in a pickle stand for: notes of matrices, arrays, types and numbers, made into arrays afterwards."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPARSE = re.compile(r"scipy\.sparse(?:\._?(?:csr|csc|coo))?\.(csr|csc|coo)_(?:matrix|array)")
_DTYPE = re.compile(r"[iu][1248]|f[248]|b1|O8?")
_NAMES = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    **{f"numpy.{core}.multiarray._reconstruct": "reconstruct" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "frombuffer" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": "scalar" for core in ("core", "_core")},
    "_codecs.encode": "encode",
    **{f"{module}._reconstructor": "remake" for module in ("copyreg", "copy_reg")},
    **{f"{module}.object": "object" for module in ("builtins", "__builtin__")},
    **{f"{module}.set": "set" for module in ("builtins", "__builtin__")},
}


class Refused(ValueError):
    """What a pickle holds is not allowed; whoever reads the file says where."""


@dataclass(slots=True)
class Sparse:
    """A sparse matrix as its pickle states it.

    Attributes:
        format: ``csr``, ``csc`` or ``coo``.
        state: Its attributes.
    """

    format: str
    state: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Name:
    """A known class or function; it is never imported."""

    name: str


@dataclass(slots=True)
class ArrayType:
    """A NumPy type: a letter and a size, then a byte order."""

    code: str
    order: str = "="


@dataclass(slots=True)
class ArrayNote:
    """What an array was made of; its data are bytes, or a list of objects."""

    shape: tuple[int, ...] = ()
    dtype: ArrayType | None = None
    fortran: bool = False
    data: Any = None


def known(module: str, name: str) -> Name:
    """Return what a class or function stands for.

    Raises:
        Refused: It is none of those that matrices and arrays need.
    """
    full = f"{module}.{name}"
    matrix = _SPARSE.fullmatch(full)
    if matrix is not None:
        return Name(matrix[1])
    if full not in _NAMES:
        raise Refused(f"names {full[:120]!r}, which is never made from a pickle")
    return Name(_NAMES[full])


def called(name: Name, given: tuple[Any, ...]) -> Any:
    """Return the note of a call."""
    return _CALLS[name.name](given)


def build(target: Any, state: Any) -> None:
    """Note the state that an object is given.

    Raises:
        Refused: Named fields, or an object that takes no state.
    """
    if isinstance(target, ArrayType):
        order, *rest = state[1:]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in rest[:3]):
            raise Refused("holds an array of named fields")
        target.order = order
    elif isinstance(target, ArrayNote):
        _fill(target, *state[1:])
    elif isinstance(target, Sparse) and isinstance(state, dict):
        target.state = state
    else:
        raise Refused(f"gives a {type(target).__name__} a state")


def finished(value: Any) -> Any:
    """Return arrays for the notes that were taken of them, within a matrix or a dictionary too.

    Raises:
        Refused: An array whose bytes do not fit its shape.
    """
    if isinstance(value, ArrayNote):
        made = _made(value)
        if isinstance(made, list) and len(made) == 1 and isinstance(made[0], dict):
            return [finished(made[0])]  # how numpy.save keeps a dictionary
        return made
    if isinstance(value, tuple):
        return tuple(_made(part) if isinstance(part, ArrayNote) else part for part in value)
    if isinstance(value, dict):
        return {key: _made(part) if isinstance(part, ArrayNote) else part for key, part in value.items()}
    if isinstance(value, Sparse):
        value.state = {
            key: finished(part) for key, part in (value.state or {}).items() if not isinstance(part, Sparse)
        }
    return value


def _made(note: ArrayNote) -> NDArray[Any] | list[Any]:
    """Return the array, or the list of values of an array of objects."""
    if note.dtype is None or note.data is None:
        raise Refused("holds an array without values")
    count = math.prod(note.shape)
    if note.dtype.code.startswith("O"):
        if not isinstance(note.data, list) or len(note.data) != count:
            raise Refused(f"an array of objects lacks its {count:,} values")
        return note.data
    dtype = np.dtype("?" if note.dtype.code == "b1" else note.dtype.order.replace("|", "=") + note.dtype.code)
    size = len(note.data) if isinstance(note.data, bytes | memoryview) else 0
    if size != count * dtype.itemsize:
        raise Refused(
            f"an array of shape {list(note.shape)} and type {dtype} needs {count * dtype.itemsize:,} bytes, "
            f"and there are {size:,}"
        )
    flat: NDArray[Any] = np.frombuffer(note.data, dtype)
    return flat.reshape(note.shape, order="F" if note.fortran else "C")


def _fill(array: ArrayNote, shape: Any, dtype: Any, fortran: Any, data: Any) -> None:
    axes = shape if type(shape) is tuple else (None,)
    if len(axes) > 2 or not all(type(axis) is int and 0 <= axis < 2**63 for axis in axes):
        raise Refused(f"an array has {len(axes)} axes, or a length that is none")
    if not isinstance(dtype, ArrayType):
        raise Refused("an array has no type")
    array.shape, array.dtype, array.fortran, array.data = axes, dtype, fortran is True, data


def _typed(given: tuple[Any, ...]) -> ArrayType:
    code = str(given[0], "latin-1") if isinstance(given[0], memoryview) else given[0]
    if not isinstance(code, str):  # never written out: lists within lists grow without end
        raise Refused("holds an array whose type is no text")
    if not _DTYPE.fullmatch(code):
        raise Refused(f"holds an array of type {code[:20]!r}")
    return ArrayType(code)


def _frombuffer(given: tuple[Any, ...]) -> ArrayNote:
    data, dtype, shape, order = given
    array = ArrayNote()
    _fill(array, shape, dtype, order == "F", data)
    return array


def _scalar(given: tuple[Any, ...]) -> Any:
    dtype, data = given
    return np.asarray(_made(ArrayNote((1,), dtype, False, data)))[0].item()


def _remake(given: tuple[Any, ...]) -> Any:
    """Make the object that protocols 0 and 1 describe as (class, object, None)."""
    made, base, state = given
    if base != Name("object") or state is not None or made.name not in ("csr", "csc", "coo"):
        raise Refused("makes an object that is no matrix")
    return Sparse(made.name)


def _array(given: tuple[Any, ...]) -> ArrayNote:
    if given[0] != Name("ndarray"):
        raise Refused("makes an array of another class")
    return ArrayNote()


def _encoded(given: tuple[Any, ...]) -> bytes:
    text, encoding = given
    if encoding not in ("latin1", "latin-1"):
        raise Refused(
            f"encodes text as {encoding[:20] if isinstance(encoding, str) else 'what is no name'!r}"
        )
    return bytes(text, "latin-1")


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "reconstruct": _array,
    "frombuffer": _frombuffer,
    "dtype": _typed,
    "scalar": _scalar,
    "encode": _encoded,
    "remake": _remake,
    "set": lambda given: (
        given[0] if isinstance(given[0], list) else []
    ),  # no copy: a file may ask for thousands
    "csr": lambda _: Sparse("csr"),
    "csc": lambda _: Sparse("csc"),
    "coo": lambda _: Sparse("coo"),
}
