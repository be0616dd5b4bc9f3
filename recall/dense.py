"""Dense: nearest vectors, of a modality or of any recipe that makes vectors; exact or approximate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from stagelens.pipeline.contracts import FittedChannel, FittedVectors, Saved, Vectors, fitted_vectors
from stagelens.pipeline.core import Candidates, Float32, Int32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import derive
from stagelens.recall.devices import Device
from stagelens.recall.queries import Mean, UserVectors

if TYPE_CHECKING:
    from stagelens.recall.index import Index
    from stagelens.recall.layout import Layout

Similarity = Literal["cosine", "dot"]
NO_QUERY = 1e-6
"""A mean of unit vectors shorter than this is a cancelled sum: it points nowhere."""


@recipe
class Dense(Recipe):
    """Items whose vectors are nearest to the user's.

    Content vectors are centred by the mean of the present rows of items in the fit window and scaled to
    length 1. Items without a vector are never returned; a user whose items have none gets an empty list.
    Items with exactly equal vectors tie, and the seeded order decides among them.
    """

    role: ClassVar[Role] = "channel"

    modality: str | None = None
    """Content modality searched; this or ``vectors``."""
    vectors: Recipe | None = None
    """Recipe of vectors searched, for instance ``recall.PureSVD``; this or ``modality``."""
    index: str = "Flat"
    """FAISS factory string; ``Flat`` is exact search."""
    similarity: Similarity | None = None
    """``cosine`` or ``dot``; None: cosine for a modality, what the vectors were made for otherwise."""
    centre: bool = True
    """Subtract the mean of a modality's rows. Vectors made by a recipe are never centred."""
    user: UserVectors = Mean()
    """How a history becomes query vectors. Vectors made by a recipe bring their own."""
    nprobe: PositiveInt | None = None
    """Lists that an IVF index visits; None: FAISS's default, 1."""
    ef_search: PositiveInt | None = None
    """Breadth of the search in an HNSW graph, raised to what the index is asked for; None: just that."""
    device: Device = "auto"
    """Where FAISS searches; ``auto``: on a GPU that passes a probe, else on the CPU."""

    def __post_init__(self) -> None:
        if (self.modality is None) == (self.vectors is None):
            raise ValueError(
                f"Dense: modality = {self.modality!r} and vectors = {self.vectors!r}; give exactly one "
                'of the two, e.g. modality = "text"'
            )
        if self.vectors is not None and self.vectors.role != "vectors":
            raise ValueError(
                f"Dense: vectors = {self.vectors.label} is a {self.vectors.role or 'recipe'}, not vectors"
            )

    @property
    def label(self) -> str:
        """``Dense(text)``, ``Dense(PureSVD)``."""
        return f"Dense({self.vectors.label if self.vectors is not None else self.modality})"

    @property
    def reads(self) -> frozenset[str]:
        """The modality, or what the vectors read."""
        return self.vectors.reads if self.vectors is not None else frozenset({str(self.modality)})

    @property
    def seeded(self) -> bool:
        """Whether training an index or the vectors uses the seed."""
        return self.index != "Flat" or (self.vectors is not None and self.vectors.seeded)

    def exact(self) -> Dense:
        """Return the same channel with exact search."""
        return self if self.index == "Flat" else replace(self, index="Flat", nprobe=None, ef_search=None)

    def fit(self, data: TrainingData, *, seed: int) -> FittedChannel:
        """Prepare the vectors and build the index.

        Raises:
            ConfigError: No such modality, a factory string FAISS does not know, or no GPU where one was
                demanded.
            MissingExtra: An approximate index without FAISS.
        """
        from stagelens.pipeline.data.content import prepared
        from stagelens.pipeline.gather import normalise
        from stagelens.recall.layout import laid_out

        source: FittedVectors | None = None
        if self.vectors is not None:
            source = fitted_vectors(self.vectors, data, seed=seed)
            present = source.present & (source.item != 0).any(axis=1)
            rows = np.where(present[:, None], source.item, 0.0).astype(np.float32)
            if self._similarity(source) == "cosine":
                normalise(rows)
        else:
            trained = data.interactions.item_degree() > 0
            table = data.modality(str(self.modality))
            unit = self._similarity(None) == "cosine"
            rows, present, _ = prepared(table, trained, centre=self.centre, unit=unit)
        layout = laid_out(rows, present)
        index = None
        if len(layout.vectors):
            from stagelens.recall.index import build

            index = build(layout.vectors, factory=self.index, seed=derive(seed, "index"), **self._search())
        return self._fitted(layout, index, source)

    def load(self, saved: Saved) -> FittedChannel:
        """Read a saved fit back."""
        from stagelens.recall.index import restore
        from stagelens.recall.layout import Layout

        arrays = saved.arrays
        layout = Layout.of(arrays["vectors"], arrays["position"], arrays["members_at"], arrays["member"])
        index = None
        if len(layout.vectors):
            index = restore(arrays["index"], layout.vectors, factory=self.index, **self._search())
        source = None
        if self.vectors is not None:
            inner = {
                name.removeprefix("source."): a for name, a in arrays.items() if name.startswith("source.")
            }
            source = cast(Vectors, self.vectors).load(Saved(inner, saved.meta["source"]))
        return self._fitted(layout, index, source)

    def _search(self) -> dict[str, Any]:
        return {"device": self.device, "nprobe": self.nprobe, "ef_search": self.ef_search}

    def _similarity(self, source: FittedVectors | None) -> Similarity:
        if self.similarity is not None:
            return self.similarity
        made_for = "cosine" if source is None else getattr(source, "similarity", "dot")
        return "dot" if made_for == "dot" else "cosine"

    def _fitted(self, layout: Layout, index: Index | None, source: FittedVectors | None) -> FittedDense:
        unit = self._similarity(source) == "cosine"
        return FittedDense(self.label, layout, index, self.index == "Flat", self.user, source, unit)


