"""Exit statuses, streams and the end of a pipe, through the real console script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from stagelens.pipeline import cli
from stagelens.pipeline.cli.console import clean_warnings, reserved_output
from stagelens.pipeline.errors import ConfigError, DataError, MissingExtra, StageLensWarning

SCRIPT = str(Path(sys.executable).parent / "simulate")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("wrong name"), 2),
        (DataError("items.parquet, row 3"), 3),
        (MissingExtra("pip install 'stagelens[cpu]'"), 4),
        (OSError(28, "No space left on device"), 5),
        (PermissionError(13, "Permission denied", "runs"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_fault_has_its_status_and_one_line(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main([]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("simulate: ")
    if not isinstance(error, KeyboardInterrupt):
        assert str(error) in captured.err


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> int:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main([])


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"stagelens {version('stagelens')}\n"
    for words in (
        ["--help"],
        ["-h"],
        ["data", "--help"],
        ["data", "check", "--help"],
        ["list", "-h"],
        ["show", "-h"],
    ):
        assert cli.main(words) == 0
        captured = capsys.readouterr()
        assert "Usage: simulate" in captured.out
        assert "Example" in captured.out or words == ["data", "--help"]
        assert captured.err == ""


def test_a_missing_data_set_is_status_3(simulate, tmp_path: Path) -> None:
    done = simulate("--dataset", str(tmp_path / "nowhere"), "--json")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("simulate-*"))


def test_a_reader_that_leaves_is_no_error() -> None:
    script = subprocess.Popen([SCRIPT, "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert script.stdout is not None
    assert script.stderr is not None
    script.stdout.close()
    errors = script.stderr.read()
    script.stderr.close()
    assert script.wait() == 141
    assert errors == ""


def _listen() -> None:
    """Tests may run in the background, where interrupts are ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_is_status_130(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [SCRIPT, "--out", str(tmp_path / "run")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_listen,
    )
    assert running.stderr is not None
    assert running.stderr.readline(), "the first note: the study has begun"
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert "Traceback" not in errors
    assert errors.rstrip("\n").splitlines()[-1].startswith("simulate: interrupted")
    assert not (tmp_path / "run").exists()


def test_warnings_are_one_clean_line(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with clean_warnings():
            warnings.warn("two wheels\n  at once", StageLensWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: two wheels at once\n"


def test_native_output_goes_beside_the_result() -> None:
    code = (
        "import os\nfrom stagelens.pipeline.cli.console import reserved_output\n"
        "with reserved_output(True):\n    print('python'); os.write(1, b'native\\n')\nprint('result')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "result\n"
    assert "python" in done.stderr
    assert "native" in done.stderr


def test_reserving_a_captured_stream_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with reserved_output(True):
        sys.stdout.write("kept\n")
    assert capsys.readouterr().out == "kept\n"


def test_python_m_runs_the_same(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "stagelens.pipeline", "--version"]
    done = subprocess.run(words, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("stagelens ")
