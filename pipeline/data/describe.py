"""The statistics of a data set and its split, as plain data for tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from stagelens.pipeline.core import Dataset, Int64, Split
from stagelens.pipeline.data.clock import moment
from stagelens.pipeline.data.vectors import summarize

USER_BUCKETS = (0, 5, 10, 15, 20)
"""Where buckets of users by training degree begin; the last is open."""
ITEM_BUCKETS = (0, 1, 5, 10, 20, 50)
"""Where buckets of items by training degree begin; the last is open."""
STAMP = "%Y-%m-%dT%H:%M:%SZ"
"""First and last event, ISO 8601."""


def describe(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Return the statistics of a data set under a split, ready for JSON.

    ``density`` and the averages count every event once; degrees are those of ``train`` (history and labels).
    ``users_by_train_degree`` counts users with at least one event; ``test_by_item_train_degree`` counts test
    interactions by how often training saw their item.
    """
    log, train = dataset.interactions, split.train
    active = np.bincount(log.user, minlength=log.n_users) > 0
    user_degree, item_degree = train.user_degree()[active], train.item_degree()
    n_users, n_items = int(active.sum()), dataset.n_items
    windows = {"history": split.history, "labels": split.labels, "valid": split.valid, "test": split.test}
    tested = np.unique(split.test.user)
    return {
        "name": dataset.name,
        "clock": dataset.clock,
        "split": split.kind,
        "users": n_users,
        "items": n_items,
        "interactions": len(log),
        "train": len(train),
        **{name: len(window) for name, window in windows.items()},
        "density": len(log) / max(n_users * n_items, 1),
        "mean_per_user": len(log) / max(n_users, 1),
        "mean_per_item": len(log) / max(n_items, 1),
        "first": moment(int(log.time.min()), STAMP) if dataset.clock == "real" else None,
        "last": moment(int(log.time.max()), STAMP) if dataset.clock == "real" else None,
        "user_train_degree": {
            "min": int(user_degree.min()),
            "median": float(np.median(user_degree)),
            "max": int(user_degree.max()),
        },
        "users_by_train_degree": _buckets(user_degree, USER_BUCKETS),
        "items_without_train": int((item_degree == 0).sum()),
        "test_by_item_train_degree": _buckets(item_degree[split.test.item], ITEM_BUCKETS),
        "test_users": len(tested),
        "test_users_without_train": int((train.user_degree()[tested] == 0).sum()),
        "modalities": {name: _modality(dataset, name) for name in sorted(dataset.modalities)},
        "item_columns": sorted(dataset.item_columns),
        "user_columns": sorted(dataset.user_columns),
        "impressions": 0 if dataset.impressions is None else len(dataset.impressions),
        "notes": [*dataset.notes, *split.notes],
    }


def bucket_names(begins: Sequence[int]) -> list[str]:
    """Return the names of buckets: ``0``, ``1-4``, ..., ``50+``."""
    names = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(begins)]
    return [*names, f"{begins[-1]}+"]


def _buckets(degree: Int64, begins: Sequence[int]) -> dict[str, int]:
    place = np.searchsorted(begins, degree, side="right") - 1
    count = np.bincount(place, minlength=len(begins))
    return {name: int(value) for name, value in zip(bucket_names(begins), count, strict=True)}


def _modality(dataset: Dataset, name: str) -> dict[str, Any]:
    summary = summarize(dataset.modalities[name])
    return {
        "width": summary.width,
        "dtype": summary.dtype,
        "missing": summary.missing,
        "duplicate": summary.duplicate,
        "constant": summary.constant,
        "zero_variance": summary.zero_variance,
        "smallest_norm": summary.smallest_norm,
        "largest_norm": summary.largest_norm,
    }
