"""Treatments: controlled changes of one modality, each of which proves that it changed the array."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stagelens.pipeline.core import ModalityTable, TrainingData, content_hash
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import generator


@recipe
class PermuteRows(Recipe):
    """Gives every item the vector of another: all moments stay, the information goes.

    Rows move among the present items only, so availability stays as it is. The order depends on the seed and
    the modality's name alone (and, within popularity classes, on item degrees), so one seed treats both
    stages alike when the table is treated once. Some rows may stay by chance, and equal vectors are alike
    wherever they move: see ``fixed_points``.
    """

    role: ClassVar[Role] = "treatment"
    seeded: ClassVar[bool] = True

    within: Literal["popularity"] | None = None
    """None: among all items. popularity: among items of similar degree, so that what vectors tell about
    popularity stays."""
    classes: int = Field(default=10, ge=2)
    """Popularity classes of near-equal size, by item degree in the training interactions; ties at random."""

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with its present rows permuted.

        Raises:
            ConfigError: The permutation changed nothing.
        """
        rng = generator(seed, "permute", table.name, self.within or "all")
        items = np.flatnonzero(table.present)
        source = items.copy()
        for group in self._groups(items, data, rng):
            source[group] = items[rng.permutation(group)]
        values = np.array(table.values)
        values[items] = table.values[source]
        return _changed(self, table, values, table.present)

    def _groups(
        self, items: NDArray[np.int64], data: TrainingData, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return positions in ``items``, group by group."""
        if self.within is None:
            return [np.arange(len(items))]
        degree = data.interactions.item_degree()[items]
        by_degree = np.lexsort((rng.random(len(items)), degree))
        return np.array_split(by_degree, self.classes)


@recipe
class Availability(Recipe):
    """Keeps the vectors of a share of the items that have one; the others lack the modality.

    Nested: with one seed, the items kept at a smaller share are among those kept at a larger one.
    """

    role: ClassVar[Role] = "treatment"
    seeded: ClassVar[bool] = True

    share: float = Field(default=0.5, ge=0, le=1)
    """Share of the present items whose vectors stay."""

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with fewer present rows; the others are zero.

        Raises:
            ConfigError: The mask changed nothing.
        """
        items = np.flatnonzero(table.present)
        order = generator(seed, "availability", table.name).permutation(items)
        lost = order[int(np.floor(self.share * len(items) + 0.5)) :]
        present = table.present.copy()
        present[lost] = False
        values = np.array(table.values)
        values[lost] = 0  # nobody who forgets the mask may see the withheld vectors
        return _changed(self, table, values, present)


def _changed(
    treatment: Recipe, before: ModalityTable, values: NDArray[np.generic], present: NDArray[np.bool_]
) -> ModalityTable:
    """Return the treated table, once it is shown to differ."""
    after = ModalityTable(before.name, values, present, content_hash(values, present))
    same = np.array_equal(present, before.present) and fixed_points(before, after) == 1.0
    if same:
        raise ConfigError(
            f"{treatment!r} changed nothing in modality {before.name!r} "
            f"({int(before.present.sum())} items have a vector). A treatment must change what it treats: use "
            "another seed, fewer classes or a smaller share."
        )
    return after


def fixed_points(before: ModalityTable, after: ModalityTable) -> float:
    """Return the share of the items present in both whose vector is the same before and after.

    1.0 where no item is present in both.
    """
    items = np.flatnonzero(before.present & after.present)
    same = 0
    for start in range(0, len(items), 65536):
        rows = items[start : start + 65536]
        same += int((before.values[rows] == after.values[rows]).all(axis=1).sum())
    return same / len(items) if len(items) else 1.0


def renamed(table: ModalityTable, name: str) -> ModalityTable:
    """Return the same table under another name, to stand beside the original."""
    return replace(table, name=name)
