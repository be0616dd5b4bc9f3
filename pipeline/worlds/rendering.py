"""What modalities show: which part of the visible preference variance, and the vectors that carry it.

The visible variance lies on an axis from 0 to 1, one equal part a factor, in two layers: between categories and
within them. A modality takes stretches of the axis, in the layers of its grain: one common stretch from 0 on, which
it shares with the others, and one of its own. Where a stretch ends inside a factor, the factor is the sum of
independent parts and the modality shows some of them. So signals add up, and a perfect linear reader of all
modalities recovers the length of what they cover.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from stagelens.pipeline.core import Float64, Int64, ModalityTable
from stagelens.pipeline.seeds import generator

if TYPE_CHECKING:
    from stagelens.pipeline.worlds.items import Items
    from stagelens.pipeline.worlds.world import World

Layer = Literal["between", "within"]
LAYERS: tuple[Layer, ...] = ("between", "within")
CLOSE = 1e-9
"""Lengths that differ by less are equal."""


class Rendering(TypedDict):
    """How a modality shows items; the fields are documented in ``World.modalities``."""

    width: int
    signal: float
    redundancy: float
    grain: Literal["both", "between", "within"]
    noise: float
    style: float
    anisotropy: float
    missing: float
    duplicates: float


Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """The stretches of the factor axis that a modality shows.

    Attributes:
        between: In the layer between categories.
        within: In the layer within categories.
    """

    between: tuple[Stretch, ...]
    within: tuple[Stretch, ...]

    def of(self, layer: Layer) -> tuple[Stretch, ...]:
        """Return the stretches in one layer."""
        return self.between if layer == "between" else self.within

    def lengths(self, layer: Layer, factors: int) -> Float64:
        """Return float64 [factors]: the share of each factor that is shown in a layer."""
        edges = np.arange(factors) / factors
        shown = np.zeros(factors)
        for low, high in self.of(layer):
            shown += np.clip(np.minimum(high, edges + 1 / factors) - np.maximum(low, edges), 0, None)
        return shown * factors


def layout(modalities: Mapping[str, Rendering], share: float) -> dict[str, Shown]:
    """Return what each modality shows: common stretches from 0 on, own ones after them in the order given.

    Args:
        modalities: By name.
        share: Of the visible variance, what lies between categories.

    Raises:
        ValueError: The signals do not fit the variance, or nobody shares what is to be common.
    """
    sizes: dict[Layer, float] = {"between": share, "within": 1 - share}
    stretches: dict[str, dict[Layer, tuple[Stretch, ...]]] = {name: {} for name in modalities}
    shared = dict.fromkeys(modalities, 0.0)
    for layer, size in sizes.items():
        parts = {name: _of_layer(said, layer, size, share) for name, said in modalities.items()}
        common = {name: part * modalities[name]["redundancy"] for name, part in parts.items()}
        own = {name: parts[name] - common[name] for name in parts}
        at = max(common.values(), default=0.0)
        if at + sum(own.values()) > size + CLOSE:
            raise ValueError(_too_much(layer, size, parts, own, at))
        for name in modalities:
            others = (length for other, length in common.items() if other != name)
            shared[name] += min(common[name], max(others, default=0.0))
            ends = ((0.0, common[name]), (at, at + own[name]))
            stretches[name][layer] = tuple(
                (low / size, min(high / size, 1.0)) for low, high in ends if high - low > CLOSE
            )
            at += own[name]
    for name, said in modalities.items():
        wanted = said["redundancy"] * said["signal"]
        if shared[name] < wanted - CLOSE:
            raise ValueError(
                f"modalities.{name}.redundancy = {said['redundancy']:g}: {wanted:.4g} of its signal {said['signal']:g} "
                f"is to be common, and the others have {shared[name]:.4g} in common with it. "
                f"Allowed here: at most {shared[name] / said['signal']:.4g}, or raise the redundancy of another"
            )
    return {name: Shown(found["between"], found["within"]) for name, found in stretches.items()}


def _of_layer(said: Rendering, layer: Layer, size: float, share: float) -> float:
    """Return the part of a modality's signal that lies in a layer."""
    if said["grain"] == "both":
        return said["signal"] * size
    return said["signal"] if said["grain"] == layer else 0.0


