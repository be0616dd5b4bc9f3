"""Training through LightGBM's native API, in this process or in one of its own, with a stable early stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from stagelens.pipeline.core import Float32, Rows
from stagelens.pipeline.errors import MissingExtra


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop, and which round is best.

    A single valid curve jumps from tree to tree by more than it rises, so its plain maximum may lie at tree 2
    in one training and at tree 60 in the next. The moving average over the last ``smoothing`` rounds decides;
    the best round is the end of the best window, never before ``floor``.

    Attributes:
        smoothing: Rounds averaged.
        floor: Trees at least.
        patience: Rounds without a better window before training stops.
    """

    smoothing: int
    floor: int
    patience: int

    def best(self, curve: list[float]) -> int:
        """Return the number of trees to keep: from 1, at most ``len(curve)``."""
        width = min(self.smoothing, len(curve))
        means = np.convolve(np.asarray(curve, dtype=np.float64), np.ones(width) / width, mode="valid")
        first = max(0, min(self.floor, len(curve)) - width)  # windows that end before the floor do not count
        return width + first + int(np.argmax(means[first:]))

    def done(self, curve: list[float]) -> bool:
        """Say whether ``patience`` rounds passed since the best window ended."""
        return len(curve) >= self.floor + self.patience and len(curve) - self.best(curve) >= self.patience


@dataclass(frozen=True, slots=True)
class Boosted:
    """A trained model.

    Attributes:
        text: LightGBM's model text, cut at the best round, without the parameters (they name the threads).
        curve: ndcg@10 on valid after every round; empty without valid rows.
        rounds: Rounds trained.
        best: Rounds kept.
    """

    text: str
    curve: list[float]
    rounds: int
    best: int


def boost(params: dict[str, Any], trees: int, stopping: Stopping, rows: Rows, valid: Rows) -> Boosted:
    """Train at most ``trees`` rounds in this process.

    Raises:
        MissingExtra: LightGBM, or the OpenMP library of the system that it needs, is not installed.
    """
    lightgbm = load_lightgbm()
    train_set = _dataset(lightgbm, params, rows, None)
    curve: list[float] = []
    callbacks, valid_sets = [], []
    if len(valid.group):
        valid_sets = [_dataset(lightgbm, params, valid, train_set)]

        def follow(state: Any) -> None:
            # LightGBM adds lists in an order that depends on the threads; the last digits must decide nothing
            curve.append(round(float(state.evaluation_result_list[0][2]), 12))
            if stopping.done(curve):
                raise lightgbm.callback.EarlyStopException(len(curve) - 1, state.evaluation_result_list)

        callbacks = [follow]
    booster = lightgbm.train(
        params, train_set, num_boost_round=trees, valid_sets=valid_sets, callbacks=callbacks
    )
    rounds = int(booster.current_iteration())
    best = min(stopping.best(curve), rounds) if curve else rounds
    text = booster.model_to_string(num_iteration=best)
    return Boosted(text.partition("\nparameters:")[0] + "\n", curve, rounds, best)


def load_lightgbm() -> ModuleType:
    """Import LightGBM.

    Raises:
        MissingExtra: It is not installed, or the system lacks its OpenMP library; the message names the
            package.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtra("lightgbm is needed here and not installed: pip install lightgbm") from error
    except OSError as error:
        raise MissingExtra(
            f"LightGBM cannot load a system library ({error}). It needs OpenMP: apt-get install libgomp1 "
            "(Debian, Ubuntu), dnf install libgomp (Fedora), brew install libomp (macOS)."
        ) from error
    found: ModuleType = lightgbm
    return found


def _dataset(lightgbm: ModuleType, params: dict[str, Any], rows: Rows, reference: Any) -> Any:
    made = lightgbm.Dataset(
        rows.values, rows.label, group=rows.group, weight=rows.weight, reference=reference, params=params
    )
    return made.construct()  # bins now; the raw matrix is the caller's and is let go


FIELDS = ("values", "label", "group", "user", "item")


def boost_apart(params: dict[str, Any], trees: int, stopping: Stopping, rows: Rows, valid: Rows) -> Boosted:
    """Train in a process of its own, with the same result; arrays travel as temporary files.

    Raises:
        MissingExtra: As ``boost``.
        RuntimeError: The other process failed; the message holds the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="stagelens-") as name:
        folder = Path(name)
        for kind, table in (("train", rows), ("valid", valid)):
            for part in FIELDS:
                np.save(folder / f"{kind}.{part}.npy", getattr(table, part))
            if table.weight is not None:
                np.save(folder / f"{kind}.weight.npy", table.weight)
        job = {"params": params, "trees": trees, "stopping": asdict(stopping)}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        code = f"from {__name__} import work; work({str(folder)!r})"
        environment = {**os.environ, "STAGELENS_ISOLATE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        answer = folder / "answer.json"
        if done.returncode or not answer.is_file():
            raise RuntimeError(f"LightGBM's own process ended with {done.returncode}: {done.stderr[-2000:]}")
        told = json.loads(answer.read_text(encoding="utf-8"))
        if "missing" in told:
            raise MissingExtra(told["missing"])
        return Boosted(**told)


def work(name: str) -> None:
    """Train what ``boost_apart`` left in a folder, and leave the answer there."""
    folder = Path(name)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))

    def table(kind: str) -> Rows:
        parts = {part: np.load(folder / f"{kind}.{part}.npy", mmap_mode="r") for part in FIELDS}
        file = folder / f"{kind}.weight.npy"
        weight: Float32 | None = np.load(file) if file.is_file() else None
        return Rows(names=(), weight=weight, **parts)

    try:
        made = boost(job["params"], job["trees"], Stopping(**job["stopping"]), table("train"), table("valid"))
        told: dict[str, Any] = asdict(made)
    except MissingExtra as error:
        told = {"missing": str(error)}
    (folder / "answer.json").write_text(json.dumps(told), encoding="utf-8")
