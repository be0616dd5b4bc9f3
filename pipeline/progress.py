"""How long work tells what it does: the contract, and the silent version."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work in progress."""

    def advance(self, steps: int = 1) -> None:
        """Report that this many of the total steps are done."""
        ...


class Progress(Protocol):
    """Shown to a person while a study runs; never on standard output."""

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        """Open a task of ``total`` steps; closing it ends its line."""
        ...

    def note(self, text: str) -> None:
        """Say one line: a decision, an estimate, a fall-back."""
        ...


class _Quiet:
    def advance(self, steps: int = 1) -> None:
        """Say nothing."""


class Silent:
    """Progress that says nothing."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Open a silent task."""
        yield _Quiet()

    def note(self, text: str) -> None:
        """Say nothing."""


_here = threading.local()


@contextmanager
def showing(progress: Progress) -> Iterator[None]:
    """Let ``shown_here()`` be this progress for what this Python thread runs inside."""
    before = shown_here()
    _here.progress = progress
    try:
        yield
    finally:
        _here.progress = before


def shown_here() -> Progress:
    """Return the progress for work that is handed none: a recipe's fit."""
    progress: Progress = getattr(_here, "progress", None) or Silent()
    return progress
