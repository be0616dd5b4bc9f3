"""Standard output for the result, standard error for everything else."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

FILE_WIDTH = 120
"""Columns where output goes to a file or a pipe and nothing else is asked for by ``COLUMNS``."""


def output() -> Console:
    """Return the console of standard output."""
    return _console(sys.stdout)


def errors() -> Console:
    """Return the console of standard error."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:  # rich would end the process with status 1
            raise BrokenPipeError

    width = None if stream.isatty() or os.environ.get("COLUMNS") else FILE_WIDTH
    return Piped(file=stream, width=width, highlight=False, emoji=False, markup=False)


def say(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """Write why the command stops."""
    say(f"simulate: {text}")


@contextmanager
def clean_warnings() -> Iterator[None]:
    """Show Python warnings as one line each, without the place in our code that raised them."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        say(f"warning: {' '.join(str(message).split())}")

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def reserved_output(reserve: bool) -> Iterator[None]:
    """Send what native libraries print on standard output to standard error; the result stands alone."""
    try:
        place = sys.stdout.fileno() if reserve else None
        other = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # a captured stream has no descriptor
        place = None
    if place is None:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(place)
    os.dup2(other, place)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, place)
        os.close(kept)


def drop_output() -> None:
    """Point standard output at nothing, so that the interpreter's last flush is silent."""
    try:
        hole = os.open(os.devnull, os.O_WRONLY)
        os.dup2(hole, sys.stdout.fileno())
        os.close(hole)
    except (OSError, ValueError):
        pass