def _too_much(
    layer: Layer, size: float, parts: Mapping[str, float], own: Mapping[str, float], common: float
) -> str:
    asked = " + ".join(f"{own[name]:.4g} of {name} alone" for name, part in parts.items() if part > 0)
    total = common + sum(own.values())
    return (
        f"modalities: signals beyond the variance. {layer.capitalize()} categories lies {size:.4g} of what content "
        f"can show (category_share); asked are {common:.4g} in common + {asked} = {total:.4g}. "
        "Lower a signal, raise the redundancies, or change grain or category_share"
    )


def directions(shown: Shown, factors: int, share: float) -> Float64:
    """Return float64 [factors]: the variance of what a modality shows of each factor."""
    between, within = (shown.lengths(layer, factors) for layer in LAYERS)
    return share * between + (1 - share) * within


def check(name: str, said: Rendering, shown: Shown, factors: int, share: float) -> None:
    """Refuse a rendering that no vectors can have.

    Raises:
        ValueError: Too narrow, nothing to show, or no vectors left.
    """
    count = int((directions(shown, factors, share) > CLOSE).sum())
    needed = max(count + (said["style"] > 0), 1)
    if said["width"] < needed:
        extra = " and one direction of style" if said["style"] > 0 else ""
        raise ValueError(
            f"modalities.{name}.width = {said['width']}: it shows {count} preference factors{extra}; "
            f"allowed {needed} and more"
        )
    if not count and not said["style"]:
        raise ValueError(f"modalities.{name}: signal 0 and style 0 leave nothing to show. Raise one of them")
    if said["missing"] + said["duplicates"] >= 1:
        raise ValueError(
            f"modalities.{name}: missing {said['missing']:g} + duplicates {said['duplicates']:g} of the items; "
            "allowed together below 1"
        )


