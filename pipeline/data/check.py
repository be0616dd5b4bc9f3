"""What may be wrong with a data set: everything found in one go, counted and explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Dataset, Interactions, Split
from stagelens.pipeline.data.check_content import check_content
from stagelens.pipeline.data.check_files import check_files
from stagelens.pipeline.data.clock import moment
from stagelens.pipeline.data.datasets import read_dataset
from stagelens.pipeline.data.faults import Fault, Findings
from stagelens.pipeline.data.layout import open_folder
from stagelens.pipeline.data.splits import split as make_split
from stagelens.pipeline.data.tables import SHOWN
from stagelens.pipeline.errors import DataError

EARLIEST = 631_152_000
"""1990-01-01: a real clock before it is hardly a log of choices."""
DAY = 86_400
BUSY = 1_000
"""Events of a user within 24 hours that no person makes: one every 86 seconds, day and night."""
FEW = 100
"""Test users below which intervals are wide whatever is measured."""
LEFT = 20
"""Items left to rank that fit into any list."""


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
    folder = open_folder(path, columns, Findings(strict=False))  # its faults are told above
    if folder is not None:
        check_files(folder, findings)
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
    check_content(dataset, findings)
    _check_features(dataset, findings)
    _check_degrees(dataset, where, findings)
    if dataset.clock == "real":
        _check_clock(dataset, where, findings)
    if split is not None:
        _check_tested(dataset, split, where, findings)
        if dataset.clock != "none":
            _check_leaks(dataset, split, where, findings)
    return findings.faults


def _shown(ids: NDArray[Any], codes: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    return tuple(repr(value) for value in ids[codes[:SHOWN]].tolist())


def _events(dataset: Dataset, log: Interactions, rows: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    """Return a few events as user, item and moment."""
    said = []
    for row in rows[:SHOWN]:
        when = f", {moment(int(log.time[row]))}" if dataset.clock == "real" else ""
        user, item = dataset.users[log.user[row]].item(), dataset.items[log.item[row]].item()
        said.append(f"user {user!r}, item {item!r}{when}")
    return tuple(said)


def _check_features(dataset: Dataset, findings: Findings) -> None:
    """Report named columns that are the same for all."""
    for side, columns in (("items", dataset.item_columns), ("users", dataset.user_columns)):
        for name, values in columns.items():
            known = values[np.isfinite(values)]
            if len(values) > 1 and (not len(known) or known.min() == known.max()):
                found = (
                    f"all {len(known)} known values are {known[0]:g}" if len(known) else "no value is known"
                )
                where = f"{side}, column {name}"
                findings.add("constant-feature", where, found, count=len(values))


def _check_degrees(dataset: Dataset, where: str, findings: Findings) -> None:
    user, item = dataset.interactions.user_degree(), dataset.interactions.item_degree()
    once, never = np.flatnonzero(user == 1), np.flatnonzero(item == 0)
    if len(once):
        found, shown = f"{len(once)} of {dataset.n_users} users have one event", _shown(dataset.users, once)
        findings.add("single-event-users", where, found, count=len(once), examples=shown)
    idle = np.flatnonzero(user == 0)
    if len(idle):
        found = f"{len(idle)} of {dataset.n_users} users have no event that counts"
        shown = _shown(dataset.users, idle)
        findings.add("users-without-events", where, found, count=len(idle), examples=shown)
    if len(never):
        found = f"{len(never)} of {dataset.n_items} catalogue items have no event"
        shown = _shown(dataset.items, never)
        findings.add("items-without-events", where, found, count=len(never), examples=shown)


def _check_clock(dataset: Dataset, where: str, findings: Findings) -> None:
    log, time = dataset.interactions, dataset.interactions.time
    early = np.flatnonzero(time < EARLIEST)
    if len(early):
        found = f"{len(early)} of {len(time)} timestamps lie before 1990"
        shown = _events(dataset, log, early)
        findings.add("early-timestamps", where, found, count=len(early), examples=shown)
    late = np.flatnonzero(time > now() + DAY)
    if len(late):
        found = f"{len(late)} of {len(time)} timestamps lie in the future, up to {moment(int(time.max()))}"
        shown = _events(dataset, log, late)
        findings.add("future-timestamps", where, found, count=len(late), examples=shown)
    moments = np.unique(time)
    if len(moments) < 100 <= len(time):
        found = f"only {len(moments)} distinct timestamps in {len(time)} events"
        shown = tuple(moment(int(one)) for one in moments[:SHOWN])
        findings.add("coarse-clock", where, found, count=len(moments), examples=shown)
        return
    busy = _busy(log)
    if len(busy):
        held = float(np.isin(log.user, busy).mean())
        found = (
            f"{len(busy)} users have more than {BUSY:,} events within 24 hours; "
            f"{100 * held:.1f} % of all events are theirs"
        )
        shown = _shown(dataset.users, busy)
        findings.add("busy-users", where, found, count=len(busy), examples=shown)


def now() -> int:
    """Return this moment, Unix seconds."""
    return int(datetime.now(UTC).timestamp())


def _busy(log: Interactions) -> NDArray[np.integer[Any]]:
    """Return the users with more than ``BUSY`` events within a day; their events stand in order of time."""
    order = np.lexsort((log.time, log.user))
    user, time = log.user[order], log.time[order]
    if len(time) <= BUSY:
        return np.empty(0, np.int64)
    same = user[BUSY:] == user[:-BUSY]
    return np.unique(user[BUSY:][same & (time[BUSY:] - time[:-BUSY] < DAY)])


def _check_tested(dataset: Dataset, split: Split, where: str, findings: Findings) -> None:
    """Count who is tested, and what training never saw; dropping these would hide the cold start."""
    train, test = split.train, split.test
    users = np.unique(test.user)
    if len(users) < FEW:
        found = f"the test window has {len(users)} users"
        shown = _shown(dataset.users, users)
        findings.add("few-test-users", where, found, count=len(users), examples=shown)
    known = train.user_degree()[users]
    full = users[dataset.n_items - known <= LEFT]
    if len(full):
        found = f"{len(full)} of {len(users)} test users have at most {LEFT} of {dataset.n_items} items left"
        shown = _shown(dataset.users, full)
        findings.add("little-to-rank", where, found, count=len(full), examples=shown)
    cold_users = users[known == 0]
    if len(cold_users):
        found = f"{len(cold_users)} of {len(users)} test users have no training event"
        shown = _shown(dataset.users, cold_users)
        findings.add("cold-test-users", where, found, count=len(cold_users), examples=shown)
    cold = train.item_degree()[test.item] == 0
    if cold.any():
        items = np.unique(test.item[cold])
        number, shown = int(cold.sum()), _shown(dataset.items, items)
        found = f"{number} of {len(test)} test events are of {len(items)} items without a training event"
        findings.add("cold-test-items", where, found, count=number, examples=shown)
        lacking = [name for name, table in dataset.modalities.items() if not table.present[items].any()]
        if lacking:
            found = f"none of the {len(items)} items tested without training has {' or '.join(lacking)}"
            findings.add("cold-items-without-content", where, found, count=len(items), examples=shown)


def _check_leaks(dataset: Dataset, split: Split, where: str, findings: Findings) -> None:
    """Count training events that lie after test events: of the same user, and of anyone."""
    train, test = split.train, split.test
    first = np.full(train.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, test.user, test.time)
    own = np.flatnonzero(train.time > first[train.user])
    if len(own):
        found = f"{len(own)} of {len(train)} training events come after a test event of their user"
        shown = _events(dataset, train, own)
        findings.add("leak-own-future", where, found, count=len(own), examples=shown)
    if split.clock != "real":
        return
    later = np.flatnonzero(train.time > test.time.min())
    if len(later):
        found = f"{len(later)} of {len(train)} training events are later than the first test event"
        shown = _events(dataset, train, later)
        findings.add("leak-global-time", where, found, count=len(later), examples=shown)
    if test.time.max() < train.time.min():
        found = "the whole test window lies before training"
        shown = (
            f"last of test: {moment(int(test.time.max()))}",
            f"first of train: {moment(int(train.time.min()))}",
        )
        findings.add("test-before-train", where, found, count=len(test), examples=shown)
