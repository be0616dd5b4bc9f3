"""A small data set on disk, and the real console script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Simulate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def simulate(tmp_path: Path) -> Simulate:
    """Run the installed console script in an empty folder."""

    def run(*words: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        script = Path(sys.executable).parent / "simulate"
        return subprocess.run(
            [str(script), *words],
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of a few hundred users, written by the product itself."""
    from stagelens.pipeline.cli import main

    folder = tmp_path_factory.mktemp("data") / "small"
    words = [
        "data",
        "generate",
        "--out",
        str(folder),
        "--set",
        "users=250",
        "--set",
        "items=300",
        "--seed",
        "3",
    ]
    assert main(words) == 0
    return folder
