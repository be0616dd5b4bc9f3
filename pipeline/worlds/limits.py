"""Parameters of a world that cannot hold together, refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagelens.pipeline.worlds.rendering import check, layout

if TYPE_CHECKING:
    from stagelens.pipeline.worlds.world import World


def refuse(world: World) -> None:
    """Raise where no world can have these parameters.

    Raises:
        ValueError: The first fault found: the field, its value, what is allowed.
    """
    _sizes(world)
    _activity(world)
    plan = layout(world.modalities, world.category_share)
    for name, said in world.modalities.items():
        if said["signal"] and not world.visible:
            raise ValueError(
                f"modalities.{name}.signal = {said['signal']:g}: unseen = 1 leaves content nothing to show; allowed 0"
            )
        check(name, said, plan[name], world.visible, world.category_share)


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
