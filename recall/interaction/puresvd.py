"""PureSVD: vectors of a truncated singular value decomposition of who had what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from stagelens.pipeline.contracts import FittedVectors, Saved
from stagelens.pipeline.core import Float32, Int32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.space import Space, Whole
from stagelens.recall.interaction.factors import ItemFactors

NEGLIGIBLE = 1e-6
"""Factors whose singular value is below this share of the largest carry rounding noise only."""


@recipe
class PureSVD(Recipe):
    """Item vectors V of the truncated SVD of the binary user-item matrix.

    A user is the sum of its items' vectors.

    The query is folded in from the history (row @ V), so a user outside the fit window is served like any
    other, and held-out items never leak through a stored user vector. Serve it with the dot product.

    References:
        Cremonesi, Koren & Turrin 2010, doi:10.1145/1864708.1864721. Range searched: McElfresh et al. 2022,
        arXiv:2206.11886.
    """

    role: ClassVar[Role] = "vectors"
    space: ClassVar[Space] = {"factors": Whole(1, 350)}

    factors: PositiveInt = 64
    """Width D of the vectors; fewer where the matrix has a lower rank."""

    @property
    def label(self) -> str:
        """``PureSVD``, with the factors where they are not the default."""
        return "PureSVD" if self.factors == 64 else f"PureSVD(factors={self.factors})"

    def fit(self, data: TrainingData, *, seed: int) -> FittedVectors:
        """Decompose the window; start vector and signs are fixed, so every seed gives the same."""
        window = data.interactions
        present = window.item_degree() > 0
        item = np.zeros((window.n_items, 0), np.float32)
        if len(window):
            item = _right_vectors(window.matrix().astype(np.float64), self.factors)
            item[~present] = 0.0
        return FittedPureSVD(np.ascontiguousarray(item), present)

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        return FittedPureSVD(saved.arrays["item"], saved.arrays["present"])


def _right_vectors(matrix: Any, factors: int) -> Float32:
    """Return float32 [I, D], the right singular vectors of a CSR [U, I], strongest first."""
    from scipy.sparse.linalg import svds  # before the limit, which holds for libraries that are loaded
    from threadpoolctl import threadpool_limits

    smallest = min(matrix.shape)
    # One thread: the same last bits for any number of cores, and for 200 factors a sixth of the processor time of two.
    with threadpool_limits(limits=1, user_api="blas"):
        if factors < smallest - 1:
            start = generator(0, "puresvd").normal(size=smallest)
            _, strength, right = svds(matrix, k=factors, v0=start, solver="arpack")
        else:
            _, strength, right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    order = np.argsort(-strength, kind="stable")[:factors]
    order = order[strength[order] > NEGLIGIBLE * strength[order[0]]]
    vectors: NDArray[np.float64] = right[order].T
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(order))]
    return np.asarray(vectors * np.where(largest < 0, -1.0, 1.0), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class FittedPureSVD(ItemFactors):
    """Right singular vectors; a history is the sum of its items'."""

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return the folded-in histories: float32 [V, D] and int32 [V]."""
        from stagelens.pipeline.gather import pooled

        position = np.where(self.present, np.arange(len(self.present)), -1).astype(np.int32)
        return pooled(queries.history, self.item, position, mean=False)
