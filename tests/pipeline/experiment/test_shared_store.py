"""Two processes on one store, and what makes two studies different."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from stagelens.pipeline.core import Interactions
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.arms import plan_of
from stagelens.pipeline.experiment.outputs import RunFolder, study_fingerprint

RUN = "from stagelens.pipeline.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def test_two_processes_that_want_the_same_lists(tiny_folder, tmp_path):
    """Both end well and agree, whichever makes a list first."""
    import os

    command = [sys.executable, "-c", RUN, "--stage", "recall", "--dataset", str(tiny_folder), "--quiet"]
    command += ["--set", "block=4", "--set", "measure.latency_queries=0"]
    environment = {**os.environ, "STAGELENS_STORE": str(tmp_path / "store")}
    both = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / name)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    for process in both:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()[-2000:]
    first, second = ((tmp_path / name / "measurements.parquet").read_bytes() for name in ("a", "b"))
    assert first == second


def test_columns_and_exposures_make_another_study(tiny, make_study):
    study = make_study(stage="recall", modalities=["interaction"])

    def key(dataset):
        return study_fingerprint(study, plan_of(study, dataset), dataset, split(dataset))

    price = np.linspace(0, 1, tiny.n_items, dtype=np.float32)
    shown = Interactions.of(np.array([0, 1]), np.array([2, 3]), n_users=tiny.n_users, n_items=tiny.n_items)
    variants = [
        tiny,
        replace(tiny, item_columns={"price": price}),
        replace(tiny, item_columns={"price": price[::-1].copy()}),
        replace(tiny, impressions=shown),
    ]
    assert len({key(dataset) for dataset in variants}) == len(variants)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ([], "at least 1"),
        ([{"use": "recall.Popular"}, {"use": "recall.Popular"}], "Popular occurs twice"),
        ([{"use": "recall.Dense", "modality": "text"}], "occurs twice"),
    ],
)
def test_a_base_that_makes_no_union_is_refused(tiny, make_study, base, said):
    study = make_study(stage="recall", modalities=["text"], **{"recall.base": base})
    with pytest.raises(ConfigError, match=said):
        plan_of(study, tiny)


def test_the_working_folder_can_be_the_run_folder(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    assert RunFolder.of(Path(), "simulate", "ab" * 32).path == tmp_path
