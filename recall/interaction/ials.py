"""iALS: vectors of a weighted factorisation of who had what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from stagelens.pipeline.contracts import FittedVectors, Saved
from stagelens.pipeline.core import Bool, Float32, Float64, Int32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.space import Choice, Real, Space, Whole
from stagelens.recall.interaction.factors import ItemFactors


@recipe
class IALS(Recipe):
    """Item factors Y of the factorisation of preferences with confidences, by alternating least squares.

    Minimises the sum over all pairs of c (p - x·y)² plus ``regularisation`` times the squared lengths of all
    x and y: p is 1 where the user had the item, else 0; c is 1 + alpha r (``linear``) or
    1 + alpha ln(1 + r / epsilon) (``log``) with r the event weight of the pair, and 1 where p is 0. The
    regularisation does not grow with the number of items or users, as in the paper; the least squares are
    solved by conjugate gradients, as in ``implicit``, which fits.

    The query is the exact user step for the history, (YᵀCY + regularisation I)⁻¹ YᵀCp: a user outside the fit
    window is served like any other, and held-out items never leak through a stored user vector. A query knows
    no event weights; each of its items counts with the mean weight of the window (with 1 where all weigh 1).
    Serve it with the dot product.

    References:
        Hu, Koren & Volinsky 2008, doi:10.1109/ICDM.2008.22 (both confidences); Takács, Pilászy & Tikk 2011,
        doi:10.1145/2043932.2043987 (conjugate gradients). Ranges searched: McElfresh et al. 2022,
        arXiv:2206.11886; the passes in place of their early stopping, the regularisation up to 100 and not 1e-2,
        which cut the model short of its best on MovieLens-100K.
    """

    role: ClassVar[Role] = "vectors"
    seeded: ClassVar[bool] = True
    space: ClassVar[Space] = {
        "factors": Whole(1, 200),
        "iterations": Whole(5, 100, log=True),
        "confidence": Choice(("linear", "log")),
        "alpha": Real(1e-3, 50.0, log=True),
        "epsilon": Real(1e-3, 10.0, log=True),
        "regularisation": Real(1e-5, 100.0, log=True),
    }

    factors: PositiveInt = 64
    """Width D of the vectors."""
    iterations: PositiveInt = 15
    """Passes over users and items."""
    confidence: Literal["linear", "log"] = "linear"
    """How the confidence grows with the event weight."""
    alpha: PositiveFloat = 1.0
    """How much more a pair that was had counts than one that was not."""
    epsilon: PositiveFloat = 1.0
    """Event weight at which ``log`` begins to flatten; not read with ``linear``."""
    regularisation: PositiveFloat = 0.01
    """Weight of the squared lengths of the factors."""

    @property
    def label(self) -> str:
        """``IALS``, with the factors where they are not the default."""
        return "IALS" if self.factors == 64 else f"IALS(factors={self.factors})"

    def fit(self, data: TrainingData, *, seed: int) -> FittedVectors:
        """Factorise the window.

        Raises:
            ConfigError: The factors are not finite.
            MissingExtra: ``implicit`` is not installed.
        """
        from stagelens.recall.interaction.implicit_fits import als_factors

        window = data.interactions
        present = window.item_degree() > 0
        if not len(window):
            return FittedIALS.of(np.zeros((window.n_items, 0), np.float32), present, 1.0, self.regularisation)
        matrix = window.matrix(weighted=True)
        mean = float(matrix.data.mean(dtype=np.float64))
        matrix.data = (1.0 + self.extra(matrix.data)).astype(np.float32)
        _, item = als_factors(
            matrix,
            factors=self.factors,
            regularisation=self.regularisation,
            iterations=self.iterations,
            seed=seed,
        )
        return FittedIALS.of(item, present, float(self.extra(mean)), self.regularisation)

    def extra(self, weight: Any) -> Any:
        """Return c - 1 of event weights."""
        if self.confidence == "linear":
            return self.alpha * np.asarray(weight, np.float64)
        return self.alpha * np.log1p(np.asarray(weight, np.float64) / self.epsilon)

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        arrays, meta = saved.arrays, saved.meta
        return FittedIALS.of(arrays["item"], arrays["present"], meta["extra"], meta["regularisation"])


@dataclass(frozen=True, slots=True, eq=False)
class FittedIALS(ItemFactors):
    """Item factors and what the user step needs.

    Attributes:
        extra: c - 1 of an item of a query.
        regularisation: Weight of a user's squared length.
        gram: float64 [D, D], YᵀY + regularisation I.
        solved: float64 [I, D], Y times the inverse of ``gram``.
    """

    extra: float
    regularisation: float
    gram: Float64
    solved: Float64

    @classmethod
    def of(cls, item: Float32, present: Bool, extra: float, regularisation: float) -> FittedIALS:
        """Complete a fit."""
        from threadpoolctl import threadpool_limits

        wide = item.astype(np.float64)
        with threadpool_limits(limits=1, user_api="blas"):  # the same last bits for any number of threads
            gram = wide.T @ wide + regularisation * np.eye(item.shape[1])
            solved: NDArray[np.float64] = np.ascontiguousarray(np.linalg.solve(gram, wide.T).T)
        return cls(np.ascontiguousarray(item), present, extra, regularisation, gram, solved)

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return the user step for every history: float32 [V, D] and int32 [V]."""
        from stagelens.recall.interaction.ridge import ridge

        return ridge(queries.history, self.item, self.solved, self.gram, self.present, self.extra)

    def save(self) -> Saved:
        """Return arrays and JSON."""
        arrays = {"item": self.item, "present": self.present}
        return Saved(arrays, {"extra": self.extra, "regularisation": self.regularisation})
