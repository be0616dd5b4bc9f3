"""A data set as it stood before somebody wrote it in another layout, and what an import of that must equal."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.core import Dataset

DOCS = Path(__file__).parents[4] / "docs"
WINDOWS = np.array(["train", "valid", "test"])


@dataclass(frozen=True)
class Original:
    """A folder of the product's own, and what stands in it.

    Attributes:
        folder: The folder.
        events: ``user_id``, ``item_id``, ``timestamp``, ``split``, ``value``, in no particular order.
        items: ``item_id``, ``title``, ``price``.
        text: float32 [I, D]; three rows are zero: absent.
    """

    folder: Path
    events: pd.DataFrame
    items: pd.DataFrame
    text: np.ndarray


@pytest.fixture(scope="session")
def original(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Original:
    """The tiny world with integers as ids, a split, ratings, and three items without text."""
    log = tiny.interactions
    rng = np.random.default_rng(3)
    events = pd.DataFrame({"user_id": log.user, "item_id": log.item, "timestamp": log.time}).astype(np.int64)
    events["user_id"] = events.groupby("user_id").ngroup()
    late = events["timestamp"].rank(method="first", pct=True)
    events["split"] = WINDOWS[np.digitize(late, [0.8, 0.9])]
    events["value"] = rng.integers(1, 6, len(events)).astype(float)
    events = events.sample(frac=1, random_state=1).reset_index(drop=True)
    items = pd.DataFrame({"item_id": np.arange(tiny.n_items)})
    items["title"] = [f"A thing, {row}" for row in range(len(items))]
    items["price"] = rng.integers(1, 900, len(items)) / 10
    text = np.array(tiny.modalities["text"].values)
    text[[5, 17, 40]] = 0
    folder = tmp_path_factory.mktemp("original") / "tiny"
    folder.mkdir()
    events.to_parquet(folder / "interactions.parquet")
    items.to_parquet(folder / "items.parquet")
    np.save(folder / "text.npy", text)
    return Original(folder, events, items, text)


@pytest.fixture
def same_data() -> Callable[[Path, Path], None]:
    """Assert that two folders load as the same data: sizes, ids in order, hashes of events and vectors."""
    from stagelens.pipeline.data.datasets import load_dataset

    def check(one: Path, two: Path) -> None:
        first, second = (load_dataset(str(path)) for path in (one, two))
        assert first.n_users == second.n_users
        assert len(first.interactions) == len(second.interactions)
        assert first.users.tolist() == second.users.tolist()
        assert first.items.tolist() == second.items.tolist()
        assert first.clock == second.clock
        assert first.hashes() == second.hashes()

    return check


@pytest.fixture(scope="session")
def figures(make_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Any]:
    """Run a small study on a folder and return its numbers."""
    from stagelens.pipeline.experiment.runner import simulate

    kept: dict[Path, Any] = {}

    def run(folder: Path) -> Any:
        if folder not in kept:
            place = tmp_path_factory.mktemp("run")
            study = make_study(**{"data.path": str(folder), "measure.latency_queries": 0})
            result = simulate(study, out=place / "out", store=place / "store")
            kept[folder] = [
                (system["stage"], system["system"], system["metrics"]) for system in result.summary["systems"]
            ]
        return kept[folder]

    return run


@pytest.fixture
def importing(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run ``simulate data import`` here; return what ``--json`` prints."""
    from stagelens.pipeline.cli import main

    def run(*words: object) -> dict[str, Any]:
        assert main(["data", "import", *map(str, words), "--json"]) == 0
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        return told

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Run an import that must end with this status and leave nothing; return what it says."""
    from stagelens.pipeline.cli import main

    def run(status: int, *words: object) -> str:
        target = tmp_path / "refused" / "out"
        format_, source, *rest = map(str, words)
        assert main(["data", "import", format_, source, str(target), *rest]) == status
        assert not target.parent.exists() or not list(target.parent.iterdir())
        return capsys.readouterr().err

    return run


@pytest.fixture
def run_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run every ``simulate`` command of a page, then its Python, in a folder; return how many there were."""
    from stagelens.pipeline.cli import main

    def run(page: str, folder: Path) -> int:
        monkeypatch.chdir(folder)
        text = (DOCS / page).read_text(encoding="utf-8")
        lines = [
            line.strip().removeprefix("$ ")
            for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
            for line in block.replace("\\\n", " ").splitlines()
        ]
        commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("simulate ")]
        for words in commands:
            status = main(words)
            assert status == 0, f"{page}: {words}: {capsys.readouterr().err}"
        programs = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
        for program in programs:
            exec(compile(program, page, "exec"), {})
        return len(commands) + len(programs)

    return run
