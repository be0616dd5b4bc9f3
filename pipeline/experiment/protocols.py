"""Named protocols, and the published confounds that a study may switch on: what they set, and how loudly they are told.

A named protocol fills fields of ``protocol``; a field that is set as well stands. ``default``: fitted on train, asked
with train, items of train and valid not returned. ``full``: the same, and systems rank the whole catalogue in one
stage. ``published``: train in all three. ``loo99``: as ``default``, and every held-out item is also ranked among 99
that the user never had.

References:
    Zhou, Zhang, Sun & Shen 2025, arXiv:2508.05377: the setting of ``published``; in the code released with it some
    systems are fitted on train and valid, choose on test, and report a DCG without its ideal, while others are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from stagelens.pipeline.errors import ConfigError, nearest

if TYPE_CHECKING:
    from stagelens.pipeline.experiment.options import Study

Protocol = Literal["default", "full", "published", "loo99"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
ONE_STAGE = ("full", "published")
"""Protocols under which references are also one-stage rankers unless a stage is named."""
OF_REFERENCES = ("full", "loo99")
"""Protocols that no other kind of study has."""
LONGER = "train+valid"
_DEFAULT = {"fit_on": "train", "input": "train", "mask": LONGER, "select_on": "valid"}
FIELDS: dict[str, dict[str, str]] = {
    "default": _DEFAULT,
    "full": _DEFAULT,
    "published": {**_DEFAULT, "mask": "train"},
    "loo99": _DEFAULT,
}
"""What each fills in."""


def fields_of(name: Any) -> dict[str, str]:
    """Return the fields of a named protocol, its name among them.

    Raises:
        ConfigError: There is no such protocol.
    """
    if name not in FIELDS:
        raise ConfigError(nearest("protocol", str(name), PROTOCOLS))
    return {"name": str(name), **FIELDS[str(name)]}


def expanded(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study's table with the fields of the protocols that its axes name; what an axis sets as well stands."""
    if not isinstance(table.get("axes"), Mapping):
        return dict(table)
    return {**table, "axes": {axis: _labels(labels) for axis, labels in table["axes"].items()}}


def _labels(labels: Any) -> Any:
    if not isinstance(labels, Mapping):
        return labels
    found = dict(labels)
    for label, patch in labels.items():
        own = patch.get("protocol") if isinstance(patch, Mapping) else None
        if isinstance(own, Mapping) and "name" in own:
            found[label] = {**patch, "protocol": {**fields_of(own["name"]), **own}}
    return found


def check(study: Study) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: The study's kind or stage has nothing for the protocol, or nothing is chosen that could be
            chosen on test.
    """
    name, references = study.protocol.name, study.kind == "references"
    if name in OF_REFERENCES and not references:
        what = (
            "ranks the whole catalogue in one stage" if name == "full" else "asks one channel for its scores"
        )
        raise ValueError(
            f"protocol {name} {what}; kind = {study.kind} has two stages. Run --config references --protocol {name}"
            + (
                "; or --stage recall, which measures candidate sets of the whole catalogue"
                if name == "full"
                else ""
            )
        )
    if name == "full" and study.stage == "recall":
        raise ValueError(
            "protocol full is about one-stage rankers, and stage = recall leaves them out. Leave --stage out, or "
            "--protocol"
        )
    if references and study.stage == "rerank":
        raise ValueError(
            "stage = rerank: references have no re-ranker. Allowed: recall, or both (candidate lists, and the same "
            "systems as one-stage rankers)"
        )
    if study.protocol.select_on == "test":
        _check_choice(study)


def _check_choice(study: Study) -> None:
    shows = "protocol.select_on = test shows what choosing on test manufactures"
    if study.kind == "compare":
        raise ValueError(f"{shows}; here one system alone gets it: --confound select-on-test")
    if study.kind != "references":
        raise ValueError(f"{shows}; kind = {study.kind} has no such choice. Use kind = references or compare")
    if study.references.settings == 1:
        raise ValueError(
            f"{shows}; with references.settings = 1 nothing is chosen, so it changes nothing. Set "
            "references.settings to 2 or more"
        )


def told(study: Study) -> dict[str, str]:
    """Return the protocol in force, for the outputs."""
    own = study.protocol
    fields = {field: str(getattr(own, field)) for field in ("name", *_DEFAULT)}
    return {**fields, "dcg": study.measure.dcg}


def warnings_of(study: Study) -> list[str]:
    """Return one line for every confound that the study switches on, or an axis of it."""
    found = _warnings(study.protocol.model_dump(), "")
    for axis, labels in study.axes.items():
        for label, patch in labels.items():
            changed = patch.get("protocol")
            if isinstance(changed, Mapping):
                found += _warnings(changed, f" (axes.{axis}.{label})")
    if study.measure.dcg == "raw":
        found.append(
            "WARNING: measure.dcg = raw: dcg@k is a sum that is not divided by its ideal, published elsewhere under "
            "the name NDCG. It grows with a user's held-out items and passes 1: never compare it with ndcg@k"
        )
    return found


def _warnings(fields: Mapping[str, Any], where: str) -> list[str]:
    found = []
    if fields.get("fit_on") == LONGER:
        found.append(
            f"WARNING: protocol.fit_on = {LONGER}{where}: recall that serves test was fitted on valid as well. Never "
            "compare with systems fitted on train"
        )
    if fields.get("input") == LONGER:
        found.append(
            f"WARNING: protocol.input = {LONGER}{where}: at test, queries hold the items of valid as well. Never "
            "compare with systems asked with train"
        )
    if fields.get("name") == "published" and fields.get("mask") == LONGER:
        found.append(
            f"WARNING: protocol published with mask = {LONGER}{where}: items of valid are kept out of the lists, which "
            "lifts every figure. Never compare with figures published for mask = train"
        )
    if fields.get("select_on") == "test":
        found.append(
            f"WARNING: protocol.select_on = test{where}: settings were chosen by their value on TEST. Shown for its "
            "size; nothing of it is a result"
        )
    return found
