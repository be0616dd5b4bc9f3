"""The worlds of the certificate, kind by kind, and the study that examines each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stagelens.pipeline.certify.instrument import code, libraries
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.seeds import generator
from stagelens.pipeline.worlds.world import World

Kind = Literal["null", "leaky", "signal", "planted", "exposed"]
KINDS: tuple[Kind, ...] = ("null", "leaky", "signal", "planted", "exposed")
MODALITIES = ("text", "image")
STRONG = (0.3, 0.9)
"""Range of the signal of the strong modality of a planted world."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind of world and its study.

    Attributes:
        about: What the worlds are and what is asked in them.
        world: Sizes and laws; what ``signals`` decides is left open.
        sizes: Items, and candidates of every recall stage; of several, each world takes one at random.
        base: Interaction channels.
        draws: Fresh logs from which the truth is taken.
    """

    about: str
    world: dict[str, Any]
    sizes: tuple[tuple[int, int], ...]
    base: tuple[str, ...]
    draws: int


SMALL = {"users": 200, "activity": 15, "factors": 4, "categories": 5}
WIDE = {"activity": 15, "factors": 8, "categories": 20, "focus": 3.0}
BOTH = ("Popular", "ItemKNN")
SETTINGS: dict[Kind, Setting] = {
    "null": Setting(
        "Text carries nothing. Four row permutations of it are exchangeable: whatever tells two of them apart is "
        "wrong. Text on against absent: its true harm is computed.",
        SMALL,
        ((150, 20),),
        BOTH,
        100,
    ),
    "leaky": Setting(
        "The null worlds, examined by a broken instrument: one of two copies is shown the held-out pairs.",
        SMALL,
        ((150, 20),),
        BOTH,
        0,
    ),
    "signal": Setting(
        "Two modalities: the signal of one is drawn evenly from 0 to 1, the other gets an even share of what is left. "
        "Many items, each with few held-out pairs: so chosen before the long run, after a handful of worlds was "
        "tried, because intervals treat items as a sample while the truth keeps them; with few strong items they are "
        "conservative, and cover near 100 %.",
        {**WIDE, "users": 300, "popularity": 0.2},
        ((800, 50),),
        BOTH,
        100,
    ),
    "exposed": Setting(
        "As signal, but users examine slates by popularity, from the top.",
        {**WIDE, "users": 300, "popularity": 0.6, "exposure": "popularity"},
        ((800, 50),),
        BOTH,
        100,
    ),
    "planted": Setting(
        "One modality of two, either, has a signal of 0.3 to 0.9, the other gets an even share of what is left. The "
        "base lists are random, so that effects far above detectable can be planted and are spread over all items; "
        "short lists of a large catalogue make recall matter more, long ones of a small catalogue the re-ranker.",
        {**WIDE, "users": 500, "popularity": 0.2, "activity": 20},
        ((600, 45), (260, 150)),
        ("Random",),
        100,
    ),
}


def signals(kind: Kind, number: int) -> dict[str, float]:
    """Return the signal of each modality of a world."""
    if kind in ("null", "leaky"):
        return {"text": 0.0}
    low, high = STRONG if kind == "planted" else (0.0, 1.0)
    first, second = generator(number, "certify", kind, "signals").random(2)
    one = low + (high - low) * first
    drawn = {strong(number): one, weak(number): second * (1 - one)}
    return {name: float(drawn[name]) for name in MODALITIES}


def strong(number: int) -> str:
    """Return the modality whose signal is drawn first; the other one gets a share of what is left."""
    return MODALITIES[int(generator(number, "certify", "strong").integers(2))]


def weak(number: int) -> str:
    """Return the other one."""
    return next(name for name in MODALITIES if name != strong(number))


def sizes_of(kind: Kind, number: int) -> tuple[int, int]:
    """Return the items of a world and the candidates of its recall stages."""
    known = SETTINGS[kind].sizes
    return known[int(generator(number, "certify", kind, "sizes").integers(len(known)))]


def world(kind: Kind, number: int) -> World:
    """Return the recipe of a world."""
    sizes = SETTINGS[kind].world
    width = 2 * int(sizes["factors"])
    modalities: Any = {name: {"width": width, "signal": one} for name, one in signals(kind, number).items()}
    return World(**sizes, items=sizes_of(kind, number)[0], modalities=modalities)


def study(of: Kind, number: int, **more: Any) -> Study:
    """Return the options of the study that examines the worlds of a kind.

    Merge weights are equal, so that a channel of noise is always used: chosen on valid it is mostly refused, and
    then the arms do not differ at all. The re-ranker is small, for small worlds.
    """
    setting = SETTINGS[of]
    _, size = sizes_of(of, number)
    reranker = {"use": "rerank.LambdaMART", "trees": 20, "leaves": 8, "min_trees": 10, "min_rows_leaf": 20}
    groups = [{"use": f"rerank.{name}"} for name in ("Evidence", "History", "Popularity")]
    table: dict[str, Any] = {
        "name": "certify",
        "seeds": [0],
        "device": "cpu",
        "recall": {
            "size": size,
            "weights": "equal",
            "base": [{"use": f"recall.{name}"} for name in setting.base],
        },
        "rerank": {"reranker": reranker, "groups": groups},
        "measure": {"draws": 1999, "information": False, "importance": False},
        **more,
    }
    return Study.load(None, table)


def setting_key(kind: Kind, stages: tuple[str, ...]) -> str:
    """Return the fingerprint of all that a kind's findings follow from, code included, beside a world's number."""
    one = SETTINGS[kind]
    shown = study(kind, 0).model_dump(mode="json")
    made = (world(kind, 0).inputs(), one.world, one.sizes, one.draws, shown)
    return fingerprint("certify", code(), libraries(), kind, *made, stages)
