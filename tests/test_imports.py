"""Who may import whom, what loads when, and that the bans catch what they ban."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "faiss", "lightgbm", "matplotlib", "implicit", "optuna", "dask", "sklearn"}


def python(code: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded after this code ran in a fresh interpreter."""
    tail = "\nimport json, sys; print('\\n' + json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    return set(json.loads(python(code + tail).splitlines()[-1]))


def test_layers_are_kept() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize("room", ["pipeline", "recall", "rerank", "fusion", "configs"])
def test_a_room_loads_no_heavy_library(room: str) -> None:
    code = f"import stagelens.{room} as room\nfor name in getattr(room, '__all__', ()): getattr(room, name)"
    assert not loaded_by(code) & HEAVY


def test_the_wait_policy_is_set_before_any_native_library() -> None:
    code = "import os; os.environ.pop('OMP_WAIT_POLICY', None); import stagelens.pipeline"
    assert python(f"{code}; print(os.environ['OMP_WAIT_POLICY'])").strip() == "PASSIVE"


def test_help_loads_nothing_numerical() -> None:
    code = "from stagelens.pipeline.cli import main; assert main(['--help']) == 0"
    assert not loaded_by(code) & (HEAVY | {"numpy", "pandas", "scipy", "pyarrow", "numba", "pydantic"})


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("import faiss\n", "recall/planted.py", "TID253"),
        ("import torch\n", "fusion/planted.py", "TID253"),
        ("from recall import Dense\n", "rerank/planted.py", "TID251"),
        ("from . import core\n", "pipeline/planted.py", "TID252"),
        ("print('here')\n", "pipeline/planted.py", "T201"),
        ("x = 1\n", "pipeline/data/statistics.py", "A005"),
    ],
)
def test_the_bans_catch(text: str, place: str, code: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--stdin-filename",
        place,
        "--output-format",
        "json",
        "-",
    ]
    done = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, check=False)
    assert code in {fault["code"] for fault in json.loads(done.stdout)}, done.stdout + done.stderr
