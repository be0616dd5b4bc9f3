"""Worlds that ship with the package, each fixed by a seed of its own (the study seed never moves them)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stagelens.pipeline.core import Dataset
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.world import World


@dataclass(frozen=True, slots=True)
class Preset:
    """A world and the seed that fixes it.

    Attributes:
        name: After ``world:``.
        about: One line.
        world: The recipe.
        seed: Its own.
    """

    name: str
    about: str
    world: World
    seed: int

    def truth(self) -> Generated:
        """Return the data set with the latent arrays behind it."""
        made = self.world.truth(self.seed)
        return replace(
            made, dataset=replace(made.dataset, name=f"world:{self.name}", source=f"world:{self.name}")
        )

    def open(self) -> Dataset:
        """Return the data set."""
        return self.truth().dataset


def presets() -> dict[str, Preset]:
    """Return the worlds by name.

    ``ecommerce`` is of a size that runs everywhere in seconds, and in the range of public e-commerce data: 25
    events a user and a lognormal spread put half of the users below 15 training events; the skew gives the
    first tenth of the items about half of the events; three items in ten arrive during the year, so the last
    windows hold items that training hardly knows. Text shows half of the preference-relevant variance and
    every item has it; images show a quarter and one item in ten has none. With a signal of one half two
    items' text similarity still misses much of what their buyers share, and interactions know little of rare
    items: neither source makes the other idle. At which stage that pays is left to the measurement.
    """
    known = (
        Preset(
            name="ecommerce",
            about="A shop with text and image of its items; text tells more than image.",
            world=World(users=2000),
            seed=20240117,
        ),
    )
    return {preset.name: preset for preset in known}
