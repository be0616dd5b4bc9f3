"""Where work that may be killed keeps what it has so far: found again by the next run, removed when it is done."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

_here = threading.local()


@contextlib.contextmanager
def unfinished(folder: Path) -> Iterator[None]:
    """Let ``unfinished_here()`` be this folder for what this Python thread makes inside; it is removed at the end.

    It stays where the work does not come to its end. The folder is made by whoever writes to it first.
    """
    before = unfinished_here()
    _here.folder = folder
    try:
        yield
    finally:
        _here.folder = before
    shutil.rmtree(folder, ignore_errors=True)


def unfinished_here() -> Path | None:
    """Return the folder for unfinished work; None: nobody would find it again."""
    folder: Path | None = getattr(_here, "folder", None)
    return folder
