"""What may be wrong with a data set: everything found in one go, counted and explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Dataset, Interactions, Split
from stagelens.pipeline.data.datasets import read_dataset
from stagelens.pipeline.data.faults import Fault, Findings
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.data.vectors import summarize
from stagelens.pipeline.errors import DataError

_EARLIEST = 631_152_000
"""1990-01-01: a real clock before it is hardly a log of choices."""


def check(
    path: str,
    *,
    positive: float | None = None,
    weight: bool = False,
    columns: Mapping[str, str] | None = None,
    item_columns: Sequence[str] = (),
    user_columns: Sequence[str] = (),
    split: str = "auto",
    split_seed: int = 0,
) -> list[Fault]:
    """Return the faults of a data set's folder: errors first, then warnings, then notes.

    Unlike loading, this goes on after a fault: broken rows are left aside and the rest is looked over.

    Args:
        path: The folder.
        positive: As in ``load_dataset``; likewise the next four.
        weight: Use the value column as event weight.
        columns: Our column name -> the file's.
        item_columns: Columns of the items table that become ranker features.
        user_columns: Likewise of the users table.
        split: Kind of split.
        split_seed: Of its random part.

    Raises:
        ConfigError: An option is wrong (the data are not to blame).
    """
    findings = Findings(strict=False)
    dataset = read_dataset(
        path,
        findings,
        positive=positive,
        weight=weight,
        columns=columns,
        item_columns=item_columns,
        user_columns=user_columns,
    )
    if dataset is not None:
        windows: Split | None = None
        try:
            windows = make_split(dataset, split, seed=split_seed)
        except DataError as error:
            found, closed, remedy = str(error).removeprefix(f"{path}: ").partition("). ")
            findings.add("empty-window", str(path), found + closed.strip(". "), remedy=remedy)
        findings.faults += check_dataset(dataset, windows)
    rank = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings.faults, key=lambda fault: rank[fault.severity])


def check_dataset(dataset: Dataset, split: Split | None) -> list[Fault]:
    """Return what a data set, loaded or generated, and its split show."""
    findings = Findings(strict=False)
    where = dataset.source or dataset.name
    _check_vectors(dataset, findings)
    _check_degrees(dataset, where, findings)
    if dataset.clock == "real":
        _check_clock(dataset, where, findings)
    if split is not None:
        _check_cold(dataset, split, where, findings)
        if dataset.clock != "none":
            _check_leaks(split, where, findings)
    return findings.faults


def _shown(ids: NDArray[Any], codes: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    return tuple(repr(value) for value in ids[codes[:3]].tolist())


def _check_vectors(dataset: Dataset, findings: Findings) -> None:
    for name, table in dataset.modalities.items():
        look, where = summarize(table), f"modality {name}"
        present = int(table.present.sum())
        if look.duplicate:
            found = f"{look.duplicate} of {present} vectors equal the vector of another item"
            effect = "Such items tie in every similarity; ties are broken at random, never by index."
            remedy = "Look for filled-in means or placeholder media, and make those rows zero (absent)."
            findings.add(
                "duplicate-vectors",
                where,
                found,
                count=look.duplicate,
                effect=effect,
                remedy=remedy,
            )
        if look.constant:
            found = f"{look.constant} vectors hold one value throughout"
            remedy = "If they stand for missing media, make those rows zero (absent)."
            findings.add("constant-vectors", where, found, count=look.constant, remedy=remedy)
        if look.zero_variance:
            found = f"{look.zero_variance} of {look.width} columns have one value over all items"
            effect = "They tell nothing."
            findings.add("constant-columns", where, found, count=look.zero_variance, effect=effect)
        if look.largest_norm > 100 * max(look.smallest_norm, 1e-12):
            found = f"vector lengths span {look.smallest_norm:.3g} to {look.largest_norm:.3g}"
            effect = "With raw inner products the longest win everywhere; cosine is not affected."
            findings.add("norm-spread", where, found, effect=effect)


def _check_degrees(dataset: Dataset, where: str, findings: Findings) -> None:
    user, item = dataset.interactions.user_degree(), dataset.interactions.item_degree()
    once, never = np.flatnonzero(user == 1), np.flatnonzero(item == 0)
    if len(once):
        found = f"{len(once)} of {dataset.n_users} users have one event"
        effect = "Splits made per user keep that event in history."
        shown = _shown(dataset.users, once)
        findings.add("single-event-users", where, found, count=len(once), examples=shown, effect=effect)
    idle = np.flatnonzero(user == 0)
    if len(idle):
        found = f"{len(idle)} of {dataset.n_users} users have no event that counts"
        shown = _shown(dataset.users, idle)
        findings.add("users-without-events", where, found, count=len(idle), examples=shown)
    if len(never):
        found = f"{len(never)} of {dataset.n_items} catalogue items have no event"
        effect = "They stay candidates: only content can reach them."
        shown = _shown(dataset.items, never)
        findings.add("items-without-events", where, found, count=len(never), examples=shown, effect=effect)


def _check_clock(dataset: Dataset, where: str, findings: Findings) -> None:
    time = dataset.interactions.time
    early = int((time < _EARLIEST).sum())
    if early:
        found = f"{early} of {len(time)} timestamps lie before 1990"
        effect = "Global time puts them first."
        remedy = 'If they are positions or unknown moments, say clock = "order" or "none" in dataset.toml.'
        findings.add("early-timestamps", where, found, count=early, effect=effect, remedy=remedy)
    distinct = len(np.unique(time))
    if distinct < 100 <= len(time):
        found = f"only {distinct} distinct timestamps in {len(time)} events"
        effect = "Events of one moment stay in one window, so windows differ from 70/10/10/10."
        findings.add("coarse-clock", where, found, count=distinct, effect=effect)


def _check_cold(dataset: Dataset, split: Split, where: str, findings: Findings) -> None:
    """Count test users and items that training never saw; dropping them would hide the cold start."""
    train, test = split.train, split.test
    users = np.unique(test.user)
    cold_users = users[train.user_degree()[users] == 0]
    if len(cold_users):
        found = f"{len(cold_users)} of {len(users)} test users have no training event"
        effect = "They count; only popularity can serve them."
        shown = _shown(dataset.users, cold_users)
        findings.add("cold-test-users", where, found, count=len(cold_users), examples=shown, effect=effect)
    cold = train.item_degree()[test.item] == 0
    if cold.any():
        items = np.unique(test.item[cold])
        found = (
            f"{int(cold.sum())} of {len(test)} test events are of {len(items)} items without a training event"
        )
        effect = "They count; only content can find them."
        shown = _shown(dataset.items, items)
        findings.add("cold-test-items", where, found, count=int(cold.sum()), examples=shown, effect=effect)
        lacking = [name for name, table in dataset.modalities.items() if not table.present[items].any()]
        if lacking:
            found = f"none of the {len(items)} items tested without training has {' or '.join(lacking)}"
            findings.add("cold-items-without-content", where, found, count=len(items))


def _check_leaks(split: Split, where: str, findings: Findings) -> None:
    """Count training events that lie after test events: of the same user, and of anyone."""
    train, test = split.train, split.test
    first = np.full(train.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, test.user, test.time)
    own = train.time > first[train.user]
    if own.any():
        found = f"{int(own.sum())} of {len(train)} training events come after a test event of their user"
        effect = "Training knows the future of the users it is tested on: numbers come out too good."
        remedy = "Cut by time when making the split, or set data.split to leave-last-out or global-time."
        findings.add("leak-own-future", where, found, count=int(own.sum()), effect=effect, remedy=remedy)
    if split.clock != "real":
        return
    later = _later(train, test)
    if later:
        found = f"{later} of {len(train)} training events are later than the first test event"
        effect = "Item popularity and co-occurrence of the test period are known in training."
        remedy = "A global-time split has none of these."
        findings.add("leak-global-time", where, found, count=later, effect=effect, remedy=remedy)
    if test.time.max() < train.time.min():
        found = "the whole test window lies before training"
        remedy = "Check the labels of the split column."
        findings.add("test-before-train", where, found, count=len(test), remedy=remedy)


def _later(train: Interactions, test: Interactions) -> int:
    return int((train.time > test.time.min()).sum())
