"""Signals: what early fusion joins, and the one space it makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat

from stagelens.pipeline.contracts import FittedVectors, Saved, fitted_vectors
from stagelens.pipeline.core import Bool, Float32, Int32, Queries, TrainingData
from stagelens.pipeline.recipe import Recipe, Role, recipe
from stagelens.pipeline.seeds import derive

Similarity = Literal["cosine", "dot"]


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """One base signal, item by item.

    Attributes:
        name: A modality, or the label of a recipe of vectors.
        weight: Its say.
        rows: float32 [I, D]; zero where absent.
        present: bool [I].
        taught: bool [I], the present items of the fit window.
        parameters: Learned numbers behind it.
        lengths: Whether lengths mean something: vectors made for the dot product.
    """

    name: str
    weight: float
    rows: Float32
    present: Bool
    taught: Bool
    parameters: int
    lengths: bool

    def scaled(self) -> Signal:
        """Return the signal with rows of length 1; where lengths mean something, of mean square length 1."""
        from stagelens.pipeline.gather import normalise

        rows = np.array(self.rows, dtype=np.float32)
        if not self.lengths:
            normalise(rows)
            return dataclasses.replace(self, rows=rows)
        squares = np.einsum("id,id->i", rows, rows, dtype=np.float64)[self.taught]
        if squares.any():
            rows /= np.float32(np.sqrt(squares.mean()))
        return dataclasses.replace(self, rows=rows)


@recipe
class Fusion(Recipe):
    """Base of the recipes that make one space out of several signals.

    A modality is centred by the mean of the present rows of items in the fit window; vectors made by a recipe
    are never centred. Signals are taken in the order of their names, so the order of ``of`` changes nothing.
    A user is the mean of the fused vectors of the history, for folded-in factors such as PureSVD's the same
    direction as their sum. A signal that an item lacks adds nothing to its vector, hence to its score.

    "Scaled" means: rows of length 1; vectors made for the dot product, whose lengths say how popular an item
    is, keep them and are divided by one number, so that their mean square length is 1.
    """

    role: ClassVar[Role] = "vectors"

    of: tuple[str | Recipe, ...] = Field(min_length=2)
    """The signals, at least two: names of modalities, or recipes of vectors such as ``recall.PureSVD``."""
    needs: Literal["any", "all"] = "any"
    """``any``: an item with one of the signals has a vector; ``all``: only an item with every one of them."""

    def __post_init__(self) -> None:
        for part in self.of:
            if isinstance(part, Recipe) and part.role != "vectors":
                raise ValueError(
                    f"of: {part.label} is a {part.role or 'recipe'}; give names of modalities, or recipes of vectors"
                )
        names = [_name(part) for part in self.of]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"of: {', '.join(doubled)} occurs twice; give each signal once")

    @property
    def parts(self) -> tuple[tuple[str | Recipe, float], ...]:
        """The signals that count and their weights, in the order of their names."""
        return tuple((part, 1.0) for part in sorted(self.of, key=_name))

    @property
    def label(self) -> str:
        """The signals in the order of their names, with weights, and the options that are not the default."""
        words = [_name(part) if weight == 1 else f"{weight:g} {_name(part)}" for part, weight in self.parts]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            default = getattr(
                field.default, "default", field.default
            )  # pydantic's Field, or the value itself
            if field.name not in ("of", "weights") and value != default:
                words.append(f"{field.name}={value}")
        return f"{type(self).__name__}({', '.join(words)})"

    @property
    def reads(self) -> frozenset[str]:
        """The modalities of the signals that count."""
        found: set[str] = set()
        for part, _ in self.parts:
            found |= {part} if isinstance(part, str) else part.reads
        return frozenset(found)

    @property
    def seeded(self) -> bool:
        """Whether a signal's own fit uses the seed."""
        return any(isinstance(part, Recipe) and part.seeded for part, _ in self.parts)

    def load(self, saved: Saved) -> FittedVectors:
        """Read a saved fit back."""
        arrays, meta = saved.arrays, saved.meta
        parameters, similarity = int(meta["parameters"]), meta["similarity"]
        return FittedFusion(arrays["item"], arrays["present"], parameters, similarity)

    def signals(self, data: TrainingData, *, seed: int) -> list[Signal]:
        """Return the signals that count, as they are.

        Raises:
            ConfigError: No such modality.
        """
        return [_signal(part, weight, data, seed) for part, weight in self.parts]

    def fused(
        self, item: Float32, signals: Sequence[Signal], learned: int, similarity: Similarity = "dot"
    ) -> FittedFusion:
        """Return the fitted space; ``learned`` are its own numbers beside those of the signals."""
        keep = self.kept(signals)
        item[~keep] = 0.0
        return FittedFusion(item, keep, learned + sum(one.parameters for one in signals), similarity)

    def kept(self, signals: Sequence[Signal]) -> Bool:
        """Return bool [I]: the items that have what ``needs`` asks for."""
        present = np.stack([signal.present for signal in signals])
        return np.asarray(present.any(axis=0) if self.needs == "any" else present.all(axis=0))


