"""Progress: silent, lines without spam, or bars; always on standard error."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stagelens.pipeline.cli import progress
from stagelens.pipeline.cli.progress import Bars, Lines, shown
from stagelens.pipeline.progress import Silent


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_quick_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Lines().task("lists", 100) as task:
        for _ in range(100):
            clock.now += 0.01
            task.advance()
    assert capsys.readouterr().err == ""


def test_long_work_says_the_time_left_and_not_too_often(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lines().task("lists", 1000) as task:
        for _ in range(1000):
            clock.now += 0.1
            task.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "lists: 2 %, about 1 min 38 s left"
    assert lines[-1] == "lists: done in 1 min 40 s"
    assert len(lines) <= 2 + 100 / progress.BETWEEN_LINES_S


def test_work_without_steps_does_not_divide_by_zero(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Lines().task("nothing", 0) as task:
        clock.now += 5
        task.advance(0)
    assert "nothing: done in 5.00 s" in capsys.readouterr().err


def test_quiet_is_silent_and_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(True) as silent:
        assert isinstance(silent, Silent)
    with shown(False) as lines:
        assert isinstance(lines, Lines)
        lines.note("clock found")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "clock found\n")


def test_bars_show_name_and_time_left_and_vanish() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with Bars(console) as bars:
        bars.note("[not markup] 42")
        with bars.task("recall [text]", 10) as task:
            task.advance(5)
            bars._bars.refresh()
        assert bars._bars.tasks == []
    assert "recall [text]" in stream.getvalue()
    assert "[not markup] 42" in stream.getvalue()
    assert "50%" in stream.getvalue()
