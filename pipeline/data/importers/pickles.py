"""Pickles of sparse matrices, arrays and lists of ids, read by a machine that can make nothing else.

Python's unpickler imports and calls what a file names, and reserves what a file claims. This one knows the
opcodes of plain values and the few names that SciPy and NumPy write for CSR, CSC and COO matrices and arrays; it
notes what they were called with and calls none of them. Bytes stay in the memory map of the file.

References:
    Python's ``pickletools`` (the opcodes, protocols 0 to 5).
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stagelens.pipeline.data.importers.files import regular
from stagelens.pipeline.data.importers.pickled import Name, Refused, build, called, finished, known
from stagelens.pipeline.errors import DataError

MATRIX_STEPS = 100_000
"""Opcodes of a matrix at most; SciPy writes about a hundred."""
LIST_STEPS = 20_000_000
"""Opcodes of lists of ids at most: one for every id and three for every user."""
_ALLOWED = (
    "Allowed: a SciPy matrix (csr, csc or coo), or lists of integer ids, in a pickle of NumPy and SciPy."
)
_OPCODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class _Mark:
    """Where a group of values starts."""


_MARK = _Mark()


def load(path: Path, *, offset: int = 0, steps: int = MATRIX_STEPS) -> Any:
    """Return what a pickle holds.

    Args:
        path: The file.
        offset: Bytes before the pickle (the header of a ``.npy`` file).
        steps: Opcodes that it may have.

    Returns:
        A ``Sparse``, an array, or lists, tuples and dictionaries of numbers and text. Arrays are read-only views of
        the file wherever it holds them as bytes; an array of objects comes as its list of values.

    Raises:
        DataError: No file; a name or an opcode that is not allowed (it is said which); truncated or broken.
    """
    with regular(path).open("rb") as stream:
        view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))[offset:]
    if bytes(view[:2]) in (b"PK", b"\x1f\x8b"):
        raise DataError(f"{path}: is a zip or gzip archive (torch.save writes one), not a pickle. {_ALLOWED}")
    try:
        return finished(_Machine(path, view, steps).run())
    except Refused as error:
        raise DataError(f"{path}: {error}. {_ALLOWED}") from error


class _Machine:
    """The stack, the marks and the memory of one pickle."""

    def __init__(self, path: Path, view: memoryview, steps: int) -> None:
        self.path, self.view, self.steps = path, view, steps
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0

    def run(self) -> Any:
        """Return the value that the pickle ends with."""
        for _ in range(self.steps):
            start = self.at
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                break
            step = _STEPS.get(code)
            if step is None:
                name = _OPCODES.get(code, f"0x{code:02x}")
                raise DataError(f"{self.path}, byte {start}: opcode {name} is refused. {_ALLOWED}")
            try:
                step(self)
            except Refused as error:
                raise Refused(f"byte {start}: {error}") from error
            except DataError:
                raise
            except (IndexError, KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
                raise DataError(
                    f"{self.path}, byte {start}: not readable as a pickle ({_OPCODES[code]}). Get it again "
                    "from where it came."
                ) from error
        else:
            raise DataError(
                f"{self.path}: more than {self.steps:,} steps, which no matrix needs. {_ALLOWED} Save it as CSR."
            )
        if len(self.stack) != 1 or isinstance(self.stack[0], _Mark):
            raise DataError(f"{self.path}: the pickle ends with {len(self.stack)} values. {_ALLOWED}")
        if self.at != len(self.view):
            raise DataError(
                f"{self.path}: {len(self.view) - self.at:,} bytes follow the pickle. Allowed: one object a file."
            )
        return self.stack[0]

    def take(self, count: int) -> memoryview:
        """Return the next bytes."""
        if count < 0 or count > len(self.view) - self.at:
            raise DataError(
                f"{self.path}: truncated: at byte {self.at:,} of {len(self.view):,} it claims {count:,} more. "
                "Get it again from where it came."
            )
        found = self.view[self.at : self.at + count]
        self.at += count
        return found

    def sized(self, width: int) -> memoryview:
        """Return bytes whose count stands before them."""
        return self.take(int.from_bytes(self.take(width), "little"))

    def line(self, limit: int | None = 200) -> str:
        """Return the text up to the end of the line."""
        end, most = self.at, len(self.view) if limit is None else min(self.at + limit, len(self.view))
        piece = 1 << 16
        while end < most:
            found = bytes(self.view[end : min(end + piece, most)]).find(b"\n")
            if found >= 0:
                text = bytes(self.take(end + found - self.at))
                self.take(1)
                return text.decode("raw-unicode-escape" if limit is None else "ascii")
            end += piece
        raise ValueError("no end of line")

    def group(self) -> list[Any]:
        """Return the values above the last mark and drop both."""
        place = len(self.stack) - 1
        while not isinstance(self.stack[place], _Mark):
            place -= 1
            if place < 0:
                raise IndexError("no mark")
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def pop(self) -> Any:
        """Return the topmost value."""
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a mark, not a value")
        return value

    def call(self, name: Any, given: Any) -> None:
        """Push what a known name makes of what it is given."""
        if not isinstance(name, Name) or type(given) is not tuple:
            raise TypeError("no name")
        if name.name == "encode":
            self.encoded += len(given[0])
            if self.encoded > len(self.view):  # a file encodes what it holds once
                raise Refused("encodes more text than it holds")
        self.stack.append(called(name, given))

    def put(self, place: int) -> None:
        """Remember the topmost value."""
        self.memo[place] = self.stack[-1]

    def pairs(self, target: Any, values: list[Any]) -> None:
        """Add keys and values to a dictionary; keys are integers or text."""
        keys = [str(key, "latin-1") if isinstance(key, memoryview) else key for key in values[::2]]
        for key in keys:
            if type(key) not in (int, str):
                raise Refused(f"has a key of type {type(key).__name__}")
        if type(target) is not dict:
            raise TypeError("no dictionary")
        target.update(zip(keys, values[1::2], strict=True))

    def extend(self, target: Any, values: list[Any]) -> None:
        """Add values to a list."""
        if type(target) is not list:
            raise TypeError("no list")
        target.extend(values)


def _integer(machine: _Machine) -> None:
    text = machine.line(24).removesuffix("L")
    machine.stack.append({"00": False, "01": True}.get(text, int(text)))


def _long(machine: _Machine) -> None:
    data = machine.sized(1)
    if len(data) > 9:
        raise ValueError("more than 64 bits")
    machine.stack.append(int.from_bytes(data, "little", signed=True))


def _pushed(read: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(read(machine))

    return step


def _fixed(layout: str) -> Callable[[_Machine], None]:
    size = struct.calcsize(layout)
    return _pushed(lambda machine: struct.unpack(layout, machine.take(size))[0])


def _text(width: int) -> Callable[[_Machine], None]:
    return _pushed(lambda machine: str(machine.sized(width), "utf-8", "surrogatepass"))


def _bytes(width: int) -> Callable[[_Machine], None]:
    return _pushed(lambda machine: machine.sized(width))


def _tuple(count: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        machine.stack.append(tuple([machine.pop() for _ in range(count)][::-1]))

    return step


def _put(width: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.put(int.from_bytes(machine.take(width), "little"))


def _get(width: int) -> Callable[[_Machine], None]:
    return _pushed(lambda machine: machine.memo[int.from_bytes(machine.take(width), "little")])


def _reduce(machine: _Machine) -> None:
    given = machine.pop()
    machine.call(machine.pop(), given)


def _build(machine: _Machine) -> None:
    state = machine.pop()
    build(machine.stack[-1], state)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError("no name")
    machine.stack.append(known(module, name))


def _pair(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.pairs(machine.stack[-1], [key, value])


def _dict(machine: _Machine) -> None:
    values = machine.group()
    machine.stack.append({})
    machine.pairs(machine.stack[-1], values)


def _one(machine: _Machine) -> None:
    value = machine.pop()
    machine.extend(machine.stack[-1], [value])


def _many(machine: _Machine) -> None:
    values = machine.group()
    machine.extend(machine.stack[-1], values)


def _all_pairs(machine: _Machine) -> None:
    values = machine.group()
    machine.pairs(machine.stack[-1], values)


_STEPS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda machine: machine.take(1).release(),  # PROTO
    0x95: lambda machine: machine.take(8).release(),  # FRAME
    ord("("): lambda machine: machine.stack.append(_MARK),
    ord("0"): lambda machine: machine.stack.pop(),
    ord("1"): lambda machine: machine.group().clear(),
    ord("2"): lambda machine: machine.stack.append(machine.stack[-1]),
    ord("N"): lambda machine: machine.stack.append(None),
    0x88: lambda machine: machine.stack.append(True),
    0x89: lambda machine: machine.stack.append(False),
    ord("I"): _integer,
    ord("L"): _integer,
    ord("J"): _fixed("<i"),
    ord("K"): _fixed("<B"),
    ord("M"): _fixed("<H"),
    0x8A: _long,
    ord("G"): _fixed(">d"),
    ord("F"): _pushed(lambda machine: float(machine.line(40))),
    ord("V"): _pushed(lambda machine: machine.line(None)),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    0x8E: _bytes(8),
    0x96: _bytes(8),
    ord("T"): _bytes(4),
    ord("U"): _bytes(1),
    ord(")"): lambda machine: machine.stack.append(()),
    ord("t"): _pushed(lambda machine: tuple(machine.group())),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("]"): lambda machine: machine.stack.append([]),
    0x8F: lambda machine: machine.stack.append([]),  # EMPTY_SET
    ord("l"): _pushed(lambda machine: machine.group()),
    ord("a"): _one,
    ord("e"): _many,
    0x90: _many,  # ADDITEMS
    ord("}"): lambda machine: machine.stack.append({}),
    ord("d"): _dict,
    ord("s"): _pair,
    ord("u"): _all_pairs,
    ord("p"): lambda machine: machine.put(int(machine.line(12))),
    ord("q"): _put(1),
    ord("r"): _put(4),
    0x94: lambda machine: machine.put(len(machine.memo)),  # MEMOIZE
    ord("g"): _pushed(lambda machine: machine.memo[int(machine.line(12))]),
    ord("h"): _get(1),
    ord("j"): _get(4),
    ord("c"): _pushed(lambda machine: known(machine.line(), machine.line())),
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _reduce,  # NEWOBJ: the same for matrices
    ord("b"): _build,
}
