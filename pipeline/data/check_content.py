"""What the vectors of a data set show: copies, fillers, and whether they have to do with what users choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Dataset, Float32, Float64, Int64, ModalityTable
from stagelens.pipeline.data.faults import Findings
from stagelens.pipeline.data.tables import SHOWN
from stagelens.pipeline.data.vectors import BLOCK, VectorSummary, summarize

NEAR = 0.01
"""Share of the usual distance of an item from the mean below which two vectors are nearly the same."""
FILLED = 1e-3
"""Likewise of a vector from the mean itself: no content is that average."""
NARROW = 8
"""Below this width vectors lie close to each other by chance."""
DIRECTIONS = 16
"""Random directions in which near copies are looked for."""
NEIGHBOURS = 4
"""Neighbours in the order of a direction that are compared."""
PAIRS = 4096
"""Pairs of items chosen by one user whose likeness is measured."""
SHUFFLES = 20
"""Shuffles of the rows that show what likeness chance gives."""
SIGHT = 0.08
"""Likeness, in standard deviations, that must be visible before its absence is reported."""

SURE = 6.0
"""Standard deviations beyond chance before a shift of the rows is named."""


def check_content(dataset: Dataset, findings: Findings) -> None:
    """Add what is odd about the vectors of every modality."""
    for name, table in dataset.modalities.items():
        where, look = f"modality {name}", summarize(table)
        items = np.flatnonzero(table.present)
        _check_summary(look, len(items), dataset, where, findings)
        missing = dataset.n_items - len(items)
        if 2 * missing > dataset.n_items:
            found = f"{missing} of {dataset.n_items} items lack it"
            shown = _ids(dataset, np.flatnonzero(~table.present))
            findings.add("mostly-missing", where, found, count=missing, examples=shown)
        if len(items) > 1 and table.width >= NARROW:
            _check_copies(table, items, look, dataset, where, findings)
        _check_relation(dataset, table, where, findings)


def _ids(dataset: Dataset, codes: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    return tuple(f"item {value!r}" for value in dataset.items[codes[:SHOWN]].tolist())


def _check_summary(
    look: VectorSummary, present: int, dataset: Dataset, where: str, findings: Findings
) -> None:
    if look.duplicate:
        found = f"{look.duplicate} of {present} vectors equal the vector of another item"
        shown = _ids(dataset, look.duplicate_items)
        findings.add("duplicate-vectors", where, found, count=look.duplicate, examples=shown)
    if look.constant:
        found, shown = (
            f"{look.constant} vectors hold one value throughout",
            _ids(dataset, look.constant_items),
        )
        findings.add("constant-vectors", where, found, count=look.constant, examples=shown)
    if look.zero_variance:
        found = f"{look.zero_variance} of {look.width} columns have one value over all items"
        shown = tuple(f"column {column}" for column in look.flat_columns[:SHOWN])
        findings.add("constant-columns", where, found, count=look.zero_variance, examples=shown)
    if look.largest_norm > 100 * max(look.smallest_norm, 1e-12):
        found = f"vector lengths span {look.smallest_norm:.3g} to {look.largest_norm:.3g}"
        findings.add("norm-spread", where, found, count=2, examples=_ids(dataset, look.extreme_items))


@dataclass(frozen=True, slots=True)
class _Cloud:
    """Where the vectors lie: their mean float64 [D], and the root mean square distance from it."""

    mean: Float64
    radius: float
    distance: Float64  # [R] of every present row from the mean
    shadow: Float32  # [R, DIRECTIONS] coordinates in random directions, in units of the radius


def _cloud(table: ModalityTable, items: Int64) -> _Cloud:
    total = np.zeros(table.width)
    for start in range(0, len(items), BLOCK):
        total += table.rows(items[start : start + BLOCK]).sum(axis=0, dtype=np.float64)
    mean = total / len(items)
    rng = np.random.Generator(np.random.PCG64(0))
    directions = rng.standard_normal((table.width, DIRECTIONS)).astype(np.float32)
    distance, shadow = np.empty(len(items)), np.empty((len(items), DIRECTIONS), np.float32)
    for start in range(0, len(items), BLOCK):
        rows = table.rows(items[start : start + BLOCK]) - mean.astype(np.float32)
        distance[start : start + BLOCK] = np.sqrt(np.einsum("rd,rd->r", rows, rows, dtype=np.float64))
        shadow[start : start + BLOCK] = rows @ directions
    radius = float(np.sqrt((distance**2).mean()))
    return _Cloud(mean, radius, distance, shadow / np.float32(max(radius, 1e-30)))


def _check_copies(
    table: ModalityTable, items: Int64, look: VectorSummary, dataset: Dataset, where: str, findings: Findings
) -> None:
    cloud = _cloud(table, items)
    if not cloud.radius > 1e-6 * look.largest_norm:
        return  # all vectors are one, which is reported
    filled = np.flatnonzero(cloud.distance < FILLED * cloud.radius)
    if len(filled):
        found = f"{len(filled)} of {len(items)} vectors are the mean of all"
        shown = _ids(dataset, items[filled])
        findings.add("mean-filled-vectors", where, found, count=len(filled), examples=shown)
    near = _near(table, items, cloud)
    if len(near):
        found = f"at least {len(near)} vectors almost equal that of another item"
        shown = _ids(dataset, items[near])
        findings.add("near-duplicate-vectors", where, found, count=len(near), examples=shown)


def _near(table: ModalityTable, items: Int64, cloud: _Cloud) -> Int64:
    """Return places in ``items`` of vectors that nearly equal another one, without being its copy.

    Near vectors lie near each other in every direction, so they are close in the order of the first two; pairs
    that stay close in all directions are compared in full. Some may be missed, none is made up.
    """
    pairs = []
    for axis in range(2):
        order = np.argsort(cloud.shadow[:, axis], kind="stable")
        for step in range(1, NEIGHBOURS + 1):
            left, right = order[:-step], order[step:]
            close = np.flatnonzero(np.abs(cloud.shadow[left, axis] - cloud.shadow[right, axis]) < 4 * NEAR)
            gap = cloud.shadow[left[close]] - cloud.shadow[right[close]]
            mean_square = np.einsum("pk,pk->p", gap, gap) / DIRECTIONS
            kept = close[mean_square < (2 * NEAR) ** 2]
            pairs.append(np.stack([left[kept], right[kept]], axis=1))
    both = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    found = [np.empty(0, np.int64)]
    for start in range(0, len(both), BLOCK // 8):
        part = both[start : start + BLOCK // 8]
        gap = table.rows(items[part[:, 0]]) - table.rows(items[part[:, 1]])
        length = np.sqrt(np.einsum("pd,pd->p", gap, gap, dtype=np.float64))
        found.append(part[(length > 0) & (length < NEAR * cloud.radius)].ravel())
    return np.unique(np.concatenate(found))


def _check_relation(dataset: Dataset, table: ModalityTable, where: str, findings: Findings) -> None:
    """Compare items that one user chose with the same pairs after shuffling the rows.

    Reported only where a likeness of ``SIGHT`` standard deviations would have been seen.
    """
    pairs = _chosen_together(dataset, table)
    if len(pairs) < PAIRS // 4:
        return
    items, place = np.unique(pairs, return_inverse=True)
    place = place.reshape(pairs.shape)
    if len(items) < 50:
        return
    rng = np.random.Generator(np.random.PCG64(1))
    vectors = _directions(table, items)
    true = _likeness(vectors, place)
    chance = np.array(
        [_likeness(vectors, rng.permutation(len(items))[place]).mean() for _ in range(SHUFFLES)]
    )
    spread, sight = float(true.std()), 3 * float(chance.std())
    if true.mean() - chance.mean() > sight or sight > SIGHT * spread:
        return
    found = (
        f"items chosen by one user are alike by {true.mean():.4f} on average, "
        f"and by {chance.mean():.4f} ± {sight:.4f} with the rows shuffled"
    )
    moved = _moved(table, items, place)
    if moved:
        found += (
            f"; with every row moved by {moved:+d} they are alike, so the rows start one too early or late"
        )
    findings.add("unrelated-rows", where, found, count=len(items), examples=_ids(dataset, items))


def _chosen_together(dataset: Dataset, table: ModalityTable) -> Int64:
    """Return up to ``PAIRS`` pairs [P, 2] of different items with vectors, each pair from one user's events."""
    log = dataset.interactions
    usable = table.present[log.item]
    user, item = log.user[usable], log.item[usable]
    count = np.bincount(user, minlength=log.n_users)
    start = np.cumsum(count) - count
    several = np.flatnonzero(count > 1)
    if not len(several):
        return np.empty((0, 2), np.int64)
    rng = np.random.Generator(np.random.PCG64(2))
    chosen = rng.permutation(np.resize(rng.permutation(several), max(PAIRS, len(several))))[:PAIRS]
    first = (rng.random(len(chosen)) * count[chosen]).astype(np.int64)
    other = (rng.random(len(chosen)) * (count[chosen] - 1)).astype(np.int64)
    other += other >= first
    pairs = np.stack([item[start[chosen] + first], item[start[chosen] + other]], axis=1).astype(np.int64)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    different: Int64 = pairs[pairs[:, 0] != pairs[:, 1]]
    return different


