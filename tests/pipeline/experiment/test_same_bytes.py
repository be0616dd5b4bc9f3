"""Two runs, any block size, a killed run, a repeated run: the same bytes, and no work done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stagelens.pipeline.experiment.runner import simulate

KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.runner import simulate

class Killer:
    '''Progress that ends its process, without warning, at the given event.'''
    def __init__(self, task, steps):
        self.name, self.left = task, steps
    @contextmanager
    def task(self, name, total):
        if self.name in name and self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Step(self, name)
    def note(self, text):
        pass

class Step:
    def __init__(self, killer, name):
        self.killer, self.name = killer, name
    def advance(self, steps=1):
        if self.killer.name in self.name:
            self.killer.left -= 1
            if self.killer.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

study, out, store, task, steps = sys.argv[1:]
simulate(
    Study.model_validate_json(study), out=Path(out), store=Path(store), progress=Killer(task, int(steps))
)
"""


def measurements(folder: Path) -> bytes:
    return (folder / "measurements.parquet").read_bytes()


@pytest.fixture(scope="module")
def whole(make_study, tmp_path_factory):
    """An uninterrupted run of both stages, blocks of 8192."""
    place = tmp_path_factory.mktemp("whole")
    return simulate(make_study(), out=place / "out", store=place / "store")


@pytest.mark.parametrize("block", [8192, 97, 1])
def test_another_store_and_another_block_size_give_the_same_bytes(whole, make_study, tmp_path, block):
    again = simulate(make_study(block=block), out=tmp_path / "out", store=tmp_path / "store")
    assert again.manifest["made"] == whole.manifest["made"] > 20
    assert measurements(again.folder) == measurements(whole.folder)
    assert again.summary["comparisons"] == whole.summary["comparisons"]
    metrics = [[system["metrics"] for system in run.summary["systems"]] for run in (again, whole)]
    assert metrics[0] == metrics[1]  # to the last bit, shares of filled and tied places too
    assert again.summary["fingerprint"] == whole.summary["fingerprint"]


def test_a_repeated_run_fits_nothing(whole, make_study, tmp_path):
    store = whole.folder.parent / "store"
    for out in (tmp_path / "elsewhere", whole.folder):
        before = measurements(whole.folder)
        again = simulate(make_study(), out=out, store=store)
        assert again.manifest["made"] == 0
        assert not any(entry["made"] for entry in again.manifest["artefacts"])
        assert measurements(again.folder) == before


def test_another_seed_gives_other_bytes(whole, make_study, tmp_path):
    other = simulate(make_study(seeds=[1]), out=tmp_path / "out", store=whole.folder.parent / "store")
    assert measurements(other.folder) != measurements(whole.folder)
    assert other.manifest["split"]["hash"] == whole.manifest["split"]["hash"]  # a seed never moves the split


