"""Which columns a re-ranker leans on: permutation on held lists, grouped; and gain, summed by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stagelens.pipeline.contracts import FittedReranker
from stagelens.pipeline.core import PADDING, Bool, Candidates, Features, Float32, Float64, Rows
from stagelens.pipeline.seeds import generator


def permutation_importance(
    fitted: FittedReranker,
    rows: Rows,
    groups: Mapping[str, Sequence[str]],
    *,
    seed: int,
    repeats: int = 3,
) -> dict[str, dict[str, float]]:
    """Return for each group the drop of ndcg@10 when its columns are permuted together across all rows.

    Columns of a group move as one, so what one of them says is not made up for by another. Groups that share
    information do make up for each other: two copies of one signal may both show no drop.

    Args:
        fitted: Any fitted re-ranker.
        rows: Held lists (valid), never those it was trained on.
        groups: Group label -> its columns.
        seed: Study seed.
        repeats: Permutations a group.

    Returns:
        group -> ``drop`` (mean over permutations, in ndcg@10 over the lists of ``rows``) and ``sd`` (over
        permutations; 0 with one).

    Raises:
        ValueError: A column is not in ``rows``.

    References:
        Breiman 2001, doi:10.1023/A:1010933404324; variant: columns of a group permuted jointly, on held
        lists.
    """
    found, candidates, values = rectangle(rows)
    place = {name: column for column, name in enumerate(rows.names)}
    lacking = [name for columns in groups.values() for name in columns if name not in place]
    if lacking:
        raise ValueError(f"columns {lacking} are not in the rows; they hold {rows.names}")
    label = np.zeros(found.shape, np.float32)
    label[found] = rows.label

    def ndcg() -> float:
        return float(ndcg_at_10(fitted.score(candidates, Features(rows.names, values)), label, found).mean())

    result: dict[str, dict[str, float]] = {}
    whole = ndcg() if len(rows.group) else 0.0
    cells = np.flatnonzero(found)
    flat = values.reshape(-1, len(rows.names))
    for group, names in groups.items():
        columns = np.array([place[name] for name in names], dtype=np.int64)
        drops = []
        for repeat in range(repeats if len(columns) and len(rows.group) else 0):
            order = generator(seed, "importance", group, repeat).permutation(len(cells))
            flat[cells[:, None], columns] = rows.values[order[:, None], columns]
            drops.append(whole - ndcg())
        flat[cells[:, None], columns] = rows.values[:, columns]
        spread = float(np.std(drops, ddof=1)) if len(drops) > 1 else 0.0
        result[group] = {"drop": float(np.mean(drops)) if drops else 0.0, "sd": spread}
    return result


def gain_by_group(gain: Mapping[str, float], groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the gain of each group: the sum over its columns (a column that was not trained counts 0)."""
    return {group: float(sum(gain.get(name, 0.0) for name in names)) for group, names in groups.items()}


def rectangle(rows: Rows) -> tuple[Bool, Candidates, Float32]:
    """Return bool [G, K] (found), G candidate lists padded to the longest, and values float32 [G, K, F]."""
    size = int(rows.group.max(initial=1))
    found = np.arange(size) < rows.group[:, None]
    item = np.full(found.shape, PADDING, np.int32)
    item[found] = rows.item
    values = np.full((*found.shape, len(rows.names)), np.nan, np.float32)
    values[found] = rows.values
    starts = np.cumsum(rows.group) - rows.group
    user = rows.user[starts] if len(starts) else rows.user
    score = np.where(found, np.float32(0), np.float32(-np.inf))
    nothing = np.zeros((*found.shape, 0), np.float32)
    return found, Candidates(user, item, score, (), nothing, nothing.astype(np.int32)), values


def ndcg_at_10(score: Float32, label: Float32, found: Bool) -> Float64:
    """Return float64 [G]: ndcg@10 of each list against its own relevant items; ties in the order of rows."""
    key = np.where(found, np.nan_to_num(score, nan=-np.inf), -np.inf)
    order = np.argsort(-key, axis=1, kind="stable")[:, :10]
    discount = 1 / np.log2(np.arange(2, 12))
    got = np.take_along_axis(label, order, axis=1) @ discount[: order.shape[1]]
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(label.sum(axis=1).astype(int), 10)]
    ndcg: Float64 = got / np.maximum(best, 1e-12)
    return ndcg
