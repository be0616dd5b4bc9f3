"""NMF: non-negative vectors of a factorisation of who had what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from stagelens.pipeline.contracts import FittedVectors, Saved
from stagelens.pipeline.core import Float32, Int32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.space import Space, Whole
from stagelens.recall.interaction.factors import ItemFactors


@recipe
class NMF(Recipe):
    """Item factors H of a non-negative factorisation of the binary user-item matrix.

    Minimises ½‖X - WHᵀ‖² (Frobenius) over non-negative W and H, by coordinate descent on one factor after the
    other (HALS), from a random start scaled to the mean of X. There is no penalty and no divergence other than
    the Frobenius norm. It is compiled here rather than taken from scikit-learn, which no extra needs: on the same
    start the two take the same steps.

    The query is the non-negative least squares of the history on H, so a user outside the fit window is served
    like any other, and no vector of a user is stored. Serve it with the dot product.

    References:
        Lee & Seung 1999, doi:10.1038/44565; Cichocki & Phan 2009, doi:10.1587/transfun.E92.A.708 (HALS). Range
        searched: McElfresh et al. 2022, arXiv:2206.11886, who also search solver, start and loss.
    """

    role: ClassVar[Role] = "vectors"
    seeded: ClassVar[bool] = True
    space: ClassVar[Space] = {"factors": Whole(1, 350)}

    factors: PositiveInt = 64
    """Width D of the vectors."""
    iterations: PositiveInt = 50
    """Passes over users and items."""

    @property
    def label(self) -> str:
        """``NMF``, with the factors where they are not the default."""
        return "NMF" if self.factors == 64 else f"NMF(factors={self.factors})"

    def fit(self, data: TrainingData, *, seed: int) -> FittedVectors:
        """Factorise the window."""
        from stagelens.recall.interaction.hals import factorise

        window = data.interactions
        present = window.item_degree() > 0
        if not len(window):
            return FittedNMF(np.zeros((window.n_items, 0), np.float32), present)
        matrix = window.matrix()
        scale = np.sqrt(matrix.nnz / window.n_users / window.n_items / self.factors)
        rng = generator(seed, "nmf")
        item = scale * np.abs(rng.standard_normal((window.n_items, self.factors)))
        user = scale * np.abs(rng.standard_normal((window.n_users, self.factors)))
        _, item = factorise(matrix, user, item, self.iterations)
        return FittedNMF(item.astype(np.float32), present)

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        return FittedNMF(saved.arrays["item"], saved.arrays["present"])


@dataclass(frozen=True, slots=True, eq=False)
class FittedNMF(ItemFactors):
    """Item factors, none negative."""

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return the folded-in histories: float32 [V, D] and int32 [V]."""
        from stagelens.recall.interaction.hals import folded

        return folded(queries.history, self.item, self.present)
