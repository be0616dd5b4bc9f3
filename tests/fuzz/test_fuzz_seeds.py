"""Every parser reads its good folders, and refuses odd ones with an error of ours: what the fuzzers check, in brief."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest
from harnesses import harnesses
from inputs import mutations

MUTATIONS = 40
FOUND = Path(__file__).parent / "found"
HARNESSES = harnesses()


@pytest.mark.parametrize(
    ("name", "at"), [(name, at) for name, harness in HARNESSES.items() for at in range(len(harness.layouts))]
)
def test_good_folders_are_read_and_odd_ones_refused(name: str, at: int, tmp_path: Path) -> None:
    harness = HARNESSES[name]
    seed = harness.seeds()[at]
    assert harness.read(seed, tmp_path / "data") == "read"
    rng = random.Random(zlib.crc32(f"{name} {at}".encode()))
    ends = Counter(harness.read(data, tmp_path / "data") for data in mutations(seed, MUTATIONS, rng))
    assert ends.total() == MUTATIONS
    assert ends["DataError"] + ends["ConfigError"], f"no variation was refused: {ends}"


@pytest.mark.parametrize("file", sorted(FOUND.glob("*.bin")), ids=lambda path: path.stem)
def test_what_fuzzing_found_stays_mended(file: Path, tmp_path: Path) -> None:
    """``found/NAME-what.bin``: an input of the parser NAME that once crashed it."""
    HARNESSES[file.stem.partition("-")[0]].read(file.read_bytes(), tmp_path / "data")


def test_without_atheris_the_install_line_is_printed(tmp_path: Path) -> None:
    (tmp_path / "atheris.py").write_text("raise ImportError('not here')")
    script = Path(__file__).parent / "run.py"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 4
    assert "pip install atheris" in done.stderr
