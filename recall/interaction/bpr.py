"""MF-BPR: vectors that put what a user had before what the user had not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from stagelens.pipeline.contracts import FittedVectors, Saved
from stagelens.pipeline.core import Bool, Float32, Int32, Lists, Queries, TrainingData
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import derive, generator
from stagelens.pipeline.space import Real, Space, Whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stagelens.recall.interaction.pairwise import Steps


@recipe
class MFBPR(Recipe):
    """Item factors and biases of a matrix factorisation trained on pairs: Bayesian personalised ranking.

    Stochastic gradient ascent of ln σ(x·(yᵢ - yⱼ) + bᵢ - bⱼ) with squared penalties; user and item i are a pair of
    the window drawn at random, item j is drawn evenly from its items, and a draw that the user had is skipped. One
    regularisation and one step size for all. The bias is the vectors' last column.

    A query whose history is the user's in the fit window, as a set, gets the trained user vector. Any other
    is folded in by the same steps: as many draws as training makes for a history of this length, from zero,
    with the items fixed; the draws follow from the seed and the history alone, so neither the user nor the other
    queries of the block move them. No vector of a user answers for a history other than the one it was trained on.
    A fold-in meets the finished items only, a trained vector also those of the early passes: either may find more.
    Serve it with the dot product.

    References:
        Rendle, Freudenthaler, Gantner & Schmidt-Thieme 2009, arXiv:1205.2618 (there the bias is a factor and penalties
        differ). Ranges searched: McElfresh et al. 2022, arXiv:2206.11886, for plain steps and one regularisation, up to
        1e-1 and not 1e-2; the passes in place of their early stopping.
    """

    role: ClassVar[Role] = "vectors"
    seeded: ClassVar[bool] = True
    space: ClassVar[Space] = {
        "factors": Whole(1, 200),
        "iterations": Whole(20, 400, log=True),
        "regularisation": Real(1e-5, 1e-1, log=True),
        "learning_rate": Real(1e-4, 1e-1, log=True),
    }

    factors: PositiveInt = 64
    """Width D of the vectors, the bias not counted."""
    iterations: PositiveInt = 100
    """Passes, each of as many draws as there are pairs."""
    learning_rate: PositiveFloat = 0.05
    """Step size."""
    regularisation: NonNegativeFloat = 0.01
    """Weight of the squared factors and biases."""
    negatives: Literal["uniform", "popular"] = "uniform"
    """How item j is drawn: every item of the window alike, or as often as it occurs there, as ``implicit`` draws it:
    then popularity is not learned, and lists of sparse data are worse than those of ``Popular``."""

    @property
    def label(self) -> str:
        """``MFBPR``, with the factors where they are not the default."""
        return "MFBPR" if self.factors == 64 else f"MFBPR(factors={self.factors})"

    def fit(self, data: TrainingData, *, seed: int) -> FittedVectors:
        """Train on the window, in one thread: the same seed gives the same bytes.

        Raises:
            ConfigError: The factors are not finite.
        """
        from stagelens.recall.interaction.pairwise import digests, train

        window = data.interactions
        matrix = window.matrix()
        had = Lists(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))
        degree = np.bincount(had.items, minlength=window.n_items).astype(np.int32)
        rng = generator(seed, "bpr")
        user, item = (_start(rng, rows, self.factors) for rows in (window.n_users, window.n_items))
        user[had.lengths == 0], item[degree == 0] = 0.0, 0.0
        user[:, -1], item[:, -1] = 1.0, 0.0
        train(had, self._pool(degree), user, item, self._steps(derive(seed, "bpr", "draws")))
        if not (np.isfinite(user).all() and np.isfinite(item).all()):
            raise ConfigError(
                f"{self.label} ended with factors that are not finite: learning_rate = {self.learning_rate}, "
                f"regularisation = {self.regularisation}. Lower the learning rate"
            )
        return self._fitted(item, user, degree, digests(had), derive(seed, "fold-in"))

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        arrays = saved.arrays
        return self._fitted(
            arrays["item"], arrays["user"], arrays["degree"], arrays["known"], saved.meta["seed"]
        )

    def _fitted(
        self, item: Float32, user: Float32, degree: Int32, known: NDArray[np.uint64], seed: int
    ) -> FittedMFBPR:
        return FittedMFBPR(item, user, degree, known, self._pool(degree), self._steps(seed))

    def _pool(self, degree: Int32) -> Int32:
        """Return int32 [N], what item j is drawn from, evenly."""
        often = degree if self.negatives == "popular" else np.minimum(degree, 1)
        return np.repeat(np.arange(len(degree), dtype=np.int32), often)

    def _steps(self, seed: int) -> Steps:
        from stagelens.recall.interaction.pairwise import Steps

        return Steps(self.iterations, self.learning_rate, self.regularisation, seed)


def _start(rng: np.random.Generator, rows: int, factors: int) -> Float32:
    """Return float32 [rows, D + 1], between -1 and 1 over 2 D, as implicit and cornac start."""
    return (rng.random((rows, factors + 1), dtype=np.float32) - np.float32(0.5)) / np.float32(factors)


@dataclass(frozen=True, slots=True, eq=False)
class FittedMFBPR:
    """Factors, and what the fold-in needs.

    Attributes:
        item: float32 [I, D + 1], the bias last; zero rows for items without interactions in the fit window.
        user: float32 [U, D + 1], 1 last.
        degree: int32 [I], users of each item in the fit window.
        known: uint64 [U], digest of each user's items in the fit window; 0 where there are none.
        pool: int32 [N], what the other item of a draw is drawn from.
        steps: How a history is folded in.
    """

    item: Float32
    user: Float32
    degree: Int32
    known: NDArray[np.uint64]
    pool: Int32
    steps: Steps

    @property
    def present(self) -> Bool:
        """Bool [I]; False for items without interactions in the fit window."""
        present: Bool = self.degree > 0
        return present

    @property
    def similarity(self) -> str:
        """What compares a query with an item."""
        return "dot"

    @property
    def parameters(self) -> int:
        """Learned numbers of items and users."""
        width = int(self.item.shape[1])
        return int((self.degree > 0).sum()) * width + int((self.known != 0).sum()) * (width - 1)

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return trained vectors, or folded-in histories: float32 [V, D + 1] and int32 [V]."""
        from stagelens.recall.interaction.pairwise import digests, folded

        history = queries.history.sorted()
        present = self.present
        digest = digests(history)
        trained = (digest != 0) & (self.known[queries.user] == digest)
        vectors = np.zeros((len(history), self.item.shape[1]), np.float32)
        vectors[trained] = self.user[queries.user[trained]]
        rest = np.flatnonzero(~trained)
        if len(rest):
            fold = (self.item, present, self.pool, self.steps)
            vectors[rest] = folded(history.rows(rest), digest[rest], *fold)
        usable = np.zeros(len(history.items) + 1, np.int64)
        np.cumsum(present[history.items], out=usable[1:])
        owner = np.flatnonzero(np.diff(usable[history.indptr]) > 0).astype(np.int32)
        return vectors[owner], owner

    def save(self) -> Saved:
        """Return arrays and JSON."""
        arrays: dict[str, NDArray[Any]] = {"item": self.item, "user": self.user}
        arrays |= {"degree": self.degree, "known": self.known}
        return Saved(arrays, {"seed": self.steps.seed})
