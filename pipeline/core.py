"""What flows between the stages: typed arrays with their invariants (NumPy and SciPy only).

Shape letters: U users, I items, Q queries in a block, K candidates, C channels, D width, F features. Index arrays
int32, scores float32, metrics float64. Ranks start at 1; absent rank 0; absent score NaN; padding item -1 with
score -inf, always at the tail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Clock = Literal["real", "order", "none"]

PADDING = -1


def content_hash(*arrays: NDArray[Any] | str | int | float) -> str:
    """Return the hex SHA-256 of arrays (dtype, shape and bytes) and scalars, in order."""
    digest = hashlib.sha256()
    for value in arrays:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            for start in range(0, max(len(value), 1), 1 << 16):  # memory maps stay on disk
                digest.update(np.ascontiguousarray(value[start : start + (1 << 16)]).tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """One list of item codes per row, oldest first.

    Attributes:
        indptr: int64 [Q + 1]; row q is ``items[indptr[q]:indptr[q + 1]]``.
        items: int32 [N].
    """

    indptr: Int64
    items: Int32

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> Int32:
        return self.items[self.indptr[row] : self.indptr[row + 1]]

    @property
    def lengths(self) -> Int64:
        """int64 [Q]: the length of each list."""
        return np.diff(self.indptr)

    def rows(self, rows: NDArray[np.integer[Any]]) -> Lists:
        """Return the lists of these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        indptr = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        take = np.repeat(self.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Lists(indptr, self.items[take])

    def sorted(self) -> Lists:
        """Return the lists with every row sorted by item code and free of repeats."""
        owner = np.repeat(np.arange(len(self)), self.lengths)
        order = np.lexsort((self.items, owner))
        owner, items = owner[order], self.items[order]
        keep = np.ones(len(items), dtype=bool)
        keep[1:] = (owner[1:] != owner[:-1]) | (items[1:] != items[:-1])
        indptr = np.zeros(len(self) + 1, dtype=np.int64)
        np.cumsum(np.bincount(owner[keep], minlength=len(self)), out=indptr[1:])
        return Lists(indptr, items[keep])

    def matrix(self, n_items: int) -> csr_array:
        """Return the binary float32 CSR [Q, I]; repeats add up to 1."""
        from scipy.sparse import csr_array

        unique = self.sorted()
        ones = np.ones(len(unique.items), dtype=np.float32)
        return csr_array((ones, unique.items, unique.indptr), shape=(len(self), n_items))


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Positive events, sorted by user and time (stable, so the file's order decides among equal times).

    Attributes:
        user: int32 [N] user codes.
        item: int32 [N] item codes.
        time: int64 [N] Unix seconds with a real clock, positions with an order, zeros with neither.
        value: float32 [N] event weights, positive.
        n_users: U.
        n_items: I, the catalogue.
    """

    user: Int32
    item: Int32
    time: Int64
    value: Float32
    n_users: int
    n_items: int

    @classmethod
    def of(
        cls,
        user: NDArray[Any],
        item: NDArray[Any],
        *,
        n_users: int,
        n_items: int,
        time: NDArray[Any] | None = None,
        value: NDArray[Any] | None = None,
    ) -> Interactions:
        """Sort and type raw columns of codes.

        Raises:
            ValueError: Columns differ in length, or a code lies outside its range.
        """
        n = len(user)
        moments = np.zeros(n, np.int64) if time is None else np.asarray(time, dtype=np.int64)
        weights = np.ones(n, np.float32) if value is None else np.asarray(value, dtype=np.float32)
        if not len(item) == len(moments) == len(weights) == n:
            raise ValueError(f"columns differ in length: user {n}, item {len(item)}, time {len(moments)}")
        for name, code, bound in (("user", user, n_users), ("item", item, n_items)):
            if n and (int(np.min(code)) < 0 or int(np.max(code)) >= bound):
                raise ValueError(f"{name} codes span {np.min(code)}..{np.max(code)}; allowed 0..{bound - 1}")
        order = np.lexsort((moments, np.asarray(user)))
        return cls(
            np.asarray(user)[order].astype(np.int32),
            np.asarray(item)[order].astype(np.int32),
            moments[order],
            weights[order],
            n_users,
            n_items,
        )

    def __len__(self) -> int:
        return len(self.user)

    def where(self, keep: NDArray[Any]) -> Interactions:
        """Return the rows of a mask or of increasing positions (the order is kept)."""
        return replace(
            self, user=self.user[keep], item=self.item[keep], time=self.time[keep], value=self.value[keep]
        )

    def merged(self, other: Interactions) -> Interactions:
        """Return both windows as one, sorted anew."""
        return Interactions.of(
            np.concatenate([self.user, other.user]),
            np.concatenate([self.item, other.item]),
            n_users=self.n_users,
            n_items=self.n_items,
            time=np.concatenate([self.time, other.time]),
            value=np.concatenate([self.value, other.value]),
        )

    def lists(self) -> Lists:
        """Return the items of every user, oldest first: Lists with U rows."""
        indptr = np.zeros(self.n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.user, minlength=self.n_users), out=indptr[1:])
        return Lists(indptr, self.item)

    def users(self) -> Int32:
        """int32: the codes of users with at least one interaction, increasing."""
        return np.unique(self.user).astype(np.int32)

    def user_degree(self) -> Int64:
        """int64 [U]: interactions per user."""
        return np.bincount(self.user, minlength=self.n_users).astype(np.int64)

    def item_degree(self) -> Int64:
        """int64 [I]: interactions per item."""
        return np.bincount(self.item, minlength=self.n_items).astype(np.int64)

    def matrix(self, *, weighted: bool = False) -> csr_array:
        """Return float32 CSR [U, I]: 1 where the user has the item, or the sum of the event weights."""
        from scipy.sparse import csr_array

        data = self.value if weighted else np.ones(len(self), np.float32)
        parts = (data, self.item, self.lists().indptr)
        matrix = csr_array(parts, shape=(self.n_users, self.n_items), copy=True)  # adding up is in place
        matrix.sum_duplicates()
        if not weighted:
            matrix.data[:] = 1.0
        return matrix

    def fingerprint(self) -> str:
        """Return the content hash of the window."""
        return content_hash(self.user, self.item, self.time, self.value, self.n_users, self.n_items)


@dataclass(frozen=True, slots=True, eq=False)
class ModalityTable:
    """One content signal of the items.

    Attributes:
        name: Free; discovered, never enumerated.
        values: float16 or float32 [I, D], possibly a memory map; rows where ``present`` is False are undefined.
        present: bool [I]; False where the item lacks this modality.
        digest: Content hash of values and present.
    """

    name: str
    values: NDArray[Any]
    present: Bool
    digest: str

    @classmethod
    def of(cls, name: str, values: NDArray[Any], present: NDArray[Any] | None = None) -> ModalityTable:
        """Build a table; all-zero and non-finite rows are absent.

        Raises:
            ValueError: ``values`` is not two-dimensional or ``present`` does not match it.
        """
        if values.ndim != 2:
            raise ValueError(f"modality {name!r}: values have shape {values.shape}, expected [I, D]")
        usable = np.empty(len(values), dtype=bool)
        for start in range(0, len(values), 65536):
            rows = np.asarray(values[start : start + 65536], dtype=np.float32)
            usable[start : start + 65536] = np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)
        if present is not None:
            if present.shape != usable.shape:
                raise ValueError(f"modality {name!r}: present {present.shape} against values {values.shape}")
            usable &= present.astype(bool)
        return cls(name, values, usable, content_hash(values, usable))

    @property
    def width(self) -> int:
        """D."""
        return int(self.values.shape[1])

    def rows(self, items: NDArray[np.integer[Any]]) -> Float32:
        """Return float32 [len(items), D]."""
        return np.asarray(self.values[items], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set on one vocabulary; external ids exist only here.

    Attributes:
        name: As shown in outputs.
        interactions: The positives.
        given: int8 [N] beside ``interactions``: 0 train, 1 valid, 2 test, -1 where no split is given.
        clock: ``real`` (Unix seconds), ``order`` (positions inside a user's history) or ``none``.
        users: External user ids [U].
        items: External item ids [I], the catalogue.
        modalities: Content tables by name.
        item_columns: Ranker columns, float32 [I] each.
        user_columns: Ranker columns, float32 [U] each.
        impressions: Exposed, not chosen, or None.
        notes: What loading decided or changed, said in every output.
        source: Where it came from, for provenance.
    """

    name: str
    interactions: Interactions
    given: NDArray[np.int8]
    clock: Clock
    users: NDArray[Any]
    items: NDArray[Any]
    modalities: Mapping[str, ModalityTable] = field(default_factory=dict)
    item_columns: Mapping[str, Float32] = field(default_factory=dict)
    user_columns: Mapping[str, Float32] = field(default_factory=dict)
    impressions: Interactions | None = None
    notes: tuple[str, ...] = ()
    source: str = ""

    @property
    def n_users(self) -> int:
        """U."""
        return self.interactions.n_users

    @property
    def n_items(self) -> int:
        """I."""
        return self.interactions.n_items

    def with_modality(self, table: ModalityTable) -> Dataset:
        """Return the data set with one more (or one replaced) modality."""
        return replace(self, modalities={**self.modalities, table.name: table})

    def training(self, window: Interactions) -> TrainingData:
        """Return what recipes may see when they fit on ``window``."""
        return TrainingData(
            window, self.modalities, self.item_columns, self.user_columns, self.users, self.items
        )

    def hashes(self) -> dict[str, str]:
        """Return the content hash of the interactions, of every modality, and of what else is there."""
        found = {"interactions": content_hash(self.interactions.fingerprint(), self.given)}
        for side, columns in (("item_columns", self.item_columns), ("user_columns", self.user_columns)):
            if columns:
                parts = [part for name in sorted(columns) for part in (name, columns[name])]
                found[side] = content_hash(*parts)
        if self.impressions is not None:
            found["impressions"] = self.impressions.fingerprint()
        return {**found, **{name: table.digest for name, table in self.modalities.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What a recipe may see while it fits: one window of interactions and the side of the items and users.

    Attributes:
        interactions: The fit window, nothing later and no other fold.
        modalities: Content tables by name.
        item_columns: float32 [I] by name.
        user_columns: float32 [U] by name.
        users: External user ids [U], for recipes that read files made elsewhere; None where there are none.
        items: External item ids [I], likewise.
        share: Fits a recipe of vectors on this data, or reads back the fit that was kept; None: whoever needs
            vectors fits its own.
    """

    interactions: Interactions
    modalities: Mapping[str, ModalityTable] = field(default_factory=dict)
    item_columns: Mapping[str, Float32] = field(default_factory=dict)
    user_columns: Mapping[str, Float32] = field(default_factory=dict)
    users: NDArray[Any] | None = None
    items: NDArray[Any] | None = None
    share: Callable[[Any], Any] | None = None

    def modality(self, name: str) -> ModalityTable:
        """Return a content table.

        Raises:
            ConfigError: No such modality; the message lists those there are.
        """
        if name not in self.modalities:
            from stagelens.pipeline.errors import ConfigError, nearest

            raise ConfigError(nearest("modality", name, self.modalities))
        return self.modalities[name]


@dataclass(frozen=True, eq=False)
class Split:
    """Windows on one vocabulary. A seed never moves them.

    Attributes:
        kind: ``given``, ``global-time``, ``leave-last-out`` or ``per-user``.
        history: Fits recall.
        labels: Teaches the re-ranker.
        valid: Early stopping, weights, hyper-parameters.
        test: Opened once per study.
        clock: As in the data set.
        notes: What was decided, said in every output.
    """

    kind: str
    history: Interactions
    labels: Interactions
    valid: Interactions
    test: Interactions
    clock: Clock
    notes: tuple[str, ...] = ()

    @cached_property
    def train(self) -> Interactions:
        """History and labels together."""
        return self.history.merged(self.labels)

    def fingerprint(self) -> str:
        """Return the hash that arms must share to be compared."""
        windows = (self.history, self.labels, self.valid, self.test)
        return content_hash(*[window.fingerprint() for window in windows])


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """A block of users who ask for candidates.

    Attributes:
        user: int32 [Q].
        history: The query input, oldest first: Lists with Q rows.
        seen: Items that must not be returned: Lists with Q rows, each sorted and unique.
        tie: int32 [I]; the place of every item in one seeded random order; lower wins a tie.
    """

    user: Int32
    history: Lists
    seen: Lists
    tie: Int32

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.tie)

    def rows(self, rows: NDArray[np.integer[Any]]) -> Queries:
        """Return these rows as a block of their own."""
        return Queries(self.user[rows], self.history.rows(rows), self.seen.rows(rows), self.tie)

    def blocks(self, size: int) -> Iterator[Queries]:
        """Yield blocks of at most ``size`` queries, in order."""
        for start in range(0, len(self), size):
            yield self.rows(np.arange(start, min(start + size, len(self))))

    @classmethod
    def of(cls, users: NDArray[Any], history: Interactions, seen: Interactions, tie: Int32) -> Queries:
        """Ask for ``users`` with ``history`` as input and ``seen`` as mask."""
        return cls(
            np.asarray(users, dtype=np.int32),
            history.lists().rows(users),
            seen.lists().rows(users).sorted(),
            tie,
        )

    def fingerprint(self) -> str:
        """Return the content hash of the block."""
        arrays = (self.user, self.history.indptr, self.history.items, self.seen.indptr, self.seen.items)
        return content_hash(*arrays, self.tie)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What recall hands over, with evidence.

    Attributes:
        user: int32 [Q].
        item: int32 [Q, K], best first, distinct, padded with -1 at the tail.
        score: float32 [Q, K], never increasing along a row, -inf on padding.
        channels: C names.
        channel_score: float32 [Q, K, C]; NaN where the channel did not return the item.
        channel_rank: int32 [Q, K, C]; from 1; 0 where the channel did not return the item.
    """

    user: Int32
    item: Int32
    score: Float32
    channels: tuple[str, ...]
    channel_score: Float32
    channel_rank: Int32

    @classmethod
    def from_channel(cls, name: str, user: Int32, item: Int32, score: Float32) -> Candidates:
        """Wrap one channel's sorted lists: its evidence is its own score and rank."""
        found = item != PADDING
        rank = np.where(found, np.arange(1, item.shape[1] + 1, dtype=np.int32), 0).astype(np.int32)
        evidence = np.where(found, score, np.nan).astype(np.float32)
        return cls(user, item, score, (name,), evidence[..., None], rank[..., None])

    def __len__(self) -> int:
        return len(self.user)

    @property
    def size(self) -> int:
        """K."""
        return int(self.item.shape[1])

    @property
    def found(self) -> Bool:
        """Bool [Q, K]: not padding."""
        found: Bool = self.item != PADDING
        return found

    def rows(self, rows: NDArray[np.integer[Any]] | slice) -> Candidates:
        """Return these queries only."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            score=self.score[rows],
            channel_score=self.channel_score[rows],
            channel_rank=self.channel_rank[rows],
        )

    def top(self, n: int) -> Candidates:
        """Return the first ``n`` of every list."""
        return replace(
            self,
            item=self.item[:, :n],
            score=self.score[:, :n],
            channel_score=self.channel_score[:, :n],
            channel_rank=self.channel_rank[:, :n],
        )

    def rescored(self, score: Float32, tie: Int32) -> Candidates:
        """Return the same items in the order of a new score.

        Args:
            score: float32 [Q, K]; NaN counts as -inf but stays ahead of padding.
            tie: int32 [I], the seeded order that breaks ties.

        Raises:
            ValueError: ``score`` does not have the shape of the candidates.
        """
        if score.shape != self.item.shape:
            raise ValueError(f"score has shape {score.shape}, candidates have {self.item.shape}")
        found = self.found
        key = np.where(found, np.nan_to_num(score, nan=-np.inf), -np.inf)
        place = np.where(found, tie[np.where(found, self.item, 0)], np.iinfo(np.int32).max)
        by_tie = np.argsort(place, axis=1, kind="stable")
        by_score = np.argsort(-np.take_along_axis(key, by_tie, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(by_tie, by_score, axis=1)
        return replace(
            self,
            item=np.take_along_axis(self.item, order, axis=1),
            score=np.take_along_axis(key, order, axis=1).astype(np.float32),
            channel_score=np.take_along_axis(self.channel_score, order[..., None], axis=1),
            channel_rank=np.take_along_axis(self.channel_rank, order[..., None], axis=1),
        )

    def check(self) -> None:
        """Verify the invariants.

        Raises:
            ValueError: Shapes differ, padding is not at the tail, an item repeats, or scores increase.
        """
        q, k, c = len(self.user), self.size, len(self.channels)
        if self.item.shape != (q, k) or self.score.shape != (q, k):
            raise ValueError(f"item {self.item.shape}, score {self.score.shape}, expected {(q, k)}")
        if self.channel_score.shape != (q, k, c) or self.channel_rank.shape != (q, k, c):
            raise ValueError(f"evidence {self.channel_score.shape}, expected {(q, k, c)}")
        found = self.found
        if k > 1 and bool((found[:, 1:] & ~found[:, :-1]).any()):
            raise ValueError("padding must stand at the tail of a list")
        key = np.where(found, self.score, -np.inf)
        if bool((key[:, 1:] > key[:, :-1]).any()):
            raise ValueError("scores must not increase along a list")
        if not bool((np.isnan(self.channel_score) == (self.channel_rank == 0)).all()):
            raise ValueError("a channel's score is NaN exactly where its rank is 0")
        row = np.broadcast_to(np.arange(q)[:, None], (q, k))[found]
        pairs = np.stack([row, self.item[found]], axis=1)
        if len(np.unique(pairs, axis=0)) != len(pairs):
            raise ValueError("an item stands twice in one list")

    def to_frame(self, users: NDArray[Any] | None = None, items: NDArray[Any] | None = None) -> pd.DataFrame:
        """Return one row per candidate, with external ids where given: for people and exports."""
        import pandas as pd

        q, k = np.nonzero(self.found)
        user, item = self.user[q], self.item[q, k]
        frame = {
            "user_id": user if users is None else users[user],
            "item_id": item if items is None else items[item],
            "rank": k + 1,
            "score": self.score[q, k],
        }
        for c, name in enumerate(self.channels):
            frame[f"{name} score"] = self.channel_score[q, k, c]
            frame[f"{name} rank"] = self.channel_rank[q, k, c]
        return pd.DataFrame(frame)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What a re-ranker reads of every candidate.

    Attributes:
        names: F column names, unique.
        values: float32 [Q, K, F]; NaN = unknown, as LightGBM reads it.
    """

    names: tuple[str, ...]
    values: Float32

    @classmethod
    def joined(cls, parts: list[Features]) -> Features:
        """Put the columns of several groups side by side."""
        names = tuple(name for part in parts for name in part.names)
        return cls(names, np.concatenate([part.values for part in parts], axis=2))

    def columns(self, names: tuple[str, ...]) -> Features:
        """Return these columns, in this order."""
        place = {name: column for column, name in enumerate(self.names)}
        return Features(names, self.values[..., [place[name] for name in names]])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The flat table a re-ranker is trained on: lists one after the other, shuffled inside each list.

    Attributes:
        names: F column names.
        values: float32 [R, F].
        label: float32 [R], 1 relevant, 0 not.
        group: int32 [G], rows per list; sums to R.
        weight: float32 [R] or None.
        user: int32 [R].
        item: int32 [R].
    """

    names: tuple[str, ...]
    values: Float32
    label: Float32
    group: Int32
    weight: Float32 | None
    user: Int32
    item: Int32

    def columns(self, names: tuple[str, ...]) -> Rows:
        """Return the same rows with these columns, in this order."""
        if names == self.names:
            return self
        place = {name: column for column, name in enumerate(self.names)}
        return replace(self, names=names, values=self.values[:, [place[name] for name in names]])