@recipe
class Weighted(Fusion):
    """Base of the fusions whose signals may have weights."""

    weights: tuple[NonNegativeFloat, ...] | None = None
    """One a signal, in the order of ``of``; 0 leaves a signal out. None: all 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and len(self.weights) != len(self.of):
            raise ValueError(
                f"weights = {self.weights}: {len(self.weights)} weights for {len(self.of)} signals; give one a signal"
            )
        if self.weights is not None and not any(self.weights):
            raise ValueError(f"weights = {self.weights}: at least one must be above 0")

    @property
    def parts(self) -> tuple[tuple[str | Recipe, float], ...]:
        """The signals with a weight above 0, in the order of their names."""
        weights = self.weights or (1.0,) * len(self.of)
        pairs = sorted(zip(self.of, weights, strict=True), key=lambda pair: _name(pair[0]))
        return tuple((part, weight) for part, weight in pairs if weight > 0)


def _name(part: str | Recipe) -> str:
    return part if isinstance(part, str) else part.label


def _signal(part: str | Recipe, weight: float, data: TrainingData, seed: int) -> Signal:
    from stagelens.pipeline.data.content import prepared

    trained = data.interactions.item_degree() > 0
    if isinstance(part, str):
        rows, present, _ = prepared(data.modality(part), trained, centre=True, unit=False)
        return Signal(part, weight, rows, present, present & trained, 0, False)
    made = fitted_vectors(part, data, seed=derive(seed, part.label))
    rows = np.where(made.present[:, None], made.item, 0.0).astype(np.float32)
    present = made.present & (rows != 0).any(axis=1)
    lengths = getattr(made, "similarity", "dot") == "dot"
    learned = int(getattr(made, "parameters", 0))
    return Signal(part.label, weight, rows, present, present & trained, learned, lengths)


@dataclass(frozen=True, slots=True, eq=False)
class FittedFusion:
    """One space.

    Attributes:
        item: float32 [I, D]; zero rows where ``present`` is False.
        present: bool [I].
        parameters: Learned numbers: projections, whitening, and those of the signals' own fits.
        similarity: What compares a query with an item.
    """

    item: Float32
    present: Bool
    parameters: int
    similarity: Similarity

    def query(self, queries: Queries) -> tuple[Float32, Int32]:
        """Return the means of the histories: float32 [V, D] and int32 [V]."""
        from stagelens.pipeline.gather import pooled

        position = np.where(self.present, np.arange(len(self.present)), -1).astype(np.int32)
        return pooled(queries.history, self.item, position)

    def save(self) -> Saved:
        """Return arrays and JSON."""
        arrays: dict[str, NDArray[Any]] = {"item": self.item, "present": self.present}
        return Saved(arrays, {"parameters": self.parameters, "similarity": self.similarity})
