"""What ``simulate tune`` says: the block of its summary, its notes, and the configuration that uses what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from stagelens.pipeline.experiment.option_table import Options
from stagelens.pipeline.experiment.options import DataOptions, ProtocolOptions, Study
from stagelens.pipeline.experiment.protocols import OF_REFERENCES
from stagelens.pipeline.experiment.references import named_references, split_of_values
from stagelens.pipeline.experiment.references_options import SPLIT
from stagelens.pipeline.experiment.serving import served
from stagelens.pipeline.experiment.toml import to_toml
from stagelens.pipeline.experiment.tuning_search import Search
from stagelens.pipeline.experiment.tuning_space import Dimension
from stagelens.pipeline.experiment.tuning_trials import Trial
from stagelens.pipeline.recipe import load

MILESTONES = tuple(step * scale for scale in (1, 10, 100, 1000) for step in (1, 2, 5))
"""Numbers of trials after which the best so far is told."""
LATE = 0.9
"""A best trial beyond this share of the trials suggests that more of them would find better."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the search of one arm came to.

    Attributes:
        search: Its trials.
        best: The trial with the highest value, the first of equals; None where all failed.
    """

    search: Search
    best: Trial | None

    @classmethod
    def of(cls, search: Search) -> Found:
        """Choose on valid."""
        return cls(search, max(search.trials, key=_worth) if any(map(_known, search.trials)) else None)

    @property
    def table(self) -> dict[str, Any]:
        """The recipe with the best values, as a configuration holds it; with its own where all failed."""
        return self.search.arm.written(self.best.parameters if self.best else {})

    def record(self) -> dict[str, Any]:
        """Return its entry in the summary."""
        arm, trials, best = self.search.arm, self.search.trials, self.best
        first = trials[0].value if trials else None
        gain = best.value - first if best and best.value is not None and first is not None else None
        return {
            "arm": arm.name,
            "default": first,
            "best": best.value if best else None,
            "gain": gain,
            "trial": best.number if best else None,
            "trials": len(trials),
            "failed": sum(trial.state == "failed" for trial in trials),
            "duplicates": sum(trial.state == "duplicate" for trial in trials),
            "seconds": self.search.seconds,
            "parameters": dict(best.parameters) if best else None,
            "defaults": arm.default,
            "space": {path: _plain(dimension) for path, dimension in arm.space.items()},
            "edges": arm.edges(best.parameters) if best else [],
            "so_far": _so_far(trials),
        }

    def notes(self) -> list[str]:
        """Return what a reader should know before trusting the values."""
        arm, trials, best = self.search.arm, self.search.trials, self.best
        failed = [trial for trial in trials if trial.state == "failed"]
        said = []
        if failed:
            said.append(
                f"{arm.name}: {len(failed)} of {len(trials)} trials failed; the first: {failed[0].reason}"
            )
        if best is None:
            return said
        for path in arm.edges(best.parameters):
            dimension: Any = arm.space[path]
            value = best.parameters[path]
            said.append(
                f"{arm.name}: {path} = {_short(value)} lies on the edge of its range {_short(dimension.low)} to "
                f"{_short(dimension.high)}; better values may lie beyond"
            )
        if best.number >= max(LATE * len(trials), 2):
            said.append(
                f"{arm.name}: the best is trial {best.number + 1} of {len(trials)}; more trials may find better "
                "(--trials goes on from these)"
            )
        return said


def tuning_block(found: Sequence[Found], study: Study, users: int) -> dict[str, Any]:
    """Return the block ``tuning`` of the summary."""
    options = study.tune
    return {
        "measured_on": "valid",
        "stage": "rerank" if options.rerankers else "recall",
        "metric": options.target,
        "users": users,
        "sampler": options.sampler,
        "seeds": list(study.seeds),
        "budget": {"trials": options.most, "seconds": options.seconds},
        "arms": [one.record() for one in found],
        "notes": [note for one in found for note in one.notes()],
    }


def best_toml(found: Sequence[Found], study: Study, dataset: str, split: str, key: str) -> str:
    """Return a configuration with the best values: the base with every tuned channel, or the best re-ranker.

    A tuned channel takes the place of its namesake in ``recall.base``, or joins it; of two with one label the better.
    References take their place among those of the study. Data options and protocol of the search go with them.
    """
    options = study.tune
    ranked = sorted((one for one in found if one.best), key=lambda one: _worth(one.best), reverse=True)
    lines = [f"# simulate tune on {dataset}: {options.target} on valid, test not opened; run {key[:8]}."]
    lines += [
        f"# {one.search.arm.name}: {_worth(one.best):.4f}, with its defaults "
        + ("-" if (first := one.search.trials[0].value) is None else f"{first:.4f}")
        for one in ranked
    ]
    if options.rerankers:
        body: Mapping[str, Any] = {"rerank": {"reranker": ranked[0].table}}
    elif named_references(study):
        earlier = study.references.tuned.get(dataset, {})
        known = split_of_values(study, dataset)
        kept = earlier if known and split.startswith(known) else {}
        there = {SPLIT, *kept, *(one.search.arm.name for one in ranked)}
        if gone := [name for name in earlier if name not in there]:
            lines.append(f"# Left out, not known to be chosen on this split: the values of {', '.join(gone)}")
        body = _references(ranked, study, dataset, {**kept, SPLIT: split})
    else:
        body = {"recall": {"base": _base(ranked, study)}}
    under = searched_under(study, for_references="references" in body)
    return "\n".join([*lines, to_toml({**body, **under}).lstrip("\n")])


def searched_under(study: Study, *, for_references: bool = True) -> dict[str, dict[str, Any]]:
    """Return what a study must share with the search so that its test is none of the windows searched on.

    The options of ``data`` and ``protocol`` that are not as they are without being asked for; the folder stays open.
    A study of another kind goes by the fields of a protocol that only references have, not by its name.
    """
    name = study.protocol.name
    data = _set(study.data, DataOptions(path=study.data.path))
    protocol = _set(study.protocol, ProtocolOptions(name=name))
    if name != ProtocolOptions().name and (for_references or name not in OF_REFERENCES):
        protocol = {"name": name, **protocol}
    return {key: table for key, table in (("data", data), ("protocol", protocol)) if table}


def _set(options: Options, unset: Options) -> dict[str, Any]:
    plain = unset.model_dump(mode="json")
    return {key: value for key, value in options.model_dump(mode="json").items() if value != plain[key]}


def _references(
    ranked: Sequence[Found], study: Study, dataset: str, kept: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the study of references with what was found, over what is kept, under the name of the data set."""
    told = study.references
    found = {one.search.arm.name: one.table for one in ranked}
    tuned = {**told.tuned, dataset: {**kept, **found}}
    return {
        "kind": study.kind,
        "name": study.name,
        "seeds": list(study.seeds),
        "recall": {"size": study.recall.size},
        "measure": {"rank_k": list(study.measure.rank_k)},
        "references": {"systems": list(told.systems), "baseline": told.baseline, "tuned": tuned},
    }