def start(study, place: Path, task: str, steps: int) -> int:
    words = [study.model_dump_json(), str(place / "out"), str(place / "store"), task, str(steps)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Error" not in done.stderr, done.stderr
    return done.returncode


def finished(store: Path) -> set[str]:
    """Names of artefacts that are whole."""
    return {path.parent.name for path in store.glob("*/*/*/meta.json") if ".partial" not in str(path)}


def test_a_killed_run_goes_on_where_it_stopped(whole, make_study, tmp_path):
    study = make_study(block=40)
    counts = [0]
    moments = [("ItemKNN: valid lists", 2), ("re-rankers", 1), ("test candidates", 1)]
    for task, steps in moments:
        assert start(study, tmp_path, task, steps) == -signal.SIGKILL
        assert not (tmp_path / "out").exists()
        counts.append(len(finished(tmp_path / "store")))
        if task == "ItemKNN: valid lists":  # some rows of the list are kept, and are not asked again
            (partial,) = (tmp_path / "store").glob("lists/*/*.partial")
            assert (partial / "item.bin").stat().st_size > 0
    assert counts == sorted(set(counts))  # every start got further
    known = finished(tmp_path / "store")
    last = simulate(study, out=tmp_path / "out", store=tmp_path / "store")
    assert measurements(last.folder) == measurements(whole.folder)
    assert not {entry["key"] for entry in last.manifest["artefacts"] if entry["made"]} & known
    assert 0 < last.manifest["made"] < whole.manifest["made"]
    assert not list((tmp_path / "store").rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["lists", "re-rankers", "features", "candidates", "orders"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_killed_at_many_moments(whole, make_study, tmp_path, task, steps):
    study = make_study(block=30)
    assert start(study, tmp_path, task, steps) == -signal.SIGKILL
    last = simulate(study, out=tmp_path / "out", store=tmp_path / "store")
    assert measurements(last.folder) == measurements(whole.folder)


def test_what_a_kill_leaves_behind_is_harmless(whole, make_study, tmp_path):
    """Torn rows, folders of processes that are gone, and half a run folder."""
    import shutil

    store = tmp_path / "store"
    shutil.copytree(whole.folder.parent / "store", store)
    taken = 0
    for entry in whole.manifest["artefacts"]:
        place = store / entry["kind"] / entry["key"][:2] / entry["key"]
        if entry["kind"] == "lists":  # the last block is torn, one column further than the other
            (place / "meta.json").unlink()
            torn = place.rename(place.with_name(place.name + ".partial"))
            for column, keep in (("item", 0.5), ("score", 0.7)):
                path = torn / f"{column}.bin"
                with path.open("r+b") as file:
                    file.truncate(int(path.stat().st_size * keep) + 3)
        elif entry["kind"] in ("measured", "rerank", "weights"):
            shutil.rmtree(place)
            junk = place.with_name(f"{place.name}.4711.partial")
            junk.mkdir()
            (junk / "ranks.npy").write_bytes(b"\x93NUMPY torn")
        else:
            continue
        taken += 1
    half = tmp_path / ".out.4711.partial"
    half.mkdir()
    (half / "summary.json").write_text('{"schema_ver')
    again = simulate(make_study(), out=tmp_path / "out", store=store)
    made = [
        entry
        for entry in again.manifest["artefacts"]
        if entry["made"] and entry["kind"] not in ("rows", "orders")
    ]
    assert len(made) == taken > 20
    assert measurements(again.folder) == measurements(whole.folder)
    assert not half.exists()
    assert not list(store.rglob("*.4711.partial"))


def test_a_damaged_artefact_is_made_anew(whole, make_study, tmp_path):
    """A meta.json that cannot be read, and an array that is cut short."""
    import shutil

    store = tmp_path / "store"
    shutil.copytree(whole.folder.parent / "store", store)
    damaged = 0
    for entry in whole.manifest["artefacts"]:
        place = store / entry["kind"] / entry["key"][:2] / entry["key"]
        if entry["kind"] == "weights":
            (place / "meta.json").write_text('{"weights": [1.0')
            damaged += 1
        elif entry["kind"] == "measured":
            array = place / "ranks.npy"
            array.write_bytes(array.read_bytes()[:-8])
            damaged += 1
    again = simulate(make_study(), out=tmp_path / "out", store=store)
    made = [
        entry
        for entry in again.manifest["artefacts"]
        if entry["made"] and entry["kind"] not in ("rows", "orders")
    ]
    assert {entry["kind"] for entry in made} == {"weights", "measured"}
    assert len(made) == damaged
    assert measurements(again.folder) == measurements(whole.folder)


def test_each_study_that_opens_test_is_counted_once(make_study, tmp_path):
    lean = {"stage": "recall", "modalities": ["interaction"]}
    opened = [
        simulate(make_study(**lean, **more), out=tmp_path / name, store=tmp_path / "store").manifest[
            "test_opened"
        ]
        for name, more in (
            ("first", {}),
            ("again", {}),
            ("renamed", {"name": "other", "block": 50}),
            ("second", {"recall.size": 15}),
            ("back", {}),
        )
    ]
    assert opened == [1, 1, 1, 2, 2]
    kept = list((tmp_path / "store" / "test-opened").glob("*.json"))
    assert len(kept) == 1
    assert len(json.loads(kept[0].read_text())) == 2
