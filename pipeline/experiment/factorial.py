"""The cells of ``simulate attribute``: every modality on and off at each stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.evaluate.shapley import INTERACTION, Player
from stagelens.pipeline.experiment.arms import PERMUTED, treated
from stagelens.pipeline.experiment.options import Study

MOST_PLAYERS = 8
"""256 cells; more are hardly ever meant."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the factorial.

    Attributes:
        recall: What is on at recall: modalities, treated copies, ``interaction`` where it is a player.
        rerank: What is on at re-rank.
        interaction: Whether interaction is a player, and so absent where it is not named.
    """

    recall: tuple[str, ...]
    rerank: tuple[str, ...]
    interaction: bool = False

    @property
    def name(self) -> str:
        """``recall: text+visual; re-rank: text``."""
        off = ("popular", "recall's order") if self.interaction else ("base", "base")
        sides = [
            "+".join(name.replace("~", " ") for name in on) or empty
            for on, empty in zip((self.recall, self.rerank), off, strict=True)
        ]
        return f"recall: {sides[0]}; re-rank: {sides[1]}"

    @property
    def key(self) -> tuple[str, str, str]:
        """Of the arm that measures it."""
        return "both", "own", self.name

    def without(self, player: Player) -> Cell:
        """Return the cell with a player off."""
        return self._changed(player, ())

    def permuted(self, player: Player) -> Cell:
        """Return the cell with a player's modality replaced by its row-permuted copy at the player's stage."""
        return self._changed(player, (treated(player.modality, PERMUTED),))

    def _changed(self, player: Player, by: tuple[str, ...]) -> Cell:
        recall, rerank = (
            tuple(
                new
                for name in on
                for new in (by if (name, stage) == (player.modality, player.stage) else (name,))
            )
            for on, stage in ((self.recall, "recall"), (self.rerank, "rerank"))
        )
        return Cell(recall, rerank, self.interaction)


@dataclass(frozen=True, slots=True)
class Factorial:
    """The players of a study and their cells.

    Attributes:
        names: Modalities under test, ``interaction`` first where it is a player.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, content: tuple[str, ...]) -> Factorial:
        """Read the players from a study's modalities.

        Raises:
            ConfigError: No player, or too many.
        """
        names = (INTERACTION, *content) if INTERACTION in study.modalities else content
        if not names:
            raise ConfigError(
                "attribute: no modality to switch on and off; name content modalities of the data set, or add "
                "--factor interaction"
            )
        if 2 * len(names) > MOST_PLAYERS:
            raise ConfigError(
                f"attribute: {len(names)} modalities make {4 ** len(names):,} cells, allowed are "
                f"{1 << MOST_PLAYERS} ({MOST_PLAYERS // 2} modalities); choose some with --modality "
                f"({', '.join(names)})"
            )
        return cls(names)

    @property
    def players(self) -> tuple[Player, ...]:
        """Every modality at recall, then at re-rank."""
        stages: tuple[Literal["recall"], Literal["rerank"]] = ("recall", "rerank")
        return tuple(Player(name, stage) for name in self.names for stage in stages)

    @property
    def full(self) -> Cell:
        """Everything on."""
        return Cell(self.names, self.names, INTERACTION in self.names)

    def cells(self) -> Iterator[Cell]:
        """Yield the cells in the order of ``shapley``: player j is on where bit j is set."""
        for bits in range(1 << len(self.players)):
            on = [player for place, player in enumerate(self.players) if bits >> place & 1]
            recall, rerank = (
                tuple(player.modality for player in on if player.stage == stage)
                for stage in ("recall", "rerank")
            )
            yield Cell(recall, rerank, INTERACTION in self.names)
