"""A small summary, written by hand, that holds everything a run may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def summary() -> dict[str, Any]:
    return json.loads((HERE / "run.summary.json").read_text(encoding="utf-8"))


@pytest.fixture
def study_summary() -> dict[str, Any]:
    return json.loads((HERE / "study.summary.json").read_text(encoding="utf-8"))