@dataclass(frozen=True, slots=True, eq=False)
class FittedDense:
    """Vectors, an index over them, and a way to query it.

    Attributes:
        name: The channel's label.
        layout: Distinct vectors and the items that share each.
        index: Over ``layout.vectors``; None where no item has a vector.
        is_exact: Whether the lists are those of exhaustive search.
        user: Makes query vectors where no ``source`` does.
        source: Fitted vectors that bring their own queries, or None.
        unit: Whether vectors and queries have length 1.
    """

    name: str
    layout: Layout
    index: Index | None
    is_exact: bool
    user: UserVectors
    source: FittedVectors | None
    unit: bool

    @property
    def index_bytes(self) -> int:
        """Bytes of the index."""
        return 0 if self.index is None else self.index.size_bytes

    @property
    def parameters(self) -> int:
        """Learned numbers: those of the vectors' recipe; content is not learned."""
        return int(getattr(self.source, "parameters", 0))

    @property
    def note(self) -> str:
        """Where the index searches and why; empty where nothing needs saying."""
        return "" if self.index is None else self.index.note

    @property
    def counts(self) -> Mapping[str, int]:
        """Items with a vector, distinct vectors, and items whose vector another one has too."""
        layout = self.layout
        return {
            "items": len(layout.member),
            "vectors": len(layout.vectors),
            "duplicates": layout.duplicates,
        }

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return the vectors the index is asked with: float32 [V, D] and the query row of each, int32 [V]."""
        from stagelens.pipeline.gather import normalise, some_rows

        if self.source is not None:
            vectors, owner = self.source.query(queries)
            vectors = np.array(vectors, dtype=np.float32, order="C")
        else:
            vectors, owner = self.user.vectors(queries.history, self.layout.vectors, self.layout.position)
        if self.unit:
            least = NO_QUERY if self.source is None else 0.0
            return some_rows(vectors, owner, normalise(vectors) > least)
        return some_rows(vectors, owner, (vectors != 0).any(axis=1))

    def retrieve(self, queries: Queries, depth: int) -> Candidates:
        """Return the unseen items nearest to the query; the best of its vectors counts."""
        from stagelens.recall.search import unseen

        vectors, owner = self.query(queries)
        if self.index is None:
            owner, vectors = owner[:0], vectors[:0]
        item, score = unseen(
            cast("Index", self.index), self.layout, vectors, owner, queries.seen, queries.tie, depth
        )
        found = Candidates.from_channel(self.name, queries.user, item, score)
        if self.is_exact:
            return found
        # The index chose; the scores shown are the true ones, so they compare with exact search.
        ordered = found.rescored(_padded(self._scores(vectors, owner, item)), queries.tie)
        return Candidates.from_channel(self.name, queries.user, ordered.item, ordered.score)

    def score(self, queries: Queries, items: Int32) -> Float32:
        """Return float32 [Q, K] exact scores; NaN where the item or the user has no vector."""
        return self._scores(*self.query(queries), items)

    def _scores(self, vectors: Float32, owner: Int32, items: Int32) -> Float32:
        from stagelens.pipeline.gather import dots

        out = np.full(items.shape, np.nan, np.float32)
        if not len(vectors):
            return out
        place = np.where(items >= 0, self.layout.position[items], -1)
        value = dots(vectors, self.layout.vectors, place[owner])
        rows, first = np.unique(owner, return_index=True)
        out[rows] = value if len(rows) == len(owner) else np.fmax.reduceat(value, first, axis=0)
        return out

    def save(self) -> Saved:
        """Return arrays and JSON."""
        layout = self.layout
        arrays: dict[str, NDArray[Any]] = {
            "vectors": layout.vectors,
            "position": layout.position,
            "members_at": layout.members_at,
            "member": layout.member,
            "index": np.empty(0, np.uint8) if self.index is None else self.index.serialise(),
        }
        source = Saved() if self.source is None else self.source.save()
        arrays |= {f"source.{name}": array for name, array in source.arrays.items()}
        return Saved(arrays, {"source": dict(source.meta), "counts": dict(self.counts), "note": self.note})


def _padded(score: Float32) -> Float32:
    return np.where(np.isnan(score), -np.inf, score).astype(np.float32)
