"""The search of ``simulate tune``: arms take turns, every trial is written down as it ends."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from stagelens.pipeline.experiment.tuning_measure import Examiner
from stagelens.pipeline.experiment.tuning_options import TuneOptions
from stagelens.pipeline.experiment.tuning_space import Searched, Value
from stagelens.pipeline.experiment.tuning_trials import State, Trial, TrialLog, next_parameters
from stagelens.pipeline.native import release_memory
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.store import Store, locked

FAULTS = (ValueError, ArithmeticError, MemoryError, RuntimeError)
"""What fails a trial: values that a recipe refuses (ConfigError, DataError), and arithmetic that does not end well."""
STALE = 100
"""Repeats in a row after which a search limited by seconds alone has seen its space."""


@dataclass
class Search:
    """One arm at work.

    Attributes:
        arm: What is searched.
        log: Where its trials are kept.
        seed: Of the sampler.
        options: Budget and sampler.
        trials: Those within the budget.
        kept: How many of them were there before.
    """

    arm: Searched
    log: TrialLog
    seed: int
    options: TuneOptions
    trials: list[Trial] = field(default_factory=list)
    kept: int = 0

    def resume(self) -> None:
        """Read back what has ended, as far as the budget goes."""
        self.trials = within_budget(self.log.read(), self.options)
        self.kept = len(self.trials)

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return _spent(self.trials, self.options)

    @property
    def seconds(self) -> float:
        """What the trials took together."""
        return math.fsum(trial.seconds for trial in self.trials)

    def step(self, examiner: Examiner) -> None:
        """Make one trial and write it down."""
        examiner.prepare(self.arm.start)
        started = time.perf_counter()
        parameters = next_parameters(self.arm, self.trials, self.options.sampler, self.seed)
        value, state, reason = self._outcome(parameters, examiner)
        seconds = time.perf_counter() - started
        trial = Trial(len(self.trials), parameters, value, seconds, state, reason)
        self.log.append(trial)
        self.trials.append(trial)

    def _outcome(self, parameters: dict[str, Value], examiner: Examiner) -> tuple[float | None, State, str]:
        for earlier in self.trials:
            if dict(earlier.parameters) == parameters and earlier.state != "duplicate":
                return earlier.value, "duplicate", f"the same as trial {earlier.number}"
        try:
            value = examiner.value(self.arm.recipe(parameters))
        except FAULTS as fault:
            return None, "failed", " ".join(str(fault).split()) or type(fault).__name__
        finally:
            release_memory()
        if not math.isfinite(value):
            return None, "failed", f"the metric is {value}"
        return value, "complete", ""


def within_budget(trials: Sequence[Trial], options: TuneOptions) -> list[Trial]:
    """Return the first trials, as many as the budget pays for."""
    found: list[Trial] = []
    for trial in trials:
        if _spent(found, options):
            break
        found.append(trial)
    return found


def _spent(trials: Sequence[Trial], options: TuneOptions) -> bool:
    if options.most is not None and len(trials) >= options.most:
        return True
    if options.seconds is None:
        return False
    stale = len(trials) >= STALE and all(trial.state == "duplicate" for trial in trials[-STALE:])
    return stale or math.fsum(trial.seconds for trial in trials) >= options.seconds


def run(
    arms: Sequence[Searched],
    examiner: Examiner,
    options: TuneOptions,
    *,
    seed: int,
    store: Store,
    progress: Progress,
) -> list[Search]:
    """Search every arm with the same budget; what an earlier run has ended is read back.

    Arms take turns, trial by trial: the time left is right from the start, and what is killed stopped evenly.
    """
    searches = [_search(arm, examiner, options, seed, store) for arm in arms]
    with contextlib.ExitStack() as stack:
        for path in sorted(
            search.log.path for search in searches
        ):  # one order: two processes never wait in a ring
            stack.enter_context(locked(path))
        for search in searches:
            search.resume()
            if search.kept and not search.done:
                progress.note(f"{search.arm.name}: goes on after {search.kept} trials that are kept")
        total = sum(_units(options) - _used(search) for search in searches)
        names = (
            ", ".join(search.arm.name for search in searches)
            if len(searches) < 4
            else f"{len(searches)} arms"
        )
        with progress.task(f"tuning {names}", total) as task:
            while waiting := [search for search in searches if not search.done]:
                for search in waiting:
                    before = _used(search)
                    search.step(examiner)
                    task.advance((_units(options) if search.done else _used(search)) - before)
    return searches


def _search(arm: Searched, examiner: Examiner, options: TuneOptions, seed: int, store: Store) -> Search:
    space = {path: repr(dimension) for path, dimension in arm.space.items()}
    key = fingerprint(
        "tune", arm.start, arm.start.inputs(), space, options.sampler, seed, examiner.key(arm.start)
    )
    log = TrialLog(store.place("tune", key).with_suffix(".jsonl"))
    return Search(arm, log, seed, options)


def _units(options: TuneOptions) -> int:
    """Return the steps of an arm's progress: trials, or thousandths of a second."""
    return options.most if options.most is not None else math.ceil(1000 * (options.seconds or 0.0))


def _used(search: Search) -> int:
    options = search.options
    used = len(search.trials) if options.most is not None else int(1000 * search.seconds)
    return min(used, _units(options))
