"""EASE: the linear item-item model with a closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from stagelens.pipeline.contracts import FittedChannel, Saved
from stagelens.pipeline.core import Candidates, Float32, Int32, Lists, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.space import Real, Space
from stagelens.recall.interaction.neighbours import NeighbourTable
from stagelens.recall.interaction.square import best_of_rows, mirror, need

BLOCK = 1 << 22
"""Scores held at once (4 bytes each), at least one query."""
INSTEAD = "Use recall.RP3beta or recall.ItemKNN, whose tables are sparse, or fewer items"


@recipe
class EASE(Recipe):
    """The item-item weights B with zero diagonal that best rebuild the binary matrix X from itself, X B, under a ridge.

    With P = (XᵀX + l2 I)⁻¹, B is -P_ij / P_jj off the diagonal. A candidate's score is its sum over the history,
    negative weights included: every item of the fit window has one for every history with an item of it. Time grows
    with I³, memory with I² (see ``precision``); what does not fit is refused.

    One thread fits, since the last digits of LAPACK depend on their number.

    References:
        Steck 2019, doi:10.1145/3308558.3313710.
    """

    role: ClassVar[Role] = "channel"
    space: ClassVar[Space] = {"l2": Real(1.0, 1e7, log=True)}

    l2: PositiveFloat = 500.0
    """Weight of the squared weights."""
    precision: Literal["auto", "float32", "float64"] = "auto"
    """Of the inverse: 4 bytes or 12 per pair of items at the highest point. ``auto``: float32 where the condition
    number is surely below 10^5, which leaves two digits at worst, else float64. Weights are kept in float32."""
    neighbours: PositiveInt | None = None
    """Keep only this many items that predict each item, those of the largest weight of either sign; unset: all."""

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Invert the ridged Gram matrix in place.

        Raises:
            ConfigError: The matrix does not fit the memory, or is singular in its precision.
        """
        window = data.interactions
        present = np.flatnonzero(window.item_degree()).astype(np.int32)
        matrix = window.matrix()[:, present]
        exact = self.precision == "float64" or (self.precision == "auto" and not _tame(matrix, self.l2))
        needed = len(present) ** 2 * (12 if exact else 4)
        held = f"{len(present):,} items in {'float64' if exact else 'float32'}"
        need(self.label, held, needed, INSTEAD)
        weight = self._weights(matrix, np.float64 if exact else np.float32)
        if self.neighbours is None:
            return FittedEASE(self.label, present, window.n_items, weight)
        keep = max(min(self.neighbours, len(present) - 1), 1)
        item, value = best_of_rows(weight.T, keep, by_size=True)
        return NeighbourTable.of_targets(self.label, present, item, value, window.n_items)

    def _weights(self, matrix: Any, dtype: type[np.floating[Any]]) -> Float32:
        """Return float32 [P, P], row: the item in the history, column: the candidate."""
        from scipy.linalg import lapack
        from threadpoolctl import threadpool_limits

        from stagelens.recall.interaction.ease_kernel import gram
        from stagelens.recall.interaction.products import Sparse

        square: NDArray[Any] = np.zeros((matrix.shape[1],) * 2, dtype)
        if not len(square):
            return square.astype(np.float32)
        gram(Sparse.of(matrix.T.tocsr()), Sparse.of(matrix), square)
        square[np.diag_indices_from(square)] += self.l2
        factor, invert = (
            (lapack.spotrf, lapack.spotri) if dtype is np.float32 else (lapack.dpotrf, lapack.dpotri)
        )
        # LAPACK counts columns first: our lower triangle is its upper one, and nothing is copied.
        with threadpool_limits(1):
            made, fault = factor(square.T, lower=0, clean=0, overwrite_a=1)
            if not fault:
                made, fault = invert(made, lower=0, overwrite_c=1)
        if fault:
            raise ConfigError(
                f"{self.label}: with l2 = {self.l2:g} the Gram matrix is singular in {dtype.__name__}. Set a larger "
                "l2, or precision to float64"
            )
        square = made.T
        mirror(square)
        own = np.diag(square).copy()
        square /= -own
        np.fill_diagonal(square, 0.0)
        return square.astype(np.float32, copy=False)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        if self.neighbours is not None:
            return NeighbourTable.load(self.label, saved)
        return FittedEASE(
            self.label, saved.arrays["present"], int(saved.meta["items"]), saved.arrays["weight"]
        )

    def exact(self) -> EASE:
        """Return itself: there is no index."""
        return self


def _tame(matrix: Any, l2: float) -> bool:
    """Say whether the ridged Gram matrix of a CSR has a condition number below 10^5 (Gershgorin's bound)."""
    lengths = np.diff(matrix.indptr).astype(np.float64)
    rows = np.bincount(matrix.indices, weights=np.repeat(lengths, np.diff(matrix.indptr)))
    return bool(rows.max(initial=0.0) + l2 < 1e5 * l2)


@dataclass(frozen=True, slots=True, eq=False)
class FittedEASE:
    """The dense weights.

    Attributes:
        name: The channel's label.
        present: int32 [P], increasing: the items of the fit window.
        n_items: I.
        weight: float32 [P, P], from an item of the history (row) to a candidate (column).
    """

    name: str
    present: Int32
    n_items: int
    weight: Float32

    @property
    def is_exact(self) -> bool:
        """There is no index."""
        return True

    @property
    def index_bytes(self) -> int:
        """Bytes of the weights."""
        return int(self.weight.nbytes + self.present.nbytes)

    @property
    def parameters(self) -> int:
        """Weights off the diagonal."""
        return len(self.present) * max(len(self.present) - 1, 0)

    def _places(self, codes: Int32) -> Int32:
        """Return the place of every code among the present items; -1 where it is absent or padding."""
        place = np.full(self.n_items + 1, -1, np.int32)  # the last is that of padding
        place[self.present] = np.arange(len(self.present), dtype=np.int32)
        found: Int32 = place[codes]
        return found

    def _known(self, queries: Queries) -> Lists:
        """Return the places of the histories' items."""
        history = queries.history.sorted()
        place = self._places(history.items)
        kept = np.concatenate([[0], np.cumsum(place >= 0)])
        return Lists(kept[history.indptr].astype(np.int64), place[place >= 0])

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the unseen items with the highest sum of weights."""
        from stagelens.recall.interaction.ease_kernel import sum_rows
        from stagelens.recall.seen import top

        known = self._known(queries)
        size = len(self.present)
        item, score = np.empty((len(queries), depth), np.int32), np.empty((len(queries), depth), np.float32)
        step = max(1, min(BLOCK // max(size, 1), len(queries)))
        codes = np.tile(self.present, step)
        for first in range(0, len(queries), step):
            rows = np.arange(first, min(first + step, len(queries)))
            asked = known.rows(rows)
            value = sum_rows(asked, self.weight).ravel()
            start = np.arange(len(rows), dtype=np.int64) * size
            count = np.where(asked.lengths > 0, size, 0)
            item[rows], score[rows] = top(
                start, count, codes, value, queries.seen.rows(rows), queries.tie, depth
            )
        return Candidates.from_channel(self.name, queries.user, item, score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K]; NaN where the item or the whole history is absent from the fit window."""
        from stagelens.recall.interaction.ease_kernel import sum_at

        return sum_at(self._known(queries), self.weight, self._places(items))

    def save(self) -> Saved:
        """Return arrays."""
        return Saved({"present": self.present, "weight": self.weight}, {"items": self.n_items})
