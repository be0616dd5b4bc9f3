"""Parameters of a world that cannot hold together, refused with the reason."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from stagelens.pipeline.worlds.rendering import check, layout

if TYPE_CHECKING:
    from stagelens.pipeline.worlds.world import World

SPAN = 100.0
"""Powers of ten between the items that are asked for most and least, at most: floating point ends at 308, and the
rates of pairs have room to multiply."""
DAYS = 36_500
"""Of a world at most: a century, within what clocks in nanoseconds can tell."""


def refuse(world: World) -> None:
    """Raise where no world can have these parameters.

    Raises:
        ValueError: The first fault found: the field, its value, what is allowed.
    """
    _finite(world)
    _sizes(world)
    _activity(world)
    _span(world)
    plan = layout(world.modalities, world.category_share)
    for name, said in world.modalities.items():
        if said["signal"] and not world.visible:
            raise ValueError(
                f"modalities.{name}.signal = {said['signal']:g}: unseen = 1 leaves content nothing to show; allowed 0"
            )
        check(name, said, plan[name], world.visible, world.category_share)


def _finite(world: World) -> None:
    for field in fields(world):
        value = getattr(world, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} = {value:g}: allowed finite numbers")
    if world.days > DAYS:
        raise ValueError(f"days = {world.days}: allowed 1 to {DAYS}, a century")


def _span(world: World) -> None:
    said = [f"popularity = {world.popularity:g}"]
    span = world.popularity * math.log10(world.items)
    if world.exposure == "popularity":
        span += world.skew * span + world.position * math.log10(world.slate)
        said += [f"skew = {world.skew:g}", f"position = {world.position:g}"]
    if not span <= SPAN:
        raise ValueError(
            f"{', '.join(said)} with {world.items} items: the least popular item would be taken 10^{span:.0f} times "
            f"less often than the most popular one, which is 0 to a computer; allowed 10^{SPAN:.0f}. Lower them"
        )


def _sizes(world: World) -> None:
    if 2 * world.categories > world.items:
        raise ValueError(
            f"categories = {world.categories} of {world.items} items: allowed at most half of them, so that a category "
            "has two items"
        )
    if world.factors == 1 and 0 < world.unseen < 1:
        raise ValueError(
            f"unseen = {world.unseen:g} of 1 factor: one factor is seen or not; allowed 0, 1, or more factors"
        )
    if world.category_share and world.categories <= world.visible:
        raise ValueError(
            f"categories = {world.categories} for {world.visible} factors that content can show: so few centres are "
            f"correlated, and a modality would show more than its signal. Allowed {world.visible + 1} and more, or "
            "category_share = 0"
        )
    if world.exposure == "popularity" and world.slate > world.items:
        raise ValueError(f"slate = {world.slate} of {world.items} items: allowed at most all of them")


def _activity(world: World) -> None:
    for field in ("activity", "fewest"):
        events = getattr(world, field)
        if events > world.items / 2:
            raise ValueError(
                f"{field} = {events:g} of {world.items} items: a user takes an item once, and near the end of the "
                f"catalogue the pace explodes; allowed at most half, {world.items / 2:g}"
            )