def _directions(table: ModalityTable, items: Int64) -> Float32:
    """Return centred rows of length 1."""
    vectors = table.rows(items)
    vectors = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    length = np.sqrt(np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64))
    scaled: Float32 = (vectors / np.maximum(length, 1e-30)[:, None]).astype(np.float32)
    return scaled


def _likeness(vectors: Float32, place: Int64) -> Float64:
    """Return the cosine of every pair."""
    cosine = np.empty(len(place))
    for start in range(0, len(place), 1024):
        left, right = place[start : start + 1024].T
        cosine[start : start + 1024] = np.einsum("pd,pd->p", vectors[left], vectors[right])
    return cosine


def _moved(table: ModalityTable, items: Int64, place: Int64) -> int:
    """Return by how many rows the array must be moved for likeness to appear, or 0."""
    rng = np.random.Generator(np.random.PCG64(3))
    best, found = SURE, 0
    for step in (-1, 1):
        rows = np.clip(items + step, 0, len(table.present) - 1)
        whole = place[table.present[rows][place].all(axis=1)]
        if 2 * len(whole) > len(place):
            used, whole = np.unique(whole, return_inverse=True)
            whole = whole.reshape(-1, 2)
            vectors = _directions(table, rows[used])
            chance = np.array(
                [_likeness(vectors, rng.permutation(len(used))[whole]).mean() for _ in range(SHUFFLES)]
            )
            sure = float((_likeness(vectors, whole).mean() - chance.mean()) / max(chance.std(), 1e-12))
            best, found = max((best, found), (sure, step))
    return found
