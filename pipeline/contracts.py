"""The contracts between rooms: structural protocols, recipe side and fitted side.

A fitted object is immutable and saved as arrays and JSON (``save``); its recipe reads it back (``load``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

from stagelens.pipeline.core import (
    Bool,
    Candidates,
    Features,
    Float32,
    Int32,
    ModalityTable,
    Queries,
    Rows,
    TrainingData,
)
from stagelens.pipeline.seeds import derive

if TYPE_CHECKING:
    from stagelens.pipeline.evaluate.truth import Truth

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A fitted object at rest.

    Attributes:
        arrays: Named arrays, no object dtype.
        meta: JSON data.
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class FittedChannel(Protocol):
    """A fitted source of candidates."""

    @property
    def name(self) -> str:
        """The channel's label."""
        ...

    @property
    def is_exact(self) -> bool:
        """False where an approximate index stands between the scores and the list."""
        ...

    @property
    def index_bytes(self) -> int:
        """Bytes of the index or of the neighbour table."""
        ...

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        ...

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return at most ``depth`` unseen items a query, best first, ties by ``queries.tie``; C = 1, K = depth.

        A query without usable history gets an empty (all padding) list. The result of a row never depends on
        the other rows of the block.
        """
        ...

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K] for items int32 [Q, K] (padding -1); NaN where the channel has no score.

        Uses exact scores, seen or not, whatever the index; an item the channel could never return (no vector, no
        neighbour in the history) is NaN.
        """
        ...

    def save(self) -> Saved:
        """Return arrays and JSON."""
        ...


class Channel(Protocol):
    """Recipe of a source of candidates."""

    @property
    def label(self) -> str:
        """Unique within a union."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Modalities read."""
        ...

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Fit on one window."""
        ...

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        ...

    def exact(self) -> Channel:
        """Return the same channel with every index exact; itself where it already is."""
        ...


class FittedVectors(Protocol):
    """Vectors of items and a way to make query vectors: every index serves them."""

    @property
    def item(self) -> Float32:
        """float32 [I, D]."""
        ...

    @property
    def present(self) -> Bool:
        """Bool [I]; False where an item has no vector."""
        ...

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return vectors float32 [V, D] and the query row int32 [V] each belongs to (no row: no vector)."""
        ...

    def save(self) -> Saved:
        """Return arrays and JSON."""
        ...


class Vectors(Protocol):
    """Recipe of vectors. A fitted one may say ``similarity`` (``cosine`` or ``dot``) and ``parameters``."""

    @property
    def label(self) -> str:
        """Part of the label of whatever reads them."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Modalities read."""
        ...

    def fit(self, data: TrainingData, *, seed: int) -> FittedVectors:
        """Fit on one window."""
        ...

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        ...


def fitted_vectors(recipe: Any, data: TrainingData, *, seed: int) -> FittedVectors:
    """Return a recipe's vectors: those that the study shares between stages, or a fit of their own.

    Whoever needs vectors made by a recipe asks here, so that both stages of a study search and read one fit.
    The seed counts only where nothing is shared.
    """
    if data.share is not None:
        shared: FittedVectors = data.share(recipe)
        return shared
    own: FittedVectors = recipe.fit(data, seed=derive(seed, "vectors"))
    return own


class FittedFeatureGroup(Protocol):
    """A fitted group of ranker columns."""

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, the same for every block."""
        ...

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, F]; reads nothing but the fit window, the queries and the candidates."""
        ...


class FeatureGroup(Protocol):
    """Recipe of a group of ranker columns."""

    @property
    def label(self) -> str:
        """The group's name in importance tables."""
        ...

    @property
    def reads(self) -> frozenset[str]:
        """Modalities read."""
        ...

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedFeatureGroup:
        """Fit on one window for candidates that carry the evidence of these ``channels``."""
        ...


class FittedReranker(Protocol):
    """A fitted order of candidates."""

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        ...

    def score(self, candidates: Candidates, features: Features) -> Float32:
        """Return float32 [Q, K]; ordering, ties and padding are done once by ``Candidates.rescored``.

        ``features`` may hold columns of other re-rankers too: its own are picked by name.
        """
        ...

    def save(self) -> Saved:
        """Return arrays and JSON."""
        ...


class Reranker(Protocol):
    """Recipe of a re-ranker."""

    @property
    def label(self) -> str:
        """Shown in tables."""
        ...

    @property
    def features(self) -> tuple[FeatureGroup, ...]:
        """The groups it reads; empty for baselines."""
        ...

    def fit(self, rows: Rows, valid_rows: Rows, *, seed: int) -> FittedReranker:
        """Fit on training rows, stop early on valid rows."""
        ...

    def load(self, saved: Saved) -> FittedReranker:
        """Read a saved fit back."""
        ...


class FittedEnsemble(Protocol):
    """A fitted rule that makes one score of the scores of several members."""

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        ...

    def score(self, candidates: Candidates) -> Float32:
        """Return float32 [Q, K] from the evidence alone; NaN only where no member scored the item.

        The order of the channels never changes the result.
        """
        ...

    def save(self) -> Saved:
        """Return arrays and JSON."""
        ...


class Ensemble(Protocol):
    """Recipe of late integration: members are the channels of the candidates, their scores the evidence."""

    @property
    def label(self) -> str:
        """Shown in tables."""
        ...

    def fit(
        self,
        candidates: Candidates,
        truth: Truth,
        valid_candidates: Candidates,
        valid_truth: Truth,
        *,
        seed: int,
    ) -> FittedEnsemble:
        """Learn on the label window, choose on valid; fixed rules ignore both."""
        ...

    def load(self, saved: Saved) -> FittedEnsemble:
        """Read a saved fit back."""
        ...


class Treatment(Protocol):
    """Controlled change of one modality."""

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the treated table.

        Raises:
            ConfigError: The treatment changed nothing.
        """
        ...


class Executor(Protocol):
    """Runs independent tasks; serial, process pool and cluster give identical results."""

    def map(self, function: Callable[[S], T], tasks: Iterable[S]) -> list[T]:
        """Return the results in the order of the tasks."""
        ...
