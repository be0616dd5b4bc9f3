"""An input of the fuzzers: bytes that stand for the files of a folder.

The first byte picks a layout, the names of some files; the rest is what they hold, in order, with ``MARK`` between
them. A layout's last files may be missing. What belongs into a ``.gz`` is packed here, unless it begins like one: a
fuzzer finds its way through text, not through the checksums of a gzip.
"""

from __future__ import annotations

import gzip
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = b"\n%FILE%\n"
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Layout:
    """The files of a folder, by name, with what they hold in a good one; and the options to read them with."""

    files: Mapping[str, bytes]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Harness:
    """A parser under test.

    Attributes:
        name: Of the parser.
        layouts: Good folders.
        run: Reads a folder to its end, with the layout's options.
    """

    name: str
    layouts: tuple[Layout, ...]
    run: Callable[[Path, Mapping[str, Any]], object]

    def seeds(self) -> list[bytes]:
        """Return one good input a layout."""
        return [bytes([at]) + MARK.join(layout.files.values()) for at, layout in enumerate(self.layouts)]

    def write(self, data: bytes, folder: Path) -> Mapping[str, Any]:
        """Make the folder of an input; return the options to read it with."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        layout = self.layouts[data[0] % len(self.layouts) if data else 0]
        for name, content in zip(layout.files, data[1:].split(MARK), strict=False):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            packed = name.endswith(".gz") and content and not content.startswith(GZIP)
            path.write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
        return layout.options

    def read(self, data: bytes, folder: Path) -> str:
        """Return how an input ends: ``read``, or the name of the error that refuses it.

        Raises:
            Exception: Anything but a ``ConfigError`` or ``DataError`` is a fault of the parser.
        """
        from stagelens.pipeline.errors import ConfigError, DataError

        options = self.write(data, folder)
        try:
            self.run(folder, options)
        except (ConfigError, DataError) as error:
            if not str(error).strip():
                raise AssertionError(f"{type(error).__name__} without a message") from error
            return type(error).__name__
        return "read"


TOKENS = (
    b"", b"0", b"-1", b"1", b"1e400", b"nan", b"inf", b"1099511627776", b"9223372036854775808", b"9" * 400, b"null",
    b"true", b"\x00", b"\xff", b"\xef\xbb\xbf",
    b"\r\n", b"\n", b"\t", b",", b" ", b'"', b"'", b"{", b"}", b"[", b"]",
    b"[" * 3000, b"\\ud800", b"\xed\xa0\x80", b"..", b"/etc/passwd", b"u1",
    b"\x1f\x8b", b"\x93NUMPY\x01\x00", b"PK\x03\x04",
    b"(lp0\n", b"\x80\x04", b"\xff" * 9, MARK,
)  # fmt: skip


def mutations(seed: bytes, count: int, rng: random.Random) -> Iterator[bytes]:
    """Yield variations of an input: bits turned, pieces cut, doubled or moved, odd values put in."""
    for _ in range(count):
        data = bytearray(seed)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            at = rng.randrange(1, len(data) + 1)
            end = min(len(data), at + rng.choice((1, 1, 2, 8, 64)))
            kind = rng.randrange(6)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                del data[at:end]
            elif kind == 2:
                data[at:at] = data[at:end]
            elif kind == 3:
                data[at:end] = rng.choice(TOKENS)
            elif kind == 4:
                data[at:at] = rng.choice(TOKENS)
            else:
                del data[at:]
        yield bytes(data)
