"""Similarity: how close a candidate's content is to what the user chose before, as ranker columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from stagelens.pipeline.contracts import FittedVectors, fitted_vectors
from stagelens.pipeline.core import (
    Bool,
    Candidates,
    Features,
    Float32,
    Float64,
    Int64,
    ModalityTable,
    Queries,
    TrainingData,
)
from stagelens.pipeline.recipe import Recipe, Role, recipe

CELLS = 1 << 22
"""Numbers held at once in float64 while a table is centred."""


@recipe
class Similarity(Recipe):
    """Mean, max and recency-weighted cosine similarity of a candidate to the user's items, in one space.

    The space is a modality, or vectors made by a recipe, for instance ``fusion.Concat``. A modality's vectors
    are centred by the mean of the items that occur in the fit window; all are L2-normalised. History items that
    lack a vector are skipped; NaN where the candidate, or all of the history, lacks one. A column says whether
    the candidate has it, so that a table with other gaps can be served to the same re-ranker.
    """

    role: ClassVar[Role] = "features"

    modality: Annotated[str, Field(min_length=1)] | None = None
    """Name of a content table of the data set; without it and without ``vectors``: text."""
    vectors: Recipe | None = None
    """Recipe of vectors that are compared instead of a modality's."""
    half_life: float = Field(10.0, gt=0)
    """Items after which the weight of a history item halves, counted back from the latest."""
    max_history: int = Field(50, ge=1)
    """Latest history items (of those that have the modality) that are compared."""
    centred: bool = True
    """Subtract a modality's mean vector first; raw cosines of most encoders hardly differ. Vectors made by a
    recipe are never centred."""

    def __post_init__(self) -> None:
        if self.modality is not None and self.vectors is not None:
            raise ValueError(
                f"Similarity: modality = {self.modality!r} and vectors = {self.vectors.label}; give one of the two"
            )
        if self.vectors is not None and self.vectors.role != "vectors":
            raise ValueError(
                f"Similarity: vectors = {self.vectors.label} is a {self.vectors.role or 'recipe'}, not vectors"
            )

    @property
    def searched(self) -> str:
        """The modality, or the label of the vectors."""
        return self.vectors.label if self.vectors is not None else self.modality or "text"

    @property
    def label(self) -> str:
        """The group's name; options that are not the default are part of it."""
        options = {"half_life": 10.0, "max_history": 50, "centred": True}
        changed = [
            f", {name}={getattr(self, name)}" for name, v in options.items() if getattr(self, name) != v
        ]
        return f"Similarity({self.searched}{''.join(changed)})"

    @property
    def reads(self) -> frozenset[str]:
        """The modality, or what the vectors read."""
        return self.vectors.reads if self.vectors is not None else frozenset({self.searched})

    @property
    def seeded(self) -> bool:
        """Whether the vectors use the seed."""
        return self.vectors is not None and self.vectors.seeded

    def fit(self, data: TrainingData, channels: tuple[str, ...], *, seed: int) -> FittedSimilarity:
        """Centre and normalise the table, or fit the vectors and normalise them.

        Raises:
            ConfigError: No such modality.
        """
        if self.vectors is not None:
            return self._made(fitted_vectors(self.vectors, data, seed=seed))
        table = data.modality(self.searched)
        mean = np.zeros(table.width)
        if self.centred:
            mean = mean_row(table, table.present & (data.interactions.item_degree() > 0))
        vectors, usable = directions(table, mean)
        flag = table.present.astype(np.float32)
        return FittedSimilarity(self.label, vectors, usable, flag, self.half_life, self.max_history)

    def _made(self, made: FittedVectors) -> FittedSimilarity:
        from stagelens.pipeline.gather import normalise

        vectors = np.where(made.present[:, None], made.item, 0.0).astype(np.float32)
        usable = normalise(vectors) > 0
        flag = made.present.astype(np.float32)
        learned = int(getattr(made, "parameters", 0))
        return FittedSimilarity(self.label, vectors, usable, flag, self.half_life, self.max_history, learned)


@dataclass(frozen=True, slots=True, eq=False)
class FittedSimilarity:
    """A normalised table of item vectors.

    Attributes:
        label: Prefix of the columns.
        vectors: float32 [I, D], unit length where usable, zero elsewhere.
        usable: bool [I]; present, and not equal to the mean.
        flag: float32 [I], 1 where present.
        half_life: Items.
        max_history: Items.
        parameters: Learned numbers behind the vectors; content is not learned.
    """

    label: str
    vectors: Float32
    usable: Bool
    flag: Float32
    half_life: float
    max_history: int
    parameters: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Three similarities, and whether the candidate has the modality (no split can use it where all have)."""
        return tuple(f"{self.label}: {part}" for part in ("mean", "max", "recent", "present"))

    def compute(self, queries: Queries, candidates: Candidates) -> Features:
        """Return float32 [Q, K, 4].

        Raises:
            ValueError: Queries and candidates are not of the same users.
        """
        from stagelens.pipeline.threads import over_rows
        from stagelens.rerank.features.similarity_kernel import similarities

        if len(queries) != len(candidates):
            raise ValueError(f"{len(queries)} queries against the candidates of {len(candidates)} users")
        history = queries.history
        values = np.full((*candidates.item.shape, len(self.names)), np.nan, np.float32)
        longest = max(1, min(self.max_history, int(history.lengths.max(initial=0))))
        weights = (0.5 ** (np.arange(longest) / self.half_life)).astype(np.float32)

        def rows(start: int, stop: int) -> None:
            pointers, items = history.indptr[start : stop + 1], candidates.item[start:stop]
            similarities(
                pointers, history.items, items, self.vectors, self.usable, weights, values[start:stop]
            )

        steps = candidates.size * min(longest, 10) * self.vectors.shape[1]
        over_rows(len(queries), rows, steps=steps)
        values[..., 3] = np.where(candidates.found, self.flag[candidates.item], np.float32(np.nan))
        return Features(self.names, values)


def mean_row(table: ModalityTable, keep: Bool) -> Float64:
    """Return float64 [D]: the mean of the kept rows, zeros where there is none."""
    rows = np.flatnonzero(keep)
    total = np.zeros(table.width)
    for part in _chunks(rows, table.width):
        total += table.rows(part).sum(axis=0, dtype=np.float64)
    return total / max(1, len(rows))


def directions(table: ModalityTable, mean: Float64) -> tuple[Float32, Bool]:
    """Return float32 [I, D] unit vectors from the mean, and bool [I] where there is one.

    A row that equals the mean up to rounding has no direction: what is left of it is noise.
    """
    vectors = np.zeros((len(table.present), table.width), np.float32)
    usable = np.zeros(len(table.present), dtype=bool)
    for part in _chunks(np.flatnonzero(table.present), table.width):
        raw = table.rows(part).astype(np.float64)
        offset = raw - mean
        length = np.linalg.norm(offset, axis=1)
        known = length > 1e-6 * np.linalg.norm(raw, axis=1)
        vectors[part[known]] = offset[known] / length[known, None]
        usable[part] = known
    return vectors, usable


def _chunks(rows: Int64, width: int) -> list[Int64]:
    step = max(1, CELLS // max(1, width))
    return [rows[start : start + step] for start in range(0, len(rows), step)]