def renderings(world: World, items: Items, seed: int) -> dict[str, ModalityTable]:
    """Return the modalities of a world by name."""
    plan = layout(world.modalities, world.category_share)
    parts = {layer: _Parts.of(layer, items, plan, seed) for layer in LAYERS}
    return {
        name: _table(world, name, items, [parts[layer].shown(plan[name]) for layer in LAYERS], seed)
        for name in world.modalities
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The factors of a layer, those cut by the end of a stretch as sums of independent parts.

    Attributes:
        layer: Which one.
        values: float64 [rows, factors].
        cuts: By factor: where it is cut, 0 and 1 included.
        pieces: By factor: float64 [rows, cuts - 1]; they add up to the factor.
    """

    layer: Layer
    values: Float64
    cuts: dict[int, list[float]]
    pieces: dict[int, Float64]

    @classmethod
    def of(cls, layer: Layer, items: Items, plan: Mapping[str, Shown], seed: int) -> _Parts:
        values = items.between if layer == "between" else items.within
        factors = values.shape[1]
        cuts: dict[int, list[float]] = {}
        for end in sorted({end for shown in plan.values() for part in shown.of(layer) for end in part}):
            factor, place = divmod(end * factors, 1)
            if CLOSE < place < 1 - CLOSE:
                cuts.setdefault(int(factor), [0.0]).append(place)
        weight = np.bincount(items.category) if layer == "between" else None
        known, pieces = [values], {}
        for factor, places in cuts.items():
            places.append(1.0)
            rng = generator(seed, "world", "parts", layer, factor)
            noise = rng.standard_normal((len(places) - 2, len(values))).T
            if weight is not None:
                noise = _unrelated(noise, np.hstack(known), weight)
                known.append(noise)
            pieces[factor] = _bridge(values[:, factor], np.diff(places), noise)
        return cls(layer, values, cuts, pieces)

    def shown(self, shown: Shown) -> Float64:
        """Return float64 [rows, factors]: the sum of the parts of each factor that a modality shows."""
        factors = self.values.shape[1]
        found = np.where(shown.lengths(self.layer, factors) > 1 - CLOSE, self.values, 0.0)
        for factor, places in self.cuts.items():
            middles = (factor + (np.array(places[1:]) + places[:-1]) / 2) / factors
            inside = [any(low < middle < high for low, high in shown.of(self.layer)) for middle in middles]
            found[:, factor] = self.pieces[factor] @ np.array(inside, dtype=np.float64)
        return found


def _unrelated(noise: Float64, known: Float64, weight: Int64) -> Float64:
    """Return noise of weighted mean 0 and variance 1 whose columns are uncorrelated with what is known.

    By chance alone a few dozen categories correlate so much that a reader of some could guess others. Where there
    are too few categories for that many directions, they do.
    """
    root = np.sqrt(weight / weight.sum())[:, None]
    for column in range(noise.shape[1]):
        basis = np.hstack([np.ones((len(noise), 1)), known, noise[:, :column]])
        if len(noise) <= basis.shape[1]:
            basis = basis[:, :1]
        solution = np.linalg.lstsq(root * basis, root[:, 0] * noise[:, column], rcond=None)[0]
        left = noise[:, column] - basis @ solution
        noise[:, column] = left / np.linalg.norm(root[:, 0] * left)
    return noise


def _bridge(values: Float64, lengths: Float64, noise: Float64) -> Float64:
    """Return [rows, parts] of variance ``lengths`` that are independent and add up to ``values`` of variance 1.

    From left to right, each part given what is left: a new cut further right moves no part before it.
    """
    parts = np.empty((len(values), len(lengths)))
    left, rest = 1.0, values
    for place, length in enumerate(lengths[:-1]):
        share = length / left
        parts[:, place] = share * rest + np.sqrt(share * (left - length)) * noise[:, place]
        rest, left = rest - parts[:, place], left - length
    parts[:, -1] = rest
    return parts


def _table(world: World, name: str, items: Items, layers: list[Float64], seed: int) -> ModalityTable:
    """Return the vectors: what is shown, blurred and turned into directions of its own, among style."""
    said, rng = world.modalities[name], generator(seed, "world", "modality", name)
    shown = np.sqrt(items.share) * layers[0][items.category] + np.sqrt(1 - items.share) * layers[1]
    variance = directions(layout(world.modalities, items.share)[name], world.visible, items.share)
    shows = variance > CLOSE
    count, width = int(shows.sum()), said["width"]
    style = said["style"] if count else 1.0
    basis = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
    offset = rng.standard_normal(width)
    offset *= np.sqrt(said["anisotropy"] / (1 - said["anisotropy"])) / np.linalg.norm(offset)
    coordinates = np.empty((world.items, width), dtype=np.float32)
    if count:
        blur = rng.standard_normal((world.items, count)) * np.sqrt(variance[shows])
        read = np.sqrt(1 - said["noise"]) * shown[:, shows] + np.sqrt(said["noise"]) * blur
        coordinates[:, :count] = np.sqrt((1 - style) / variance.sum()) * read
    if width > count:
        rng.standard_normal(
            out=(other := np.empty((world.items, width - count), np.float32)), dtype=np.float32
        )
        coordinates[:, count:] = np.float32(np.sqrt(style / (width - count))) * other
    values = coordinates @ basis.T + offset.astype(np.float32)
    return ModalityTable.of(name, _with_gaps(values, said, rng))


def _with_gaps(values: NDArray[np.float32], said: Rendering, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the vectors with missing rows at zero, and with rows that repeat another item's vector."""
    order = rng.permutation(len(values))
    missing, repeated = (round(said[key] * len(values)) for key in ("missing", "duplicates"))
    values[order[:missing]] = 0
    kept = order[missing + repeated :]
    values[order[missing : missing + repeated]] = values[rng.choice(kept, size=repeated)]
    return values
