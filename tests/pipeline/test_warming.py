"""What loads at a recipe's first work stands in nobody's time."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas
import pytest

from stagelens.pipeline import warming
from stagelens.pipeline.experiment.tuning import tune
from stagelens.pipeline.recipe import Recipe, load
from stagelens.pipeline.warming import ITEMS, warm

COLD = "tuning_toys:Cold"


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The toys, as in a process where nothing has been fitted."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "experiment"))
    found = importlib.import_module("tuning_toys")
    monkeypatch.setattr(found, "FITS", [])
    monkeypatch.setattr(warming, "_warm", set())
    return found


def dense(**vectors: Any) -> Recipe:
    return load({"use": "recall.Dense", "vectors": vectors, "device": "cpu"})


def test_a_class_is_warmed_once_and_at_its_defaults(toys: ModuleType) -> None:
    warm(load({"use": COLD, "steps": 999}))  # a window of this recipe is refused
    assert toys.FITS == [ITEMS]
    warm(load({"use": COLD, "noise": 1.0}))
    assert toys.FITS == [ITEMS]


def test_a_part_of_another_class_is_another_start(toys: ModuleType) -> None:
    svd, als = dense(use="recall.PureSVD"), dense(use="recall.IALS")
    for made in (dense(use="recall.PureSVD", factors=9), svd, als):
        warm(made)
    assert warming._warm == {svd, als}


@pytest.mark.parametrize(
    "table",
    [
        {"use": "recall.Dense", "modality": "text"},
        {"use": "recall.FromFile", "path": "absent.parquet"},
        {"use": "tuning_toys:Refused"},
    ],
)
def test_what_cannot_be_warmed_is_left_to_the_fit(toys: ModuleType, table: dict[str, Any]) -> None:
    warm(load(table))


def test_the_start_is_not_in_the_time_of_a_fit(toys: ModuleType, make_bench, tiny, tiny_split) -> None:
    bench = make_bench(tiny, tiny_split)
    made, window = load({"use": COLD}), bench.windows.valid
    bench.fitted(made, window)
    assert toys.FITS == [ITEMS, tiny.n_items]
    assert bench.fit_seconds[bench.fit_key(made, window)] < toys.START


def test_what_the_store_holds_starts_nothing(
    toys: ModuleType, make_bench, tiny, tiny_split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make_bench(tiny, tiny_split, store=tmp_path) for _ in range(2))
    made = load({"use": COLD})
    first.fitted(made, first.windows.valid)
    monkeypatch.setattr(warming, "_warm", set())
    toys.FITS.clear()
    second.fitted(made, second.windows.valid)
    assert not toys.FITS


def test_the_start_is_not_in_the_seconds_of_the_first_trial(
    toys: ModuleType, make_study, tmp_path: Path
) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    study = make_study(**{"tune.channels": [COLD], "tune.trials": 2})
    tune(study, out=tmp_path / "out", store=tmp_path / "store")
    seconds = pandas.read_parquet(tmp_path / "out" / "trials.parquet").seconds
    assert toys.FITS[0] == ITEMS
    assert seconds.max() < toys.START
