"""Candidate lists and vectors that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.contracts import FittedChannel, FittedVectors, Saved
from stagelens.pipeline.core import (
    Bool,
    Candidates,
    Float32,
    Int32,
    Int64,
    ModalityTable,
    Queries,
    TrainingData,
)
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.recall.queries import Mean, UserVectors


@recipe
class FromFile(Recipe):
    """Candidate lists made elsewhere, mapped by external ids.

    What made them is out of sight: whether it saw labels, valid or test cannot be checked here. Users without
    a list get an empty one.
    """

    role: ClassVar[Role] = "channel"

    path: str
    """Parquet or csv with user_id, item_id and score (else rank), or a TREC run; a higher score is better."""
    name: str | None = None
    """Shown in tables; None: the file's name without its ending."""

    @property
    def label(self) -> str:
        """``FromFile(name)``."""
        return f"FromFile({self.name or Path(self.path).name.partition('.')[0]})"

    def inputs(self) -> tuple[str, ...]:
        """Return the content hash of the file."""
        from stagelens.recall.files import file_hash

        return (file_hash(self.path),)

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Read the file.

        Raises:
            DataError: It cannot be read, or knows no user or no item of the data set.
        """
        from stagelens.recall.files import codes, read_lists

        frame = read_lists(self.path)
        window = data.interactions
        user = codes(frame["user_id"], data.users, window.n_users)
        item = codes(frame["item_id"], data.items, window.n_items)
        for column, code in (("user_id", user), ("item_id", item)):
            if not (code >= 0).any():
                raise DataError(
                    f"{self.path}: no value of column {column!r} is known to the data set (first: "
                    f"{frame[column].iloc[0]!r}). External ids are expected, as in interactions.parquet."
                )
        known = (user >= 0) & (item >= 0)
        user, item, score = user[known], item[known], frame["score"].to_numpy(np.float32)[known]
        order = np.lexsort((-score, item, user))
        user, item, score = user[order], item[order], score[order]
        first = np.ones(len(user), bool)
        first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
        indptr = np.zeros(window.n_users + 1, np.int64)
        np.cumsum(np.bincount(user[first], minlength=window.n_users), out=indptr[1:])
        counts = {
            "rows": len(frame),
            "unknown_users": _unknown(frame["user_id"], codes(frame["user_id"], data.users, window.n_users)),
            "unknown_items": _unknown(frame["item_id"], codes(frame["item_id"], data.items, window.n_items)),
            "repeats": int((~first).sum()),
            "users_without_list": int((np.diff(indptr) == 0).sum()),
        }
        return FittedFromFile(self.label, indptr, item[first].astype(np.int32), score[first], counts)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        arrays = saved.arrays
        return FittedFromFile(
            self.label, arrays["indptr"], arrays["item"], arrays["score"], dict(saved.meta["counts"])
        )

    def exact(self) -> FromFile:
        """Return itself: there is no index."""
        return self


def _unknown(ids: Any, code: Int64) -> int:
    return int(ids[code < 0].nunique())


@dataclass(frozen=True, slots=True, eq=False)
class FittedFromFile:
    """Lists of all users.

    Attributes:
        name: The channel's label.
        indptr: int64 [U + 1].
        item: int32 [N], increasing in a row.
        item_score: float32 [N].
        counts: Rows read, unknown users and items, repeats, users without a list.
    """

    name: str
    indptr: Int64
    item: Int32
    item_score: Float32
    counts: Mapping[str, int]

    @property
    def is_exact(self) -> bool:
        """There is no index of ours."""
        return True

    @property
    def index_bytes(self) -> int:
        """Bytes of the lists."""
        return int(self.indptr.nbytes + self.item.nbytes + self.item_score.nbytes)

    @property
    def parameters(self) -> int:
        """Unknown, counted as none."""
        return 0

    @property
    def note(self) -> str:
        """What the file did not match."""
        counts = self.counts
        return (
            f"{self.name}: {counts['unknown_users']} users and {counts['unknown_items']} items of the file "
            f"are unknown to the data set; {counts['users_without_list']} users have no list"
        )

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the best unseen items of each user's list."""
        from stagelens.recall.seen import top

        start = self.indptr[queries.user]
        count = self.indptr[queries.user.astype(np.int64) + 1] - start
        item, score = top(start, count, self.item, self.item_score, queries.seen, queries.tie, depth)
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN where the file has no such pair."""
        width = np.int64(queries.n_items + 1)
        owner = np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int64), np.diff(self.indptr))
        have = owner * width + self.item
        want = queries.user.astype(np.int64)[:, None] * width + np.where(items >= 0, items, width - 1)
        at = np.minimum(np.searchsorted(have, want), max(len(have) - 1, 0))
        if not len(have):
            return np.full(items.shape, np.nan, np.float32)
        return np.where(have[at] == want, self.item_score[at], np.nan).astype(np.float32)

    def save(self) -> Saved:
        """Return arrays and JSON."""
        arrays: dict[str, NDArray[Any]] = {"indptr": self.indptr, "item": self.item, "score": self.item_score}
        return Saved(arrays, {"counts": dict(self.counts)})


@recipe
class FileVectors(Recipe):
    """Item vectors, and user vectors where given, that were made elsewhere.

    An all-zero or non-finite row means the item or user has no vector. Without user vectors the history makes
    the query. Whether the vectors saw labels, valid or test cannot be checked here.
    """

    role: ClassVar[Role] = "vectors"

    path: str
    """``.npy``, [N, D]: item vectors."""
    ids: str | None = None
    """``.npy``, [N]: external item ids of the rows; None: row i belongs to the item with integer id i."""
    users: str | None = None
    """``.npy``, [N, D]: user vectors; None: the history makes the query."""
    user_ids: str | None = None
    """``.npy``, [N]: external user ids of the rows; None: row i belongs to the user with integer id i."""
    user: UserVectors = Mean()
    """How a history becomes query vectors where there are no user vectors."""
    similarity: Literal["cosine", "dot"] = "dot"
    """What the vectors were made for."""

    @property
    def label(self) -> str:
        """``FileVectors(name)``."""
        return f"FileVectors({Path(self.path).name.partition('.')[0]})"

    def inputs(self) -> tuple[str, ...]:
        """Return the content hashes of the files."""
        from stagelens.recall.files import file_hash

        paths = (self.path, self.ids, self.users, self.user_ids)
        return tuple("" if path is None else file_hash(path) for path in paths)

    def fit(self, data: TrainingData, *, seed: int) -> FittedVectors:
        """Read the files.

        Raises:
            DataError: A file cannot be read, ids do not match rows, or no row belongs to the data set.
        """
        window = data.interactions
        item = _placed(self.path, self.ids, data.items, window.n_items, "items")
        user = None
        if self.users is not None:
            user = _placed(self.users, self.user_ids, data.users, window.n_users, "users")
            if user.width != item.width:
                raise DataError(f"{self.users}: width {user.width}, but {self.path} has width {item.width}.")
        return self._fitted(item, user)

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        arrays = saved.arrays
        item = ModalityTable("items", arrays["item"], arrays["present"], "")
        user = (
            ModalityTable("users", arrays["user"], arrays["user_present"], "") if "user" in arrays else None
        )
        return self._fitted(item, user)

    def _fitted(self, item: ModalityTable, user: ModalityTable | None) -> FittedFileVectors:
        return FittedFileVectors(item.values, item.present, user, self.user, self.similarity)


def _placed(path: str, ids: str | None, vocabulary: Any, size: int, what: str) -> ModalityTable:
    """Return the rows of a vector file in the order of the codes."""
    from stagelens.recall.files import codes, read_ids, read_vectors

    values = read_vectors(path)
    if ids is None and vocabulary is not None and np.asarray(vocabulary).dtype.kind not in "iu":
        raise DataError(
            f"{path}: the data set's {what} have text ids, so a file with the id of every row is needed; "
            f"give it as {'ids' if what == 'items' else 'user_ids'}."
        )
    external = np.arange(len(values)) if ids is None else read_ids(ids, len(values), path)
    code = codes(external, vocabulary, size)
    if not (code >= 0).any():
        raise DataError(
            f"{path}: no row belongs to {what} of the data set (first id: {external[:1].tolist()})."
        )
    rows = np.zeros((size, values.shape[1]), np.float32)
    rows[code[code >= 0]] = values[code >= 0]
    table = ModalityTable.of(what, rows)
    rows[~table.present] = 0.0
    return table


@dataclass(frozen=True, slots=True, eq=False)
class FittedFileVectors:
    """Vectors of items, and of users where given.

    Attributes:
        item: float32 [I, D]; zero rows where ``present`` is False.
        present: bool [I].
        users: Vectors of users [U, D], or None.
        user: Makes the query from the history where there are none.
        similarity: What the vectors were made for.
    """

    item: Float32
    present: Bool
    users: ModalityTable | None
    user: UserVectors
    similarity: str

    @property
    def parameters(self) -> int:
        """Unknown, counted as none."""
        return 0

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return the users' own vectors, or those their histories make: float32 [V, D] and int32 [V]."""
        if self.users is not None:
            owner = np.flatnonzero(self.users.present[queries.user]).astype(np.int32)
            return self.users.rows(queries.user[owner]), owner
        position = np.where(self.present, np.arange(len(self.present)), -1).astype(np.int32)
        return self.user.vectors(queries.history, self.item, position)

    def save(self) -> Saved:
        """Return arrays."""
        arrays: dict[str, NDArray[Any]] = {"item": self.item, "present": self.present}
        if self.users is not None:
            arrays |= {"user": self.users.values, "user_present": self.users.present}
        return Saved(arrays)
