"""The settings that are tried of every fusion and every ensemble: as many for each, where there are as many."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.integration_options import CompareOptions
from stagelens.pipeline.merge import Merge
from stagelens.pipeline.recipe import Recipe, fields_of, load, lookup

Integration = Literal["fusion", "ensemble"]
INTERACTION = "interaction"
NEURAL = "fusion.Projected"

CONTENT_WEIGHTS = (1.0, 0.25, 0.1, 4.0, 0.5, 2.0, 0.05, 10.0)
"""Weight of every content signal where interactions have 1: the same ladder for fusions and for ensembles."""
VARIED: dict[str, tuple[Any, ...]] = {
    "normalise": ("min-max", "z-score", "rank", "raw"),
    "rrf_k": (60.0, 10.0, 200.0, 1.0, 30.0, 100.0, 5.0, 1000.0),
    "epochs": (3, 1, 6, 10, 2, 4, 8, 15),
    "l2": (1.0, 0.1, 10.0, 0.01, 100.0, 0.001, 1000.0, 1e-4),
    "leaves": (7, 15, 3, 31, 5, 11, 23, 63),
}
"""What is varied of recipes without weights: the first of these fields that a recipe has and its table leaves open."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to integrate the signals.

    Attributes:
        text: What is set, as shown.
        rule: The fusion's vectors or the ensemble's rule; None: a merge.
        merge: Of the union, where there is no rule.
        weights: One a signal, for the merge.
        trials: Trials on valid that stand behind it: more than 1 where the rule tunes itself.
    """

    text: str
    rule: Recipe | None
    merge: Merge = "rrf"
    weights: tuple[float, ...] = ()
    trials: int = 1


@dataclass(frozen=True, slots=True)
class Method:
    """A fusion or an ensemble with its settings.

    Attributes:
        name: Shown in tables.
        kind: Which.
        settings: At least one.
    """

    name: str
    kind: Integration
    settings: tuple[Setting, ...]


def methods_of(
    options: CompareOptions, signals: Mapping[str, str | Recipe]
) -> tuple[tuple[Method, ...], list[str]]:
    """Return every fusion and ensemble with its settings, and notes for the reader.

    Args:
        options: Of the comparison.
        signals: Name -> a modality's name or a recipe of vectors; interactions first.

    Raises:
        ConfigError: An unknown recipe or field, a recipe of the wrong role, or a method given twice.
    """
    notes: list[str] = []
    fusions = list(options.fusion)
    if "fusion" not in options.model_fields_set and not _has_torch():
        fusions = [table for table in fusions if table["use"] != NEURAL]
        notes.append(f"{NEURAL} is left out: torch is not installed (extra neural)")
    found: list[Method] = []
    asked: dict[Integration, Sequence[Mapping[str, Any]]] = {"fusion": fusions, "ensemble": options.ensemble}
    for kind, tables in asked.items():
        for table in tables:
            method = _method(table, kind, signals, options.trials)
            if method.name in {one.name for one in found}:
                raise ConfigError(f"compare.{kind}: {method.name} stands there twice; give each once")
            tried = sum(setting.trials for setting in method.settings)
            if tried < options.trials:
                notes.append(f"{method.name} has {tried} of {options.trials} trials: there is no more to set")
            found.append(method)
    return tuple(found), notes


def levelled(methods: Sequence[Method]) -> tuple[tuple[Method, ...], list[str]]:
    """Return the methods with as many trials for each kind: settings of the larger kind are dealt method by method.

    The best of a kind is chosen among all trials of the kind, so a kind with more of them has the better chance.
    """
    total = {
        kind: sum(s.trials for m in methods if m.kind == kind for s in m.settings)
        for kind in get_args(Integration)
    }
    least = min((count for count in total.values() if count), default=0)
    kept: dict[str, list[Setting]] = {method.name: [] for method in methods}
    spent = dict.fromkeys(total, 0)
    for turn in range(max((len(method.settings) for method in methods), default=0)):
        for method in methods:
            if turn < len(method.settings):
                setting = method.settings[turn]
                first = not kept[method.name]  # no method leaves the comparison
                if first or spent[method.kind] + setting.trials <= least:
                    kept[method.name].append(setting)
                    spent[method.kind] += setting.trials
    notes = [
        f"{kind}s have {spent[kind]} of their {count} settings, for as many trials as the other kind"
        for kind, count in total.items()
        if spent[kind] < count
    ]
    return tuple(dataclasses.replace(one, settings=tuple(kept[one.name])) for one in methods), notes


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


def _method(
    table: Mapping[str, Any], kind: Integration, signals: Mapping[str, str | Recipe], trials: int
) -> Method:
    if "merge" in table:
        return _merge(table, kind, signals, trials)
    where = f"compare.{kind}"
    if "use" not in table:
        raise ConfigError(f'{where}: {dict(table)!r} has neither use = "fusion.Name" nor merge = "quota"')
    cls = lookup(str(table["use"]))
    role = "vectors" if kind == "fusion" else "ensemble"
    if cls.role != role:
        raise ConfigError(f"{where}: {table['use']} is a {cls.role or 'recipe'}, expected {role}")
    given: dict[str, Any] = {"of": tuple(signals.values())} if kind == "fusion" else {}
    given |= {key: _by_signal(value, signals, where) for key, value in table.items()}
    known = fields_of(cls)
    own = 1
    if given.get("weights") == "valid" and "trials" in known:
        own = given.setdefault("trials", trials)
    settings = tuple(
        Setting(text, load({**given, **fields}, where=where), trials=own)
        for text, fields in _varied(known, table, signals, trials)
    )
    return Method(f"{kind}: {_name(table)}", kind, settings)


def _merge(
    table: Mapping[str, Any], kind: Integration, signals: Mapping[str, str | Recipe], trials: int
) -> Method:
    how, known = table["merge"], get_args(Merge)
    if kind == "fusion" or how not in known:
        raise ConfigError(nearest("merge of compare.ensemble", str(how), known))
    if set(table) - {"merge", "weights"}:
        raise ConfigError(f"compare.ensemble: {dict(table)!r}; beside merge only weights may be given")
    if "weights" in table:
        ladder = [("as given", {"weights": _by_signal(table["weights"], signals, "compare.ensemble")})]
    else:  # a round-robin only asks whether a weight is above 0
        ladder = _varied(["weights"], table, signals, 1 if how == "round-robin" else trials)
    settings = tuple(Setting(text, None, how, tuple(fields["weights"])) for text, fields in ladder)
    return Method(f"{kind}: {_name(table)}", kind, settings)


def _varied(
    known: Sequence[str], table: Mapping[str, Any], signals: Mapping[str, Any], trials: int
) -> list[tuple[str, dict[str, Any]]]:
    """Return what is set in each trial, the plainest first."""
    if "weights" in known:
        if "weights" in table:
            return [("weights tuned on valid" if table["weights"] == "valid" else "as given", {})]
        return [
            (
                f"content weight {weight:g}",
                {"weights": tuple(1.0 if s == INTERACTION else weight for s in signals)},
            )
            for weight in CONTENT_WEIGHTS[:trials]
        ]
    trees = table.get("model") == "lightgbm"  # a ridge means nothing to trees
    for field, values in VARIED.items():
        if field in known and field not in table and (field == "leaves") == trees:
            return [(f"{field} {value}", {field: value}) for value in values[:trials]]
    return [("as given" if len(table) > 1 else "nothing to set", {})]


def _by_signal(value: Any, signals: Mapping[str, Any], where: str) -> Any:
    """Turn weights by the name of a signal into one a signal."""
    if not (isinstance(value, Mapping) and "use" not in value):
        return value
    for name in value:
        if name not in signals:
            raise ConfigError(nearest(f"signal of {where}", name, signals))
    return tuple(float(value.get(name, 0.0)) for name in signals)


def _name(table: Mapping[str, Any]) -> str:
    """Return ``Concat``, ``Concat(scale=whitened)``, ``quota``."""
    head = str(table.get("merge") or table["use"]).rpartition(".")[2]
    told = [f"{key}={_short(value)}" for key, value in table.items() if key not in ("use", "merge")]
    return f"{head}({', '.join(told)})" if told else head


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ":".join(f"{name} {part:g}" for name, part in value.items())
    return ":".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
