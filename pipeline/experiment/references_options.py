"""Options of ``kind = "references"``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
from pydantic import Field

from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.option_table import Options, patched
from stagelens.pipeline.recipe import load

SYSTEMS = (
    ("Item-KNN", "recall.ItemKNN"),
    ("P3alpha", "recall.P3alpha"),
    ("SLIM-BPR", "recall.SLIMBPR"),
    ("EASE-R", "recall.EASE"),
    ("RP3beta", "recall.RP3beta"),
    ("SVD", "recall.PureSVD"),
    ("SLIM-ElasticNet", "recall.SLIM"),
    ("iALS", "recall.IALS"),
    ("NMF", "recall.NMF"),
    ("User-KNN", "recall.UserKNN"),
    ("TopPop", "recall.Popular"),
    ("MF-BPR", "recall.MFBPR"),
    ("Random", "recall.Random"),
)
"""The interaction-only systems of McElfresh et al. 2022 (arXiv:2206.11886), by their names there."""
SPLIT = "split"
"""The key of ``references.tuned.NAME`` that is no system: the split its values were chosen on."""


class ReferenceOptions(Options):
    """Which interaction-only systems, with which values."""

    systems: tuple[dict[str, Any], ...] = tuple({"name": name, "use": use} for name, use in SYSTEMS)
    """``name``, ``use`` (a channel, or vectors, which ``recall.Dense`` serves) and fields of the recipe."""
    tuned: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Data set -> system -> fields that take the place of those above when the data set has that name. ``split`` beside
    the systems: the fingerprint of the split they were chosen on, or its first eight digits and more."""
    baseline: str = "Item-KNN"
    """The system that all others are compared with."""
    settings: int = Field(1, ge=1)
    """Settings tried of every system with a search space: its values, then draws from the space (what its
    table sets is held); one is chosen on valid. 1: nothing is chosen. More need the extra ``tune``."""

    @pydantic.model_validator(mode="after")
    def _names_are_known(self) -> ReferenceOptions:
        names = [str(table.get("name", "")) for table in self.systems]
        if not all(names) or not all(table.get("use") for table in self.systems):
            raise ValueError(
                "references.systems: every table needs a name and a recipe, like "
                '{name = "Item-KNN", use = "recall.ItemKNN"}'
            )
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(
                f"references.systems: {', '.join(doubled)} stands there twice; names must differ"
            )
        if SPLIT in names:
            raise ValueError(
                f"references.systems: {SPLIT} names no system, it is what references.tuned says of its values; "
                "choose another name"
            )
        if self.baseline not in names:
            raise ValueError(nearest("system of references.baseline", self.baseline, names))
        known: dict[str, list[Mapping[str, Any]]] = {}  # fewer systems leave values unused
        for table in (*self.systems, *({"name": name, "use": use} for name, use in SYSTEMS)):
            known.setdefault(str(table["name"]), []).append(table)
        for data, found in self.tuned.items():
            _check_tuned(f"references.tuned.{data}", found, known)
        return self


def with_values(table: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a system's table with tuned values in it; a whole recipe takes its place."""
    own = {key: value for key, value in table.items() if key != "name"}
    return dict(values) if "use" in values else patched(own, values)


def _check_tuned(
    where: str, found: Mapping[str, Any], known: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    for name, value in found.items():
        if name == SPLIT:
            quoted = "" if isinstance(value, str) else " Write it in quotes."
            if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{8,64}", value)):
                raise ValueError(
                    f"{where}.{SPLIT} = {value!r}: not the fingerprint of a split, 8 to 64 of the digits 0-9a-f. "
                    f"summary.json of a run has it, dataset.hashes.split.{quoted}"
                )
        elif name not in known:
            raise ValueError(nearest(f"system of {where}", name, known))
        elif not isinstance(value, Mapping):
            raise ValueError(
                f"{where}.{name} = {value!r}: write a table of fields, like {{ neighbours = 200 }}"
            )
        else:
            _check_values(f"{where}.{name}", value, known[name])


def _check_values(where: str, values: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> None:
    """Refuse values that no system of that name has: this study's, or the one that stored values were chosen for."""
    faults = []
    for table in tables:
        try:
            load(with_values(table, values), where=where)
        except ConfigError as fault:
            faults.append(fault)
    if len(faults) == len(tables):
        raise faults[0]
