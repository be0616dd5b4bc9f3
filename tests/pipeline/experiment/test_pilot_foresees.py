"""What pilots foresee against what the study then reports."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stagelens.pipeline.data.write import write_dataset
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.pilot_study import estimate
from stagelens.pipeline.experiment.runner import simulate

TIKTOK = Path(__file__).resolve().parents[4] / "shared" / "data" / "tiktok"


def both(study: Study, place: Path, **options) -> dict[tuple[str, str, str], tuple[dict, dict]]:
    """Return (foreseen, reported) of every primary comparison."""
    foreseen = estimate(study, out=place / "estimate", store=place / "pilots", **options).summary["estimate"]
    reported = simulate(study, out=place / "study", store=place / "store").summary["comparisons"]
    known = {(c["stage"], c["baseline"], c["system"]): c for c in reported if c["primary"]}
    rows = [row for row in foreseen["detectable"] if row["family"] == "primary" and row["detectable"]]
    keys = [(row["stage"], row["baseline"], row["system"]) for row in rows]
    return {key: (row, known[key]) for key, row in zip(keys, rows, strict=True)}


@pytest.mark.slow
def test_a_world_sees_about_what_its_pilots_foresaw(make_world, make_study, tmp_path):
    write_dataset(make_world(8, users=1500, items=250), tmp_path / "world")
    found = both(make_study(**{"data.path": str(tmp_path / "world"), "recall.weights": "equal"}), tmp_path)
    assert len(found) >= 5
    for key, (row, reported) in found.items():
        assert row["users"] == reported["n"]
        ratio = row["detectable"] / reported["detectable"]
        assert abs(math.log(ratio)) < math.log(1.25 if key[0] == "recall" else 1.6), (key, ratio)


@pytest.mark.slow
@pytest.mark.data
def test_large_differences_on_tiktok_are_seen_as_foreseen(tmp_path):
    if not TIKTOK.is_dir():
        pytest.skip(f"{TIKTOK} is not there")
    lean = {"measure.information": False, "measure.importance": False, "measure.draws": 999}
    found = both(Study.load(None, {"data.path": str(TIKTOK), "stage": "recall", **lean}), tmp_path)
    for name in ("audio", "visual"):  # base + m depends on which weight valid chooses
        row, reported = found["recall", "base", name]
        assert row["users"] == reported["n"] == 6130
        assert row["detectable"] == pytest.approx(reported["detectable"], rel=0.25)
        assert row["parts"]["items"] > 10 * row["parts"]["users"]  # a few items carry it
        assert row["reachable"] is False
