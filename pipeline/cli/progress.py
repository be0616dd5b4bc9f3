"""Progress on standard error: live bars on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stagelens.pipeline.cli.console import errors, say
from stagelens.pipeline.progress import Progress, Silent, Task
from stagelens.pipeline.report.figures import seconds

FIRST_LINE_S, BETWEEN_LINES_S = 2.0, 15.0
"""Work shorter than the first says nothing where there is no terminal; longer work speaks this often."""


@contextmanager
def shown(quiet: bool) -> Iterator[Progress]:
    """Open the progress that fits: silent, live on a terminal, or lines."""
    if quiet:
        yield Silent()
        return
    console = errors()
    if not console.is_terminal:
        yield Lines()
        return
    with Bars(console) as bars:
        yield bars


class Lines:
    """Progress as plain lines, few of them, with the time left."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Open a task; it writes nothing before two seconds have passed."""
        line = _Line(name, total)
        yield line
        line.close()

    def note(self, text: str) -> None:
        """Write one line."""
        say(text)


class _Line:
    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, max(total, 1), 0
        self._start = time.monotonic()
        self._next = self._start + FIRST_LINE_S
        self._spoke = False
        self._lock = threading.Lock()

    def advance(self, steps: int = 1) -> None:
        """Count steps; write a line when it is time for one."""
        with self._lock:
            self._done = min(self._done + steps, self._total)
            now = time.monotonic()
            if now < self._next or self._done >= self._total:
                return
            self._next, self._spoke = now + BETWEEN_LINES_S, True
            left = (now - self._start) / max(self._done, 1) * (self._total - self._done)
            say(f"{self._name}: {100 * self._done // self._total} %, about {seconds(left)} left")

    def close(self) -> None:
        """Write the last line of a task that took long enough to be noticed."""
        took = time.monotonic() - self._start
        if self._spoke or took > FIRST_LINE_S:
            say(f"{self._name}: done in {seconds(took)}")


class Bars:
    """Progress as live bars; they vanish when their task ends."""

    def __init__(self, console: Any) -> None:
        from rich import progress as bars

        self._bars = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._bars.stop()

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Open a bar."""
        key = self._bars.add_task(name, total=total)
        try:
            yield _Bar(self._bars, key)
        finally:
            self._bars.remove_task(key)

    def note(self, text: str) -> None:
        """Write one line above the bars."""
        self._bars.console.print(text, markup=False, highlight=False, emoji=False)


class _Bar:
    def __init__(self, bars: Any, key: Any) -> None:
        self._bars, self._key = bars, key

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        self._bars.advance(self._key, steps)