def _base(ranked: Sequence[Found], study: Study) -> list[dict[str, Any]]:
    tuned: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for one in ranked:
        label = load(one.table).label
        if label not in taken and one.search.arm.start.label not in tuned:
            tuned[one.search.arm.start.label] = one.table
            taken.add(label)
    kept = [tuned.pop(load(served(table)).label, dict(table)) for table in study.recall.base]
    return [*kept, *tuned.values()]


def trial_rows(found: Sequence[Found]) -> list[tuple[str, Trial]]:
    """Return every trial with the name of its arm."""
    return [(one.search.arm.name, trial) for one in found for trial in one.search.trials]


def _plain(dimension: Dimension) -> dict[str, Any]:
    """Return the range itself, not what a data set has cut it by."""
    shown = {one.name: getattr(dimension, one.name) for one in fields(dimension) if one.repr}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in shown.items()}


def _known(trial: Trial) -> bool:
    return trial.value is not None


def _worth(trial: Trial | None) -> float:
    return -1.0 if trial is None or trial.value is None else trial.value


def _so_far(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the best value after 1, 2, 5, 10, ... trials and after all."""
    counts = [*(count for count in MILESTONES if count < len(trials)), *([len(trials)] if trials else [])]
    return [
        {"trials": count, "value": max(values) if (values := _values(trials[:count])) else None}
        for count in counts
    ]


def _values(trials: Sequence[Trial]) -> list[float]:
    return [trial.value for trial in trials if trial.value is not None]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
