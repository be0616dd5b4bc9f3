"""Treatments: controlled changes of one modality, each of which proves that it changed the array.

Here: what all of them share, permutation and availability. Constants and noise are in ``replacement``, the filling of
missing rows in ``impute``. Leaving a modality out ("drop") changes no table: it is another composition.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stagelens.pipeline.core import Bool, Int64, ModalityTable, TrainingData, content_hash
from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import generator

POPULARITY = "popularity"
POPULARITY_CLASSES = 10
BLOCK = 65_536
"""Rows looked at together; memory maps stay on disk."""


@recipe
class Dosed(Recipe):
    """A treatment of a share of the items: with one seed, a larger dose treats the same items and more."""

    role: ClassVar[Role] = "treatment"

    dose: float = Field(default=1.0, ge=0, le=1)
    """Share of the items with a vector that are treated."""

    @property
    def seeded(self) -> bool:
        """Which rows are treated, or what becomes of them, is drawn."""
        return True

    def drawn(self, name: str, items: Int64, *, seed: int) -> Int64:
        """Return the items that the dose treats, increasing.

        Args:
            name: The modality's; the order depends on it and on the seed alone, whatever the treatment.
            items: int64, those it could treat, increasing.
            seed: Of the treatment.

        Raises:
            ConfigError: It treats none.
        """
        count = int(np.floor(self.dose * len(items) + 0.5))
        if not count:
            why = (
                f"dose = {self.dose:g} of {len(items)} items is none; give at least {0.5 / len(items):.2g}"
                if len(items)
                else "no item is open to it"
            )
            raise ConfigError(f"{self!r} changed nothing in modality {name!r}: {why}")
        order: Int64 = generator(seed, "dose", name).permutation(items)
        return np.sort(order[:count])


@recipe
class PermuteRows(Dosed):
    """Gives every item the vector of another: all moments stay, the information goes.

    Rows move among the present items only, so availability stays as it is. The order depends on the seed and
    the modality's name alone (and, within classes, on what makes them), so one seed treats both stages alike.
    Some rows may stay by chance, and equal vectors are alike wherever they move: see ``fixed_points``.
    """

    within: str | None = None
    """None: among all items. popularity: among items of similar degree, so that what vectors tell about
    popularity stays. Or an item column of the data set, for instance a category: among items of equal value,
    those without a value among themselves."""
    classes: int | None = Field(default=None, ge=2)
    """Classes of near-equal size by popularity or by the column's value, ties at random. None: 10 for
    popularity; for a column, one class a value."""

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with its present rows permuted.

        Raises:
            ConfigError: The permutation changed nothing, or there is no such column.
        """
        items = np.flatnonzero(table.present)
        rng = generator(seed, "permute", table.name, self.within or "all")
        groups = self._groups(items, data, rng)
        chosen = np.zeros(len(table.present), dtype=bool)
        chosen[self.drawn(table.name, items, seed=seed)] = True
        source = np.arange(len(table.present))
        for group in groups:
            members = group[chosen[group]]
            source[members] = rng.permutation(members)
        values = np.array(table.values)
        values[items] = table.values[source[items]]
        hint = "Use another seed" + ("." if self.within is None else " or fewer classes.")
        return changed(self, table, values, table.present, hint)

    def _groups(self, items: Int64, data: TrainingData, rng: np.random.Generator) -> list[Int64]:
        """Return the present items, group by group."""
        if self.within is None:
            return [items]
        if self.within == POPULARITY:
            value = data.interactions.item_degree().astype(np.float64)[items]
            classes = self.classes or POPULARITY_CLASSES
        elif self.within in data.item_columns:
            value = data.item_columns[self.within].astype(np.float64)[items]
            classes = self.classes or 0
        else:
            known = [POPULARITY, *data.item_columns]
            raise ConfigError(
                nearest("item column", self.within, known)
                + " Columns are read where data.item_columns names them."
            )
        by_value = np.lexsort((rng.random(len(items)), value))
        missing = int(np.isnan(value).sum())  # sorted last
        known_part, rest = np.split(by_value, [len(by_value) - missing])
        if classes:
            parts = np.array_split(known_part, classes)
        else:
            parts = np.split(known_part, 1 + np.flatnonzero(np.diff(value[known_part])))
        return [items[part] for part in (*parts, rest)]


@recipe
class Availability(Dosed):
    """Takes the vectors of a share of the items away: they lack the modality."""

    dose: float = Field(default=0.5, ge=0, le=1)
    """Share of the items with a vector that lose it."""

    def apply(self, table: ModalityTable, data: TrainingData, *, seed: int) -> ModalityTable:
        """Return the table with fewer present rows; the others are zero.

        Raises:
            ConfigError: The mask changed nothing.
        """
        lost = self.drawn(table.name, np.flatnonzero(table.present), seed=seed)
        present = table.present.copy()
        present[lost] = False
        values = np.array(table.values)
        values[lost] = 0  # nobody who forgets the mask may see the withheld vectors
        return changed(self, table, values, present)


def changed(
    treatment: Recipe, before: ModalityTable, values: NDArray[np.generic], present: Bool, hint: str = ""
) -> ModalityTable:
    """Return the treated table, once it is shown to differ.

    Raises:
        ConfigError: It does not.
    """
    after = ModalityTable(before.name, values, present, content_hash(values, present))
    same = np.array_equal(present, before.present) and fixed_points(before, after) == 1.0
    if same or after.digest == before.digest:
        raise ConfigError(
            f"{treatment!r} changed nothing in modality {before.name!r} "
            f"({int(before.present.sum())} items have a vector). A treatment must change what it treats."
            + (hint and f" {hint}")
        )
    return after


def fixed_points(before: ModalityTable, after: ModalityTable) -> float:
    """Return the share of the items present in both whose vector is the same before and after.

    1.0 where no item is present in both.
    """
    items = np.flatnonzero(before.present & after.present)
    same = 0
    for start in range(0, len(items), BLOCK):
        rows = items[start : start + BLOCK]
        same += int((before.values[rows] == after.values[rows]).all(axis=1).sum())
    return same / len(items) if len(items) else 1.0


def varies(table: ModalityTable) -> bool:
    """Say whether two items have different vectors; where none have, no permutation changes anything."""
    items = np.flatnonzero(table.present)
    first = table.values[items[:1]]
    blocks = (items[start : start + BLOCK] for start in range(0, len(items), BLOCK))
    return any(bool((table.values[rows] != first).any()) for rows in blocks)


def renamed(table: ModalityTable, name: str) -> ModalityTable:
    """Return the same table under another name, to stand beside the original."""
    return replace(table, name=name)
