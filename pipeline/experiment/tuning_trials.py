"""Trials of ``simulate tune``: how the next one is drawn, and the file that keeps those that have ended."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stagelens.pipeline.errors import require
from stagelens.pipeline.experiment.tuning_options import Sampler
from stagelens.pipeline.experiment.tuning_space import Dimension, Searched, Value
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.space import Choice, Whole

State = Literal["complete", "failed", "duplicate"]
RANDOM_TRIALS = 10
"""Trials, the defaults among them, before the estimator takes over."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of values and what came of it.

    Attributes:
        number: From 0, the defaults.
        parameters: By dotted field name.
        value: Mean of the metric on valid; None where it failed.
        seconds: Of drawing, fitting and measuring.
        state: ``duplicate``: the same recipe as an earlier trial, whose value it has.
        reason: Why it failed, or which trial it repeats.
    """

    number: int
    parameters: Mapping[str, Value]
    value: float | None
    seconds: float
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TrialLog:
    """The trials of one arm, one line of JSON each, written as they end."""

    path: Path

    def read(self) -> list[Trial]:
        """Return the trials; a line that a killed process left unfinished is cut off."""
        trials: list[Trial] = []
        whole = 0
        if self.path.is_file():
            for line in self.path.read_bytes().splitlines(keepends=True):
                try:
                    trial = Trial(**json.loads(line))
                except (ValueError, TypeError):
                    break
                if not line.endswith(b"\n") or trial.number != len(trials):
                    break
                trials.append(trial)
                whole += len(line)
            if whole < self.path.stat().st_size:
                os.truncate(self.path, whole)
        return trials

    def append(self, trial: Trial) -> None:
        """Add a trial that has ended."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as handle:
            handle.write(json.dumps(asdict(trial)).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())


def next_parameters(arm: Searched, ended: Sequence[Trial], sampler: Sampler, seed: int) -> dict[str, Value]:
    """Return the values of the next trial: the defaults, then what the sampler draws.

    It follows from the seed and the trials that have ended alone, so a search that was killed goes on as if it had
    not been. Trials that failed count as the worst.

    References:
        Bergstra et al. 2011, NeurIPS 24 (tree-structured Parzen estimator); Optuna's multivariate variant.
    """
    if not ended:
        return arm.default
    optuna = require("optuna", "tune")
    from optuna.trial import TrialState, create_trial

    ranges = {path: _distribution(optuna.distributions, dimension) for path, dimension in arm.space.items()}
    with _quiet(optuna):
        study = optuna.create_study(
            direction="maximize", sampler=_sampler(optuna.samplers, sampler, derive(seed, "tune", len(ended)))
        )
        for trial in ended:
            parameters = dict(trial.parameters)
            if not all(_within(arm.space[path], value) for path, value in parameters.items()):
                continue  # defaults may lie outside of the range
            study.add_trial(
                create_trial(
                    params=parameters,
                    distributions=ranges,
                    value=trial.value,
                    state=TrialState.PRUNED if trial.value is None else TrialState.COMPLETE,
                )
            )
        drawn: dict[str, Value] = study.ask(ranges).params
    return {path: drawn[path] for path in arm.space}


def _sampler(samplers: Any, kind: Sampler, seed: int) -> Any:
    seed %= 1 << 32
    if kind == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True)


def _distribution(kinds: Any, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return kinds.CategoricalDistribution(dimension.values)
    if isinstance(dimension, Whole):
        return kinds.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _within(dimension: Dimension, value: Value) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    return isinstance(value, int | float) and dimension.low <= value <= dimension.high


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Let Optuna neither log every study nor warn that the multivariate estimator is young (before its version 5)."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
